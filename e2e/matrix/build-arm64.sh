#!/usr/bin/env bash
# Builds static programs of the product for arm64, and prints their folder.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=e2e/matrix/lib/common.sh
source "$here/lib/common.sh"
# shellcheck source=e2e/matrix/lib/debian.sh
source "$here/lib/debian.sh"
# shellcheck source=e2e/matrix/lib/rust_arm64.sh
source "$here/lib/rust_arm64.sh"

cd "$REPOSITORY"
use_rust_arm64
cargo build --release --locked --target "$ARM64_TARGET" --package traffictrace
echo "${CARGO_TARGET_DIR:-target}/$ARM64_TARGET/release/traffictrace"
