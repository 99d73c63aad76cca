#!/usr/bin/env bash
# Packs the kubectl plugin for those who install it, and writes the manifest by which krew does.
#
# usage: scripts/plugin.sh archive [TARGET...]       builds and packs it for this machine, or for these targets of Rust
#        scripts/plugin.sh krew HOMEPAGE DOWNLOADS   prints the manifest of all archives that are there; DOWNLOADS is the
#                                                    address of the folder where they can be fetched
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly FOLDER=target/plugin
readonly NAME=kubectl-traffictrace

die() {
    echo "plugin: error: $*" >&2
    exit 1
}

version() {
    local id
    id=$(cargo pkgid --locked --package traffictrace-cli)
    echo "${id##*[#@]}"
}

# platform TARGET: the operating system and the architecture as krew calls them, and the suffix of programs.
platform() {
    local os arch suffix=
    case $1 in
        *-linux-*) os=linux ;;
        *-apple-darwin) os=darwin ;;
        *-windows-*) os=windows suffix=.exe ;;
        *) die "no name for the operating system of the target $1" ;;
    esac
    case $1 in
        x86_64-*) arch=amd64 ;;
        aarch64-*) arch=arm64 ;;
        *) die "no name for the architecture of the target $1" ;;
    esac
    echo "$os $arch $suffix"
}

archive() {
    local host target os arch suffix built folder
    host=$(rustc -vV | sed -n 's/^host: //p')
    [[ $# -gt 0 ]] || set -- "$host"
    mkdir -p "$FOLDER"
    for target in "$@"; do
        read -r os arch suffix <<<"$(platform "$target")"
        cargo build --release --locked --package traffictrace-cli --target "$target" >&2
        built=target/$target/release/$NAME${suffix:-}
        folder=$(mktemp -d)
        cp "$built" LICENSE "$folder/"
        # The same files make the same archive, whenever it is packed and by whom.
        tar --create --gzip --directory "$folder" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner \
            --file "$FOLDER/${NAME}_${os}_$arch.tar.gz" "$NAME${suffix:-}" LICENSE
        rm -r "$folder"
        echo "$FOLDER/${NAME}_${os}_$arch.tar.gz"
    done
}

krew() {
    [[ $# == 2 ]] || die "krew takes the homepage and the address of the folder with the archives"
    local homepage=$1 downloads=${2%/} os arch suffix file platforms=
    for os in linux darwin windows; do
        for arch in amd64 arm64; do
            file=$FOLDER/${NAME}_${os}_$arch.tar.gz
            [[ -e $file ]] || continue
            suffix=
            [[ $os != windows ]] || suffix=.exe
            platforms+="
    - selector:
        matchLabels:
          os: $os
          arch: $arch
      uri: $downloads/$(basename "$file")
      sha256: $(sha256sum "$file" | cut -d ' ' -f 1)
      bin: $NAME$suffix"
        done
    done
    [[ -n $platforms ]] || die "no archive in $FOLDER: run scripts/plugin.sh archive first"
    cat <<END
apiVersion: krew.googlecontainertools.github.com/v1alpha2
kind: Plugin
metadata:
  name: traffictrace
spec:
  version: v$(version)
  homepage: $homepage
  shortDescription: Find out which pods and processes use the network
  description: |
    Traces the network traffic of pods with eBPF, on the nodes where they run: which process talks to whom, how many bytes, which
    HTTP requests, which code. Shows it live, as tables, CSV, JSON, flame graphs and reports.
  caveats: |
    The cluster needs TrafficTrace's controller and agents. To see whether they are there, and what is missing:
      kubectl traffictrace check
    For completion:
      kubectl traffictrace completion kubectl
  platforms:$platforms
END
}

main() {
    local what=${1:-}
    [[ $what == archive || $what == krew ]] || {
        sed -n '2,/^set /{/^set /!s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
        exit 2
    }
    shift
    "$what" "$@"
}

main "$@"
