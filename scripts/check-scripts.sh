#!/usr/bin/env bash
# Checks what is not Rust: shell scripts, the Go programs of the test cluster, the chart.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

skip() {
    echo "SKIPPED: $1"
    [[ ${CI:-} != true ]] || exit 1
}

if command -v shellcheck >/dev/null; then
    # Of the libraries, those that a script names are read with it.
    shellcheck -x scripts/*.sh e2e/cluster/*.sh e2e/matrix/*.sh
else
    skip "shell scripts are not checked: no shellcheck here (apt-get install shellcheck)"
fi

# First: it says so clearly when there is no Go.
bin=$(e2e/cluster/build.sh)
unformatted=$(gofmt -l e2e/cluster e2e/peers)
[[ -z $unformatted ]] || {
    echo "not as gofmt would write it: $unformatted" >&2
    exit 1
}
for module in e2e/cluster/tools e2e/peers/go e2e/peers/grpc; do
    (cd "$module" && go vet ./...)
done

"$bin/helm" lint --strict --quiet charts/traffictrace
# As for nodes with an old runtime and an old kernel.
"$bin/helm" lint --strict --quiet charts/traffictrace \
    --set "agent.seccompProfile.type=Localhost,agent.seccompProfile.localhostProfile=bpf.json,agent.extraCapabilities={SYS_RESOURCE}"
# With the requests inside TLS, with stacks, and with both.
"$bin/helm" lint --strict --quiet charts/traffictrace --set "agent.tls=true"
"$bin/helm" lint --strict --quiet charts/traffictrace --set "agent.stacks=true"
"$bin/helm" lint --strict --quiet charts/traffictrace --set "agent.tls=true,agent.stacks=true"

# memory_limit VALUES: the memory limit of the agent's container.
memory_limit() {
    "$bin/helm" template traffictrace charts/traffictrace --show-only templates/agent/daemonset.yaml --set "$1" |
        sed -n '/^ *limits:/,/^ *requests:/s/^ *memory: *//p'
}

# Stacks take memory of their own; what somebody asks for stays.
while read -r values expected; do
    limit=$(memory_limit "$values")
    [[ $limit == "$expected" ]] || {
        echo "with $values the agent's memory limit is \"$limit\", and not $expected" >&2
        exit 1
    }
done <<'END'
agent.tls=true 256Mi
agent.stacks=true 512Mi
agent.stacks=true,agent.resources.limits.memory=1Gi 1Gi
agent.resources.limits.memory=300Mi 300Mi
END
scripts/install-manifest.sh --check
