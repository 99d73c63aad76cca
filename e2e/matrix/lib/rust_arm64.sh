# shellcheck shell=bash
# A Rust compiler for arm64: rustup's if that target is installed, otherwise Debian's, unpacked into the cache.

readonly ARM64_TARGET=aarch64-unknown-linux-gnu
readonly ARM64_LINKER=aarch64-linux-gnu-gcc
# The suite of Debian whose compiler is used: new enough for this workspace, with a standard library for both
# architectures.
readonly RUST_SUITE=forky

rustup_has_arm64() {
    command -v rustup >/dev/null && (cd "$REPOSITORY" && rustup target list --installed 2>/dev/null) | grep -qx "$ARM64_TARGET"
}

# Prints the compiler's packages, with the libraries that it is linked to. Their names contain versions, which change.
compiler_packages() {
    local library
    library=$(debian_depends libstd-rust-dev | grep -m 1 '^libstd-rust-') || return
    printf '%s\n' rustc libstd-rust-dev
    # Names of packages begin a line; virtual packages are in brackets.
    apt-cache depends --recurse --important "$library" | grep -E '^[a-z]'
}

# Writes a script that runs the compiler with its own C library, since it may need a newer one than this machine has.
write_wrapper() {
    cat >"$1/rustc" <<EOF
#!/bin/sh
exec $2/usr/lib64/ld-linux-x86-64.so.2 --library-path $2/usr/lib/x86_64-linux-gnu $2/usr/bin/rustc --sysroot $2/usr "\$@"
EOF
    chmod +x "$1/rustc"
}

unpack_compiler() {
    local folder=$1 part=$1.part deb packages
    rm -rf "$part"
    mkdir -p "$part/deb"
    say "fetching Debian's Rust compiler for arm64 (about 140 MB)"
    mapfile -t packages < <(compiler_packages | sort -u)
    debian_fetch "$part/deb" "${packages[@]}" || return
    debian_open "$RUST_SUITE" arm64 && debian_fetch "$part/deb" libstd-rust-dev || return
    for deb in "$part"/deb/*.deb; do
        dpkg-deb -x "$deb" "$part" || return
    done
    rm -rf "$part/deb"
    write_wrapper "$part" "$folder"
    "$part/usr/lib64/ld-linux-x86-64.so.2" --library-path "$part/usr/lib/x86_64-linux-gnu" "$part/usr/bin/rustc" \
        --version >&2 || return
    mv "$part" "$folder"
}

# debian_compiler: prints the program to use as RUSTC. Without a network, this is the compiler that was fetched last.
debian_compiler() {
    local folder last=$CACHE/rust-arm64/last
    mkdir -p "$CACHE/rust-arm64"
    exec 9>"$CACHE/rust-arm64/lock"
    flock 9
    if debian_open "$RUST_SUITE" amd64; then
        folder=$CACHE/rust-arm64/$(debian_version rustc)
        [[ -d $folder ]] || unpack_compiler "$folder" || return
        ln -sfn "$(basename "$folder")" "$last"
    fi
    [[ -e $last ]] || return
    flock -u 9
    echo "$(readlink -f "$last")/rustc"
}

# use_rust_arm64: directs cargo in this shell to arm64, with a target folder of its own, since the compiler differs.
use_rust_arm64() {
    local compiler
    ensure_packages "$ARM64_LINKER:gcc-aarch64-linux-gnu" /usr/aarch64-linux-gnu/include/stdlib.h:libc6-dev-arm64-cross \
        "$DEBIAN_KEYS:debian-archive-keyring"
    if ! rustup_has_arm64; then
        compiler=$(debian_compiler) ||
            die "no Rust compiler for arm64: Debian's could not be fetched; or run: rustup target add $ARM64_TARGET"
        export RUSTC=$compiler
        export CARGO_TARGET_DIR=$REPOSITORY/target/arm64
    fi
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=$ARM64_LINKER
    # Static, so that the program runs with any libc.
    export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C target-feature=+crt-static"
}
