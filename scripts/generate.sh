#!/usr/bin/env bash
# Writes the files that are generated from the crd crate: manifests/crds, the chart's copies of them, and
# docs/reference.md.
# With --check, changes nothing and fails if a file is not up to date.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
"") export TRAFFICTRACE_GENERATE=1 ;;
--check) unset TRAFFICTRACE_GENERATE ;;
*)
    echo "usage: scripts/generate.sh [--check]" >&2
    exit 2
    ;;
esac
exec cargo test --quiet --locked --package traffictrace-crd --test generated generated_files_are_up_to_date
