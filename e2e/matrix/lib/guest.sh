# shellcheck shell=bash
# What the guests run: our own programs, static, in an initial RAM file system.

# rust_target ARCHITECTURE: the compiler's name for it.
rust_target() {
    case $1 in
    amd64) echo x86_64-unknown-linux-gnu ;;
    arm64) echo aarch64-unknown-linux-gnu ;;
    esac
}

# build_programs ARCHITECTURE: prints the folder with the product and the programs of the suite.
build_programs() {
    local target
    target=$(rust_target "$1")
    (
        cd "$REPOSITORY"
        [[ $1 == amd64 ]] || use_rust_arm64
        # There is no libc in the guest. For this target only: what runs at build time stays as it is.
        variable=CARGO_TARGET_$(tr a-z- A-Z_ <<<"$target")_RUSTFLAGS
        export "$variable=-C target-feature=+crt-static"
        cargo build --locked --profile matrix --target "$target" --package traffictrace --package traffictrace-e2e \
            --bin traffictrace --bin tt-init --bin tt-exact >&2
        echo "${CARGO_TARGET_DIR:-$REPOSITORY/target}/$target/matrix"
    ) || die "building the guest's programs for $target failed; the lines above are the compiler's"
}

# build_initrd ARCHITECTURE: prints the file.
build_initrd() {
    local programs root=$OUT/root-$1 initrd=$OUT/initrd-$1
    programs=$(build_programs "$1") || return
    rm -rf "$root"
    mkdir -p "$root/bin"
    cp "$programs/traffictrace" "$programs/tt-exact" "$root/bin/"
    cp "$programs/tt-init" "$root/init"
    (cd "$root" && find . -print0 | LC_ALL=C sort -z | cpio --quiet --null --create --format=newc --owner=0:0) |
        gzip -1 >"$initrd"
    rm -rf "$root"
    echo "$initrd"
}

# with_modules INITRD FOLDER OUT: an initial RAM file system with the modules in the folder, too. The kernel unpacks one
# archive after the other.
with_modules() {
    { cat "$1" && (cd "$2/.." && find mod -print0 | LC_ALL=C sort -z |
        cpio --quiet --null --create --format=newc --owner=0:0) | gzip -1; } >"$3"
    echo "$3"
}
