#!/usr/bin/env bash
# Checks the crates that others wrote (deny), lists them (sbom), and writes their licences (licenses). Tools that are
# not installed are built once, into target/tools.
#
# usage: supply-chain.sh deny|sbom|licenses
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly TOOLS=$PWD/target/tools
readonly DENY=0.20.2 CYCLONEDX=0.5.9 ABOUT=0.9.3

say() {
    echo "supply-chain: $*" >&2
}

# The crates of the programs that are shipped.
readonly SHIPPED=(agent cli)

# The name of the package in a folder.
name_of() {
    sed -n 's/^name = "\(.*\)"$/\1/p' "$1/Cargo.toml" | head -n 1
}

# tool NAME VERSION ARGUMENT...: installs the command by `cargo install` with the arguments, unless it exists.
tool() {
    export PATH=$TOOLS/bin:$PATH
    command -v "$1" >/dev/null && return
    say "building $1 $2 (some minutes, once)"
    cargo install --quiet --locked --root "$TOOLS" --version "$2" "${@:3}" "$1" ||
        { say "error: $1 could not be installed; its own words are above"; exit 1; }
}

deny() {
    # Not optimised: building takes longer than running.
    tool cargo-deny "$DENY" --debug
    cargo fetch --quiet --locked
    cargo deny --locked --offline check bans licenses sources
    if timeout 120 cargo deny fetch db >/dev/null 2>&1; then
        cargo deny --locked check --disable-fetch advisories
    else
        echo "SKIPPED: advisories: the RustSec advisory database cannot be fetched from here"
        [[ ${CI:-} != true ]] || exit 1
    fi
}

# One list for each program that is shipped, in the format of CycloneDX.
sbom() {
    local crate name out=target/sbom
    tool cargo-cyclonedx "$CYCLONEDX" --debug
    mkdir -p "$out"
    for crate in "${SHIPPED[@]}"; do
        # cargo cyclonedx writes a file beside the manifest of each crate of the workspace; it has no option for another
        # folder.
        cargo cyclonedx --quiet --format json --spec-version 1.5 --no-build-deps --target x86_64-unknown-linux-gnu \
            --manifest-path "$crate/Cargo.toml" --override-filename sbom
        name=$(name_of "$crate")
        # The path of the build folder must not be in the list.
        sed "s|file://$PWD|file:///src|g" "$crate/sbom.json" >"$out/$name.cdx.json"
        rm -- */sbom.json
    done
    ls "$out"/*.cdx.json
}

# One text for each program that is shipped.
licenses() {
    local crate name out=target/licenses
    # Optimised: comparing texts takes many minutes otherwise.
    tool cargo-about "$ABOUT" --features cli
    cargo fetch --quiet --locked
    mkdir -p "$out"
    for crate in "${SHIPPED[@]}"; do
        name=$(name_of "$crate")
        cargo about generate --locked --offline --fail --manifest-path "$crate/Cargo.toml" \
            --output-file "$out/$name.txt" about.hbs
    done
    ls "$out"/*.txt
}

case ${1:-} in
deny | sbom | licenses) "$1" ;;
*)
    sed -n 's/^# usage: /usage: /p' "${BASH_SOURCE[0]}" >&2
    exit 2
    ;;
esac
