#!/usr/bin/env bash
# Measures the cost of tracing, in less than 20 minutes (in less than 5 with `--only rates`); needs root. Installs the
# tools for comparison; arguments are passed to tt-bench.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PATH:/usr/sbin:/sbin

main() {
    scripts/setup.sh bench
    cargo build --release --locked --package traffictrace --package traffictrace-e2e --bin traffictrace --bin tt-bench
    exec "${CARGO_TARGET_DIR:-target}/release/tt-bench" "$@"
}

main "$@"
