# shellcheck shell=bash
# The kernels of the matrix: their names, their features, and their sources.

readonly KERNEL_NAMES=(5.10 6.1 6.12 newest arm64-5.10 arm64-6.1 arm64-6.12 arm64-newest)

# kernel_suites NAME: prints the suites of Debian that have this kernel, one a line, in the order in which they are
# tried.
kernel_suites() {
    case $1 in
    # The security archive still lists arm64 packages of bullseye, but no longer has their files.
    arm64-5.10) echo bullseye ;;
    # Support of bullseye has ended, so the archive may drop these files too.
    5.10) printf '%s\n' bullseye-security bullseye ;;
    *6.1) echo bookworm ;;
    *6.12) echo trixie ;;
    *newest) echo sid ;;
    esac
}

# kernel_architecture NAME: prints the architecture by Debian's name.
kernel_architecture() {
    if [[ $1 == arm64-* ]]; then echo arm64; else echo amd64; fi
}

# kernel_tiers NAME: prints the hook tiers that the kernel must have, best first. The tracepoints of tp_btf exist since
# Linux 6.3. On arm64, fexit can hook kernel functions since 6.4 (DYNAMIC_FTRACE_WITH_DIRECT_CALLS).
kernel_tiers() {
    case $1 in
    arm64-5.10 | arm64-6.1) echo kretprobe ;;
    5.10 | 6.1) echo fexit,kretprobe ;;
    *) echo tp_btf,fexit,kretprobe ;;
    esac
}

# The tiers to test by the kernel's name, if not all of its tiers are tested.
declare -A ONLY_TIERS=()

# tried_tiers NAME: prints the tiers that the suite runs with.
tried_tiers() {
    echo "${ONLY_TIERS[$1]:-$(kernel_tiers "$1")}"
}

# kernel_unfound NAME TIER: prints cases of which the product may miss bytes on this kernel, each by the beginning of
# its name and with the reason. `check` reports the same limits.
kernel_unfound() {
    # The tier kretprobe counts TCP without return probes, and the other protocols with them.
    if [[ $2 == kretprobe ]]; then
        echo "udp/ more calls at one moment than the kernel has return probes"
        echo "icmp/ more calls at one moment than the kernel has return probes"
        echo "mptcp/ more calls at one moment than the kernel has return probes"
    fi
}

# kernel_skips NAME: succeeds if the kernel skips an event while another task is preempted inside the same program, as
# Debian's newest does. Under emulation this is frequent, because a program runs a hundred times longer. At tracepoints,
# a second copy of the program handles the event; elsewhere the event is reported as missed.
kernel_skips() {
    [[ ${1#arm64-} == newest ]]
}

# kernel_package ARCHITECTURE: prints the package with the kernel's image in the suite that debian_open has opened. In
# newer suites, the package with the image's name depends on another one that has the file.
kernel_package() {
    local image binary
    image=$(debian_depends "linux-image-cloud-$1" | grep -m 1 '^linux-image-') || return
    binary=$(debian_depends "$image" | grep -m 1 '^linux-binary-' || true)
    echo "${binary:-$image}"
}

# kernel_has_http NAME: succeeds if HTTP can be traced there. The programs need bpf_loop(), which exists since Linux
# 5.17.
kernel_has_http() {
    [[ $1 != *5.10 ]]
}

# kernel_has_stacks NAME: succeeds if stacks can be taken there. They need the tracepoints of tp_btf.
kernel_has_stacks() {
    [[ ,$(kernel_tiers "$1"), == *,tp_btf,* ]]
}

# Modules that the guests load if the kernel has them: kernel TLS, the ciphers that it uses, and TUN interfaces.
readonly MODULES=(tun tls gcm ctr gf128mul ghash-generic cryptd crypto_simd aesni-intel geniv seqiv crypto_null aead)

# kernel_modules ARCHITECTURE PACKAGE: prints the packages with the modules of the kernel in PACKAGE.
kernel_modules() {
    local modules
    modules=$(debian_depends "$(debian_depends "linux-image-cloud-$1" | grep -m 1 '^linux-image-')" |
        grep -m 1 '^linux-modules-' || true)
    echo "${modules:-$2}"
}

# unpack_modules FROM TO: copies the modules, decompressed, so that every kernel can load them.
unpack_modules() {
    local name file
    mkdir -p "$2"
    for name in "${MODULES[@]}"; do
        file=$(find "$1" -name "$name.ko*" -type f -print -quit)
        case $file in
        *.xz) xz -dc "$file" >"$2/$name.ko" ;;
        *.zst) zstd -qdc "$file" >"$2/$name.ko" ;;
        ?*) cp "$file" "$2/$name.ko" ;;
        esac
    done
}

# unpack_kernel PACKAGE MODULES FOLDER: creates the folder, with `vmlinuz` and `mod/`.
unpack_kernel() {
    local package=$1 modules=$2 folder=$3 part=$3.part deb
    rm -rf "$part"
    mkdir -p "$part/deb"
    debian_fetch "$part/deb" "$package" && { [[ $modules == "$package" ]] || debian_fetch "$part/deb" "$modules"; } || {
        rm -rf "$part"
        return 1
    }
    for deb in "$part"/deb/*.deb; do
        dpkg-deb --fsys-tarfile "$deb" |
            tar -x -C "$part" --wildcards './boot/vmlinu[xz]-*' './usr/lib/modules/*/vmlinu[xz]' '*.ko*' 2>/dev/null || true
    done
    unpack_modules "$part" "$part/mod"
    # The image is in one of the two packages.
    find "$part" -name 'vmlinu[xz]*' -type f -exec mv {} "$part/vmlinuz" \;
    [[ -s $part/vmlinuz ]] || {
        say "no kernel image in $package"
        rm -rf "$part"
        return 1
    }
    rm -rf "$part/deb" "$part/boot" "$part/usr" "$part/lib"
    mv "$part" "$folder"
}

# fetch_from SUITE ARCHITECTURE: prints the folder with the suite's kernel as `vmlinuz`, which is fetched if needed.
fetch_from() {
    local suite=$1 architecture=$2 package modules folder
    debian_open "$suite" "$architecture" && package=$(kernel_package "$architecture") || return
    # The folder's name depends on the list of modules, so that another list has another folder.
    folder=$CACHE/kernels/${package}_$(debian_version "$package")_${architecture}_$(cksum <<<"${MODULES[*]}" | cut -d ' ' -f 1)
    [[ -d $folder/mod ]] || {
        say "fetching $package of $suite"
        modules=$(kernel_modules "$architecture" "$package")
        rm -rf "$folder"
        unpack_kernel "$package" "$modules" "$folder" || return
    }
    echo "$folder"
}

# fetch_kernel NAME: prints the folder with the kernel's `vmlinuz`. If no suite can be read, this is the kernel that was
# fetched last.
fetch_kernel() {
    local name=$1 architecture suite suites folder='' last=$CACHE/kernels/$1
    architecture=$(kernel_architecture "$name")
    mapfile -t suites < <(kernel_suites "$name")
    mkdir -p "$CACHE/kernels"
    # The lock keeps two simultaneous runs from both downloading.
    exec 9>"$CACHE/kernels/lock"
    flock 9
    for suite in "${suites[@]}"; do
        # A subshell, because the function changes apt's configuration.
        folder=$(fetch_from "$suite" "$architecture") && break
        say "kernel $name: $suite does not offer it"
    done
    if [[ -n $folder ]]; then
        ln -sfn "$(basename "$folder")" "$last"
    elif [[ -e $last ]]; then
        say "kernel $name: taking $(readlink "$last"), which was fetched before"
    else
        return 1
    fi
    flock -u 9
    readlink -f "$last"
}
