#!/usr/bin/env bash
# Writes manifests/install.yaml, which is the chart for users without Helm: the namespace, followed by the templates
# with the default values. With --check, changes nothing and fails if the file is not up to date.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly FILE=manifests/install.yaml

render() {
    echo "# Generated from charts/traffictrace by scripts/install-manifest.sh: do not edit."
    cat manifests/namespace.yaml
    "$HELM" template traffictrace charts/traffictrace --namespace traffictrace-system
}

HELM=$(e2e/cluster/build.sh)/helm
case ${1:-} in
"")
    render >"$FILE.new"
    mv "$FILE.new" "$FILE"
    ;;
--check)
    if ! difference=$(diff -u "$FILE" <(render)); then
        echo "$difference" | head -n 40 >&2
        echo "$FILE is not what the chart gives: run scripts/install-manifest.sh and commit it" >&2
        exit 1
    fi
    ;;
*)
    echo "usage: scripts/install-manifest.sh [--check]" >&2
    exit 2
    ;;
esac
