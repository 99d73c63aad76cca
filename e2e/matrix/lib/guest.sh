# shellcheck shell=bash
# The initial RAM file system of the guests: our own programs and the libraries that they load.

# build_programs ARCHITECTURE: prints the folder with the product and the programs of the suite.
build_programs() {
    (
        cd "$REPOSITORY"
        if [[ $1 == amd64 ]]; then
            # The same command as `make build`, so that nothing is compiled only for the guests.
            cargo build --release --locked --workspace >&2
            echo "${CARGO_TARGET_DIR:-$REPOSITORY/target}/release"
        else
            use_rust_arm64
            # Static, because this machine has no arm64 libc that the guest could use.
            export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS='-C target-feature=+crt-static'
            cargo build --release --locked --target "$ARM64_TARGET" --package traffictrace --package traffictrace-e2e \
                --bin traffictrace --bin tt-init --bin tt-exact >&2
            echo "${CARGO_TARGET_DIR:-$REPOSITORY/target}/$ARM64_TARGET/release"
        fi
    ) || die "building the guest's programs for $1 failed; the lines above are the compiler's"
}

# build_initrd ARCHITECTURE: builds the initial RAM file system and prints its path.
build_initrd() {
    local programs program library root=$OUT/root-$1 initrd=$OUT/initrd-$1
    programs=$(build_programs "$1") || return
    rm -rf "$root"
    mkdir -p "$root/bin"
    cp "$programs/traffictrace" "$programs/tt-exact" "$root/bin/"
    cp "$programs/tt-init" "$root/init"
    for program in "$root/bin/traffictrace" "$root/bin/tt-exact" "$root/init"; do
        while read -r library; do
            install -D "$library" "$root$library"
        done < <(libraries_of "$program")
    done
    (cd "$root" && find . -print0 | LC_ALL=C sort -z | cpio --quiet --null --create --format=newc --owner=0:0) |
        gzip -1 >"$initrd"
    rm -rf "$root"
    echo "$initrd"
}

# with_modules INITRD FOLDER OUT: appends the modules in the folder to an initial RAM file system. The kernel unpacks
# one archive after the other.
with_modules() {
    { cat "$1" && (cd "$2/.." && find mod -print0 | LC_ALL=C sort -z |
        cpio --quiet --null --create --format=newc --owner=0:0) | gzip -1; } >"$3"
    echo "$3"
}
