#!/usr/bin/env bash
# Measures what tracing costs (root), in less than 20 minutes; with `--only rates` in less than 5. Installs the tools
# that it is compared with; arguments go to tt-bench.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PATH:/usr/sbin:/sbin

main() {
    scripts/setup.sh bench
    cargo build --release --locked --package traffictrace --package traffictrace-e2e --bin traffictrace --bin tt-bench
    exec "${CARGO_TARGET_DIR:-target}/release/tt-bench" "$@"
}

main "$@"
