#!/usr/bin/env bash
# Makes the files of a release in target/artifacts, for this machine's architecture: the program as a tar archive with its
# licences, the archives of the kubectl plugin, the chart, the manifests, the SBOMs and the sums of all. The same commit gives
# the same archives. scripts/image.sh makes the image.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly OUT=target/artifacts

die() {
    echo "dist: error: $*" >&2
    exit 1
}

architecture() {
    case $(uname -m) in
    x86_64) echo amd64 ;;
    aarch64) echo arm64 ;;
    *) die "no name for the architecture $(uname -m) is known here" ;;
    esac
}

# archive NAME FILE...: a tar archive with the files in a folder of that name.
archive() {
    local name=$1 work
    shift
    work=$(mktemp -d)
    mkdir "$work/$name"
    cp -t "$work/$name" "$@"
    tar -C "$work" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner -cf - "$name" |
        gzip -9n >"$OUT/$name.tar.gz"
    rm -rf "$work"
}

main() {
    local version chart helm sbom
    version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' Cargo.toml)
    chart=$(sed -n 's/^version: *//p' charts/traffictrace/Chart.yaml)
    [[ $chart == "$version" ]] || die "the chart's version is $chart, and the workspace's $version: see docs/releasing.md"
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
    export SOURCE_DATE_EPOCH
    scripts/setup.sh
    scripts/install-manifest.sh --check
    scripts/generate.sh --check
    helm=$(e2e/cluster/build.sh)/helm
    rm -rf "$OUT"
    mkdir -p "$OUT"
    scripts/supply-chain.sh licenses
    scripts/supply-chain.sh sbom
    cargo build --profile dist --locked --package traffictrace
    archive "traffictrace-$version-linux-$(architecture)" \
        "${CARGO_TARGET_DIR:-target}/dist/traffictrace" LICENSE target/licenses/traffictrace.txt
    scripts/plugin.sh archive >&2
    cp -t "$OUT" target/plugin/*.tar.gz target/licenses/traffictrace-cli.txt
    "$helm" package charts/traffictrace --destination "$OUT" >&2
    cp manifests/install.yaml "$OUT/traffictrace-$version-install.yaml"
    for sbom in target/sbom/*.cdx.json; do
        cp "$sbom" "$OUT/$(basename "$sbom" .cdx.json)-$version.cdx.json"
    done
    (cd "$OUT" && sha256sum -- * >SHA256SUMS)
    ls -l "$OUT"
}

main
