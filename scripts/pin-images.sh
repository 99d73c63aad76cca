#!/usr/bin/env bash
# Asks the registry for the digest of the builder's image and writes it to images.lock, from which `make image` takes it.
# The digest is that of the list of all architectures. Needs a network and docker buildx, skopeo or crane.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly LOCK=images.lock

die() {
    echo "pin-images: error: $*" >&2
    exit 1
}

digest_of() {
    if docker buildx version >/dev/null 2>&1; then
        docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$1"
    elif command -v skopeo >/dev/null; then
        skopeo inspect --no-tags --raw "docker://$1" | sha256sum | sed 's/^\([0-9a-f]*\).*/sha256:\1/'
    elif command -v crane >/dev/null; then
        crane digest "$1"
    else
        die "there is no docker buildx, skopeo or crane here to ask a registry with: install one of them"
    fi
}

main() {
    local version image digest
    version=$(sed -n 's/^channel = "\(.*\)"$/\1/p' rust-toolchain.toml)
    image=docker.io/library/rust:$version-bookworm
    digest=$(digest_of "$image") || die "the registry did not tell the digest of $image; its own words are above"
    [[ $digest =~ ^sha256:[0-9a-f]{64}$ ]] || die "the digest of $image is \"$digest\", which is none"
    printf '# Written by scripts/pin-images.sh: do not edit.\nRUST_IMAGE=%s@%s\n' "$image" "$digest" >"$LOCK"
    echo "pin-images: $image is $digest; commit $LOCK" >&2
}

main
