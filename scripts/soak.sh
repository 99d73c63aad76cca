#!/usr/bin/env bash
# Puts random load of every kind on a traced cgroup and compares what TrafficTrace shows with what the processes
# counted, byte for byte: everything mixed, connections as fast as they come, and UDP sockets for one query each. Then
# loads that no server of HTTP wants, a million connections of one byte among them, beside a server whose requests all have
# to be seen, for about five minutes.
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
