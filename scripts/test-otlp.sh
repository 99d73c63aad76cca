#!/usr/bin/env bash
# Sends traces by OTLP to a real OpenTelemetry collector, which is built from its Go modules, and compares what the
# collector received with the statuses of the traces, number for number.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

main() {
    scripts/setup.sh
    command -v go >/dev/null || {
        echo "test-otlp: the collector is built from Go modules and there is no go command in PATH: install Go 1.26 or later (https://go.dev/dl)" >&2
        exit 1
    }
    local collector=$PWD/target/otel-collector
    echo "test-otlp: building the collector (a first build takes about 3 min on two cores, later ones seconds)" >&2
    (cd e2e/otel && go vet . && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w" -o "$collector" .)
    TT_OTEL_COLLECTOR=$collector CI=true exec cargo test --locked --package traffictrace-e2e --test otlp "$@"
}

main "$@"
