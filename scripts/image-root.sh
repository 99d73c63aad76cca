#!/usr/bin/env bash
# Builds the program for an architecture of images, and puts it with the libraries that it is linked to into a folder, in
# the places where the loader looks for them. The Dockerfile runs this in its builder.
#
# usage: image-root.sh target amd64|arm64          prints the name that Rust has for it
#        image-root.sh build amd64|arm64 FOLDER    builds, and fills the folder
#        image-root.sh collect PROGRAM CC FOLDER   only fills the folder, with libraries of this C compiler
set -euo pipefail

die() {
    echo "image-root: error: $*" >&2
    exit 1
}

# Prints the architecture as Debian's and Rust's compilers call it.
machine_of() {
    case $1 in
    amd64) echo x86_64 ;;
    arm64) echo aarch64 ;;
    *) die "no architecture \"$1\" of images is known here: amd64 or arm64" ;;
    esac
}

target_of() {
    local machine
    machine=$(machine_of "$1")
    echo "$machine-unknown-linux-gnu"
}

# The libraries that a file names, and the loader.
needed() {
    readelf --dynamic --wide "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]$/\1/p'
}

loader_of() {
    readelf --program-headers --wide "$1" | sed -n 's/.*program interpreter: \(.*\)\]$/\1/p'
}

# collect PROGRAM CC FOLDER
collect() {
    local program=$1 cc=$2 folder=$3 triplet loader name file waiting seen=' '
    triplet=$("$cc" -print-multiarch 2>/dev/null) || triplet=''
    [[ -n $triplet ]] || triplet=$("$cc" -dumpmachine)
    install -D -m 0755 "$program" "$folder/traffictrace"
    loader=$(loader_of "$program")
    [[ -n $loader ]] || return 0 # A static program is all there is.
    file=$("$cc" -print-file-name="${loader##*/}")
    [[ -f $file ]] || die "$cc knows no $loader"
    install -D -m 0755 "$file" "$folder$loader"
    mapfile -t waiting < <(needed "$program")
    while ((${#waiting[@]})); do
        name=${waiting[0]}
        waiting=("${waiting[@]:1}")
        [[ $seen != *" $name "* && $name != "${loader##*/}" ]] || continue
        seen+="$name "
        file=$("$cc" -print-file-name="$name")
        [[ -f $file ]] || die "$program needs $name, which $cc does not know"
        install -D -m 0755 "$file" "$folder/lib/$triplet/$name"
        mapfile -t -O "${#waiting[@]}" waiting < <(needed "$file")
    done
}

build() {
    local target machine cc variable
    machine=$(machine_of "$1")
    target=$(target_of "$1")
    cc=$machine-linux-gnu-gcc
    variable=${target//-/_}
    export "CARGO_TARGET_${variable^^}_LINKER=$cc" "CC_$variable=$cc"
    cargo build --profile dist --locked --target "$target" --package traffictrace
    collect "${CARGO_TARGET_DIR:-target}/$target/dist/traffictrace" "$cc" "$2"
}

case ${1:-} in
target) target_of "${2:?amd64 or arm64}" ;;
build) build "${2:?amd64 or arm64}" "${3:?a folder}" ;;
collect) collect "${2:?a program}" "${3:?a C compiler}" "${4:?a folder}" ;;
*)
    sed -n 's/^# usage: /usage: /p; s/^#        image/       image/p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
