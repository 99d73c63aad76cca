# shellcheck shell=bash
# The programs that come from the distribution: container runtime, network plugins, small tools.

# Commands that must exist, each with the Debian package that has it.
NEEDED=(
    ip:iproute2
    openssl:openssl
    nsenter:util-linux
)
[[ -n $API_ONLY ]] || NEEDED+=(
    containerd:containerd
    ctr:containerd
    runc:runc
    /usr/lib/cni/ptp:containernetworking-plugins
    nft:nftables
    # A test gives agents a wrong clock by the library of this package.
    faketime:faketime
    ldd:libc-bin
)
readonly NEEDED

missing_packages() {
    local pair
    for pair in "${NEEDED[@]}"; do
        command -v "${pair%%:*}" >/dev/null || echo "${pair#*:}"
    done | sort -u
}

ensure_packages() {
    local missing
    # The tools of a system administrator are not in every user's PATH.
    export PATH=$PATH:/usr/sbin:/sbin
    mapfile -t missing < <(missing_packages)
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null ||
        die "missing: ${missing[*]} (names of Debian packages), and there is no apt-get here: install them by hand"
    need_root "installing ${missing[*]} with apt-get"
    say "installing with apt-get: ${missing[*]}"
    {
        DEBIAN_FRONTEND=noninteractive apt-get update -q &&
            DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
    } >&2 || die "apt-get could not install ${missing[*]}; its own words are above"
}
