# shellcheck shell=bash
# Shared parts of the kernel matrix: folders, messages, and packages that this machine needs.

MATRIX_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
REPOSITORY=$(cd "$MATRIX_DIR/../.." && pwd)

# Cache of Debian packages by version, shared by all clones of the repository on a machine.
readonly CACHE=${TRAFFICTRACE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/traffictrace}
# Files that this tree has built, and logs of its boots.
readonly OUT=$REPOSITORY/target/kernel-matrix

# Prints progress to stderr, since stdout is for the results of functions.
say() {
    echo "kernel-matrix: $*" >&2
}

die() {
    echo "kernel-matrix: error: $*" >&2
    exit 1
}

# ensure_packages COMMAND:PACKAGE...: installs the Debian packages whose command, or file, is missing, and prints their
# names.
ensure_packages() {
    local pair missing=() as_root=()
    for pair in "$@"; do
        if [[ $pair == /* ]]; then
            [[ -e ${pair%%:*} ]] || missing+=("${pair#*:}")
        else
            command -v "${pair%%:*}" >/dev/null || missing+=("${pair#*:}")
        fi
    done
    ((${#missing[@]})) || return 0
    command -v apt-get >/dev/null ||
        die "missing: ${missing[*]} (names of Debian packages), and there is no apt-get here: install them by hand"
    if [[ $(id -u) != 0 ]]; then
        command -v sudo >/dev/null || die "missing: ${missing[*]}; run this as root: apt-get install ${missing[*]}"
        as_root=(sudo)
    fi
    say "installing with apt-get: ${missing[*]}"
    {
        "${as_root[@]}" apt-get update -q &&
            "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
    } >&2 || die "apt-get could not install ${missing[*]}; its own words are above"
}
