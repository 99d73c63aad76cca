#!/usr/bin/env bash
# Puts random load of every kind on a traced cgroup and compares what TrafficTrace shows with the counts of the
# processes, byte for byte: everything mixed, new connections as fast as possible, and UDP sockets for one query each.
# Then, for about five minutes, sends traffic that no HTTP server wants, including a million connections of one byte
# each, beside a server whose requests must all be seen.
#
# usage: [SECONDS_EACH=600] [SEED=N] scripts/soak.sh
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

seed=()
[[ -z ${SEED:-} ]] || seed=(--seed "$SEED")
cargo build --release --locked --package traffictrace --package traffictrace-e2e
for kind in "" --connections --udp-queries; do
    target/release/tt-exact soak --seconds "${SECONDS_EACH:-600}" "${seed[@]}" ${kind:+"$kind"}
done
TT_HOSTILE_FACTOR=20 cargo test --release --locked --package traffictrace-e2e --test host -- \
    http::hostile --test-threads 1 --nocapture
