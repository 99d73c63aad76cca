#!/usr/bin/env bash
# Measures what tracing costs (root). Installs the tools that it is compared with; arguments go to tt-bench.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PATH:/usr/sbin:/sbin

main() {
    scripts/setup.sh bench
    cargo build --release --locked --package traffictrace --package traffictrace-e2e --bins
    exec target/release/tt-bench "$@"
}

main "$@"
