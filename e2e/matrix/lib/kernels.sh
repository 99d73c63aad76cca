# shellcheck shell=bash
# The kernels of the matrix: which there are, what they have, and where to get them.

readonly KERNEL_NAMES=(5.10 6.1 6.12 newest arm64-5.10 arm64-6.1 arm64-6.12 arm64-newest)

# kernel_suites NAME: the suites of Debian that have this kernel, in the order in which they are tried, one a line.
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

# kernel_architecture NAME: as Debian calls it.
kernel_architecture() {
    if [[ $1 == arm64-* ]]; then echo arm64; else echo amd64; fi
}

# kernel_tiers NAME: the tiers of hooks that the kernel must have, best first. The tracepoints of tp_btf came with Linux
# 6.3. On arm64, kernel functions can be hooked by fexit since 6.4 (DYNAMIC_FTRACE_WITH_DIRECT_CALLS).
kernel_tiers() {
    case $1 in
    arm64-5.10 | arm64-6.1) echo kretprobe ;;
    5.10 | 6.1) echo fexit,kretprobe ;;
    *) echo tp_btf,fexit,kretprobe ;;
    esac
}

# Tiers to try of a kernel, by its name, where not all are.
declare -A ONLY_TIERS=()

# tried_tiers NAME: the tiers that the suite is run with.
tried_tiers() {
    echo "${ONLY_TIERS[$1]:-$(kernel_tiers "$1")}"
}

# kernel_unfound NAME TIER: cases of which not all bytes need be seen there, by the beginning of their names, and why.
# `check` says the same of each.
kernel_unfound() {
    # Only TCP does without them.
    if [[ $2 == kretprobe ]]; then
        echo "udp/ more calls at one moment than the kernel has return probes"
        echo "icmp/ more calls at one moment than the kernel has return probes"
        echo "mptcp/ more calls at one moment than the kernel has return probes"
    fi
}

# kernel_skips NAME: whether the kernel skips an event while another task is preempted inside the same program, as
# Debian's newest does. Emulation, where a program runs a hundred times longer, makes it frequent. At tracepoints a
# second copy of a program steps in, elsewhere the events are told as missed.
kernel_skips() {
    [[ ${1#arm64-} == newest ]]
}

# kernel_package ARCHITECTURE: the package that holds the image, of the suite that is open. In newer suites the
# package with the name of the image depends on the one that has it.
kernel_package() {
    local image binary
    image=$(debian_depends "linux-image-cloud-$1" | grep -m 1 '^linux-image-') || return
    binary=$(debian_depends "$image" | grep -m 1 '^linux-binary-' || true)
    echo "${binary:-$image}"
}

# kernel_has_http NAME: whether HTTP can be traced there. The programs need bpf_loop(), which came with Linux 5.17.
kernel_has_http() {
    [[ $1 != *5.10 ]]
}

# kernel_has_stacks NAME: whether stacks can be taken there. They need the tracepoints of tp_btf.
kernel_has_stacks() {
    [[ ,$(kernel_tiers "$1"), == *,tp_btf,* ]]
}

# Modules that the guests load, as far as the kernel has them: kernel TLS, the ciphers that it asks for, and interfaces
# whose packets a program carries.
readonly MODULES=(tun tls gcm ctr gf128mul ghash-generic cryptd crypto_simd aesni-intel geniv seqiv crypto_null aead)

# kernel_modules ARCHITECTURE PACKAGE: the packages that have the modules of the kernel in PACKAGE.
kernel_modules() {
    local modules
    modules=$(debian_depends "$(debian_depends "linux-image-cloud-$1" | grep -m 1 '^linux-image-')" |
        grep -m 1 '^linux-modules-' || true)
    echo "${modules:-$2}"
}

# unpack_modules FROM TO: as files that a kernel takes.
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

# unpack_kernel PACKAGE MODULES FOLDER: makes the folder, with `vmlinuz` and `mod/`.
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
    # One of the two places has it.
    find "$part" -name 'vmlinu[xz]*' -type f -exec mv {} "$part/vmlinuz" \;
    [[ -s $part/vmlinuz ]] || {
        say "no kernel image in $package"
        rm -rf "$part"
        return 1
    }
    rm -rf "$part/deb" "$part/boot" "$part/usr" "$part/lib"
    mv "$part" "$folder"
}

# fetch_from SUITE ARCHITECTURE: prints the folder that has the suite's kernel as `vmlinuz`; fetches it if needed.
fetch_from() {
    local suite=$1 architecture=$2 package modules folder
    debian_open "$suite" "$architecture" && package=$(kernel_package "$architecture") || return
    # Another choice of modules has another folder.
    folder=$CACHE/kernels/${package}_$(debian_version "$package")_${architecture}_$(cksum <<<"${MODULES[*]}" | cut -d ' ' -f 1)
    [[ -d $folder/mod ]] || {
        say "fetching $package of $suite"
        modules=$(kernel_modules "$architecture" "$package")
        rm -rf "$folder"
        unpack_kernel "$package" "$modules" "$folder" || return
    }
    echo "$folder"
}

# fetch_kernel NAME: prints the folder that has its `vmlinuz`. If no suite can be read, the one fetched last is taken.
fetch_kernel() {
    local name=$1 architecture suite suites folder='' last=$CACHE/kernels/$1
    architecture=$(kernel_architecture "$name")
    mapfile -t suites < <(kernel_suites "$name")
    mkdir -p "$CACHE/kernels"
    # Two runs at once would both download.
    exec 9>"$CACHE/kernels/lock"
    flock 9
    for suite in "${suites[@]}"; do
        # In a shell of its own, since it directs apt.
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
