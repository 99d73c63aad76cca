# shellcheck shell=bash
# The kernels of the matrix: which there are, what they have, and where to get them.

readonly KERNEL_NAMES=(5.10 6.1 6.12 newest arm64-6.12 arm64-newest)

# kernel_suite NAME: the suite of Debian whose kernel it is.
kernel_suite() {
    case ${1#arm64-} in
    5.10) echo bullseye-security ;;
    6.1) echo bookworm ;;
    6.12) echo trixie ;;
    newest) echo sid ;;
    esac
}

# kernel_architecture NAME: as Debian calls it.
kernel_architecture() {
    if [[ $1 == arm64-* ]]; then echo arm64; else echo amd64; fi
}

# kernel_tiers NAME: the tiers of hooks that it must have. The tracepoints came with 6.3, but the programs that go with
# them need storage of tasks in programs on cgroups, which 6.12 refuses.
kernel_tiers() {
    case ${1#arm64-} in
    newest) echo tp_btf,fexit,kretprobe ;;
    *) echo fexit,kretprobe ;;
    esac
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

unpack_kernel() {
    local package=$1 folder=$2 part=$2.part
    rm -rf "$part"
    mkdir -p "$part/deb"
    debian_fetch "$part/deb" "$package" || return
    dpkg-deb --fsys-tarfile "$part"/deb/*.deb |
        tar -x -C "$part" --wildcards './boot/vmlinu[xz]-*' './usr/lib/modules/*/vmlinu[xz]' 2>/dev/null || true
    # One of the two places has it.
    find "$part" -name 'vmlinu[xz]*' -type f -exec mv {} "$part/vmlinuz" \;
    [[ -s $part/vmlinuz ]] || {
        say "no kernel image in $package"
        return 1
    }
    rm -rf "$part/deb" "$part/boot" "$part/usr"
    mv "$part" "$folder"
}

# fetch_kernel NAME: prints the folder that has its `vmlinuz`. Without a network, the one fetched last is taken.
fetch_kernel() {
    local name=$1 architecture suite package folder last=$CACHE/kernels/$1
    architecture=$(kernel_architecture "$name")
    suite=$(kernel_suite "$name")
    mkdir -p "$CACHE/kernels"
    # Two runs at once would both download.
    exec 9>"$CACHE/kernels/lock"
    flock 9
    if debian_open "$suite" "$architecture" && package=$(kernel_package "$architecture"); then
        folder=$CACHE/kernels/${package}_$(debian_version "$package")_$architecture
        [[ -d $folder ]] || {
            say "fetching $package of $suite"
            unpack_kernel "$package" "$folder" || return
        }
        ln -sfn "$(basename "$folder")" "$last"
    elif [[ -e $last ]]; then
        say "the lists of $suite cannot be read: taking $(readlink "$last"), which was fetched before"
    else
        say "kernel $name: the lists of $suite cannot be read, and none was fetched before"
        return 1
    fi
    flock -u 9
    readlink -f "$last"
}
