#!/usr/bin/env bash
# Builds the image for both architectures with docker buildx: as an archive in the OCI layout in target/images, or, with
# IMAGE=REGISTRY/NAME:TAG, pushed there.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

die() {
    echo "image: error: $*" >&2
    exit 1
}

# The URL of the repository for the image's label, without the user and the password or token that it may have.
source_url() {
    git config --get remote.origin.url | sed -E 's|^([A-Za-z][A-Za-z0-9+.-]*://)[^/?#]*@|\1|' || true
}

main() {
    local RUST_IMAGE='' version revision created output=()
    docker buildx version >/dev/null 2>&1 ||
        die "there is no docker buildx here: install Docker, or pack the image without an engine by e2e/cluster/cluster.sh pack"
    [[ -f images.lock ]] || die "there is no images.lock with the builder's image by its digest: run scripts/pin-images.sh"
    # shellcheck source=/dev/null
    source images.lock
    [[ $RUST_IMAGE == *@sha256:* ]] || die "images.lock has no RUST_IMAGE with a digest: run scripts/pin-images.sh"
    version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
    revision=$(git rev-parse HEAD)
    # The same commit gives the same labels.
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
    export SOURCE_DATE_EPOCH
    created=$(date --utc --date "@$SOURCE_DATE_EPOCH" +%FT%TZ)
    if [[ -n ${IMAGE:-} ]]; then
        output=(--tag "$IMAGE" --push)
    else
        mkdir -p target/images
        output=(--output "type=oci,dest=target/images/traffictrace-$version.oci.tar")
    fi
    scripts/supply-chain.sh licenses
    docker buildx build --platform linux/amd64,linux/arm64 \
        --build-arg RUST_IMAGE="$RUST_IMAGE" --build-arg VERSION="$version" --build-arg REVISION="$revision" \
        --build-arg CREATED="$created" --build-arg SOURCE="$(source_url)" "${output[@]}" .
}

main
