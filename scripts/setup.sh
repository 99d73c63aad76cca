#!/usr/bin/env bash
# Installs the packages that building and testing need and this machine lacks, and prints their names. Another run
# installs nothing. The test cluster has packages of its own, which `make cluster-up` installs.
#
# usage: scripts/setup.sh [build | bench | monitoring | pictures]: the packages for building and the demo only; or in
# addition those that the benchmark uses, that the alerts are tested with, or that make the pictures of the docs
set -euo pipefail

# A command that must be in PATH, or a file that must exist, with the Debian package that has it. Of several commands
# (a|b) one suffices.
#
# These are for building, and for the demo's workloads.
readonly BUILD=(
    cc:gcc
    g++:g++
    /usr/include/stdlib.h:libc6-dev
    /usr/include/linux/bpf.h:linux-libc-dev
    make:make
    # The kernel programs are written in C, and compiled together with the Rust crate.
    clang:clang
    llvm-strip:llvm
    /usr/include/bpf/bpf_helpers.h:libbpf-dev
    python3:python3
)

readonly NEEDED=(
    "${BUILD[@]}"
    # For the tests: inspection of the kernel's BPF objects, other users and namespaces, the check of scripts, C++
    # programs, HTTP servers and clients. Those in Go need the go command, which also builds the test cluster's
    # programs.
    bpftool:bpftool
    setpriv:util-linux
    shellcheck:shellcheck
    clang-format:clang-format
    c++:g++
    nginx:nginx-light
    node:nodejs
    curl:curl
    wrk:wrk
    h2load:nghttp2-client
    # Runtimes of containers, whose names the product must find.
    containerd:containerd
    runc:runc
    podman:podman
    conmon:conmon
    openssl:openssl
    # A browser that opens flame graphs and reports (program names as in e2e/src/support/browser.rs), and a font for it.
    "chromium|chromium-browser|google-chrome|google-chrome-stable|chrome-headless-shell:chromium"
    /usr/share/fonts/truetype/dejavu/DejaVuSansMono.ttf:fonts-dejavu-core
)

readonly COMPARED=(
    tcpdump:tcpdump
    nethogs:nethogs
    bpftrace:bpftrace
)

readonly PICTURES=(
    tmux:tmux
    aha:aha
)

readonly MONITORING=(
    prometheus:prometheus
    promtool:prometheus
)

say() {
    echo "setup: $*" >&2
}

die() {
    echo "setup: error: $*" >&2
    exit 1
}

is_there() {
    local names name
    IFS='|' read -ra names <<<"$1"
    for name in "${names[@]}"; do
        case $name in
        /*) [[ ! -e $name ]] || return 0 ;;
        *) ! command -v "$name" >/dev/null || return 0 ;;
        esac
    done
    return 1
}

missing_packages() {
    local pair
    for pair in "$@"; do
        is_there "${pair%%:*}" || echo "${pair#*:}"
    done | sort -u
}

as_root() {
    if [[ $(id -u) == 0 ]]; then
        "$@"
    else
        sudo "$@"
    fi
}

# Debian and Ubuntu do not have the same packages: Ubuntu 24.04 has no chromium.
has_package() {
    apt-get install --simulate -q --no-install-recommends "$1" >/dev/null 2>&1
}

# is_for_build PACKAGE: succeeds if nothing can be built without the package.
is_for_build() {
    [[ " ${BUILD[*]#*:} " == *" $1 "* ]]
}

install_packages() {
    local package packages=() wanted=("$@")
    command -v apt-get >/dev/null ||
        die "missing: ${wanted[*]} (names of Debian packages), and there is no apt-get here: install them by hand"
    [[ $(id -u) == 0 ]] || command -v sudo >/dev/null ||
        die "missing: ${wanted[*]}; run this as root: apt-get install ${wanted[*]}"
    as_root apt-get update -q >&2 || die "apt-get update failed; its own words are above"
    for package in "${wanted[@]}"; do
        if is_for_build "$package" || has_package "$package"; then
            packages+=("$package")
        else
            say "this distribution has no package $package that can be installed: tests that need it say SKIPPED"
        fi
    done
    ((${#packages[@]} > 0)) || return 0
    say "installing with apt-get: ${packages[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}" >&2 ||
        die "apt-get could not install ${packages[*]}; its own words are above"
}

# Stops the server that a package (nginx, Prometheus) starts, now and at every boot, since nobody asked for it. If
# systemd is not running, as in a container, there is no service to stop.
without_service() {
    [[ -d /run/systemd/system ]] || return 0
    as_root systemctl disable --quiet --now "$1" || say "the service $1 was installed and could not be disabled"
}

# unpack FOLDER PACKAGE: unpacks a package there, and installs nothing.
unpack() {
    say "unpacking $2 in $1"
    mkdir -p "$1"
    (
        cd "$1" || exit
        { apt-get download -q "$2" || { as_root apt-get update -q && apt-get download -q "$2"; }; } >&2 &&
            dpkg -x "$2"_*.deb . && rm "$2"_*.deb
    ) || die "$2 could not be unpacked; apt-get's own words are above"
}

# Unpacks Docker where the suite looks for it, below target/, unless it is installed. The package would start a daemon, which
# changes the machine's firewall.
unpack_docker() {
    local folder=target/tools/docker
    if command -v dockerd >/dev/null && command -v docker >/dev/null; then
        return
    fi
    if ! command -v apt-get >/dev/null; then
        say "there is no Docker here, and no apt-get to unpack it with: tests that need it say SKIPPED"
        return
    fi
    [[ -x $folder/usr/sbin/dockerd ]] || unpack "$folder" docker.io
    # From Debian 13 on the client is a package of its own.
    [[ -x $folder/usr/bin/docker ]] || unpack "$folder" docker-cli
}

main() {
    local missing needed=("${NEEDED[@]}")
    case ${1:-} in
    build) needed=("${BUILD[@]}") ;;
    bench) needed+=("${COMPARED[@]}") ;;
    pictures) needed+=("${PICTURES[@]}") ;;
    monitoring) needed+=("${MONITORING[@]}") ;;
    esac
    # Administrators' tools are not in every user's PATH.
    export PATH=$PATH:/usr/sbin:/sbin
    mapfile -t missing < <(missing_packages "${needed[@]}")
    ((${#missing[@]} == 0)) || install_packages "${missing[@]}"
    [[ " ${missing[*]} " != *" nginx-light "* ]] || without_service nginx
    [[ " ${missing[*]} " != *" prometheus "* ]] || without_service prometheus
    [[ " ${missing[*]} " != *" containerd "* ]] || without_service containerd
    command -v cargo >/dev/null || die "no cargo in PATH: install Rust with rustup (https://rustup.rs), then run this again"
    # The first call makes rustup fetch the toolchain that rust-toolchain.toml names.
    cd "$(dirname "${BASH_SOURCE[0]}")/.."
    cargo --version >/dev/null || die "cargo cannot run the toolchain that rust-toolchain.toml names; its own words are above"
    [[ ${1:-} == build ]] || unpack_docker
}

main "$@"
