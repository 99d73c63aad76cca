#!/usr/bin/env bash
# Boots Debian's kernels in QEMU under software emulation, tests the product there byte for byte with each hook tier that
# the kernel has, and prints a table. The exit status is 1 if a cell failed. For each kernel that could not be tested, a
# line begins with SKIPPED; with CI=true, the exit status is 1 then too.
#
# usage: matrix.sh [KERNEL[:TIER[,TIER...]]...]
# The kernels are 5.10 6.1 6.12 newest arm64-5.10 arm64-6.1 arm64-6.12 arm64-newest; without arguments, those of amd64.
# With tiers, only these are tested on the kernel.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=e2e/matrix/lib/common.sh
source "$here/lib/common.sh"
# shellcheck source=e2e/matrix/lib/debian.sh
source "$here/lib/debian.sh"
# shellcheck source=e2e/matrix/lib/rust_arm64.sh
source "$here/lib/rust_arm64.sh"
# shellcheck source=e2e/matrix/lib/kernels.sh
source "$here/lib/kernels.sh"
# shellcheck source=e2e/cluster/lib/images.sh
source "$here/../cluster/lib/images.sh"
# shellcheck source=e2e/matrix/lib/guest.sh
source "$here/lib/guest.sh"
# shellcheck source=e2e/matrix/lib/boot.sh
source "$here/lib/boot.sh"
# shellcheck source=e2e/matrix/lib/verdict.sh
source "$here/lib/verdict.sh"

skipped=0

skip() {
    echo "SKIPPED: kernel matrix: $1"
    skipped=$((skipped + 1))
}

need_kernel_name() {
    local name
    for name in "${KERNEL_NAMES[@]}"; do
        [[ $name == "$1" ]] && return
    done
    die "no kernel '$1' in the matrix; there are ${KERNEL_NAMES[*]}"
}

# Installs QEMU and the tools for images that the given architectures need.
install_emulators() {
    local needed=(cpio:cpio "$DEBIAN_KEYS:debian-archive-keyring") architecture
    for architecture in "$@"; do
        case $architecture in
        amd64) needed+=(qemu-system-x86_64:qemu-system-x86) ;;
        arm64) needed+=(qemu-system-aarch64:qemu-system-arm) ;;
        esac
    done
    ensure_packages "${needed[@]}"
}

# try_kernel NAME VMLINUZ INITRD: boots the kernel, with a log of its name.
try_kernel() {
    local name=$1 begin=$SECONDS
    if boot_or_again "$name" "$2" "$3" "$OUT/$name.log"; then
        say "$name: came to its end after $((SECONDS - begin)) s"
    else
        say "$name: the guest ended too early, after $((SECONDS - begin)) s; its log: $OUT/$name.log"
    fi
}

end_guests() {
    local guest
    for guest in $(jobs -p); do
        kill -- "-$guest" 2>/dev/null || true
    done
}

main() {
    local names=() name architecture folder running=0 tried=()
    local -A initrds=() images=()
    (($#)) || set -- 5.10 6.1 6.12 newest
    for name in "$@"; do
        [[ $name != *:* ]] || ONLY_TIERS[${name%%:*}]=${name#*:}
        name=${name%%:*}
        need_kernel_name "$name"
        names+=("$name")
        initrds[$(kernel_architecture "$name")]=''
    done
    if [[ $(uname -m) != x86_64 ]]; then
        skip "the guests' programs are built on x86-64 machines only, this one is $(uname -m)"
        verdict
        return
    fi
    mkdir -p "$OUT"
    install_emulators "${!initrds[@]}"
    for name in "${names[@]}"; do
        if folder=$(fetch_kernel "$name"); then
            images[$name]=$folder/vmlinuz
            tried+=("$name")
        else
            skip "kernel $name could not be fetched from Debian"
        fi
    done
    for architecture in "${!initrds[@]}"; do
        initrds[$architecture]=$(build_initrd "$architecture")
    done
    # With job control (`set -m`), each guest's shell leads a process group, so that an interrupted run can end QEMU
    # too.
    set -m
    trap end_guests EXIT
    for name in "${tried[@]}"; do
        # As many guests run at a time as there are processors.
        ((running < $(nproc))) || { wait -n && running=$((running - 1)); }
        say "$name: booting $(basename "$(dirname "${images[$name]}")")"
        try_kernel "$name" "${images[$name]}" "$(with_modules "${initrds[$(kernel_architecture "$name")]}" \
            "$(dirname "${images[$name]}")/mod" "$OUT/initrd-$name")" &
        running=$((running + 1))
    done
    wait
    trap - EXIT
    set +m
    verdict "${tried[@]}"
}

main "$@"
