#!/usr/bin/env bash
# Checks everything that is not Rust: shell scripts, the format of the kernel programs, the Go programs of the test cluster, the chart.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

skip() {
    echo "SKIPPED: $1"
    [[ ${CI:-} != true ]] || exit 1
}

if command -v shellcheck >/dev/null; then
    # -x also reads the files that these scripts source.
    shellcheck -x scripts/*.sh e2e/cluster/*.sh e2e/matrix/*.sh
else
    skip "shell scripts are not checked: no shellcheck here (apt-get install shellcheck)"
fi

# Releases of clang-format that were compared and agree on the kernel programs.
readonly OLDEST_FORMAT=14 NEWEST_FORMAT=21
if ! command -v clang-format >/dev/null; then
    skip "the format of the kernel programs is not checked: no clang-format here (apt-get install clang-format)"
else
    release=$(clang-format --version | sed -n 's/.*version \([0-9]*\)\..*/\1/p')
    if ((release >= OLDEST_FORMAT && release <= NEWEST_FORMAT)); then
        clang-format --dry-run -Werror ebpf/src/bpf/*.[ch]
    else
        skip "the format of the kernel programs is not checked: clang-format $release may format otherwise than $OLDEST_FORMAT to $NEWEST_FORMAT do"
    fi
fi

# Needed only below, but called before gofmt, since it prints a clear error if there is no Go.
bin=$(e2e/cluster/build.sh)
unformatted=$(gofmt -l e2e/cluster e2e/otel e2e/peers)
[[ -z $unformatted ]] || {
    echo "not as gofmt would write it: $unformatted" >&2
    exit 1
}
for module in e2e/cluster/tools e2e/peers/go e2e/peers/grpc; do
    (cd "$module" && go vet ./...)
done

"$bin/helm" lint --strict --quiet charts/traffictrace
# The settings for nodes with an old container runtime and an old kernel.
"$bin/helm" lint --strict --quiet charts/traffictrace \
    --set "agent.seccompProfile.type=Localhost,agent.seccompProfile.localhostProfile=bpf.json,agent.extraCapabilities={SYS_RESOURCE}"
# The settings with the export by OTLP.
"$bin/helm" lint --strict --quiet charts/traffictrace \
    --set "otlp.endpoint=http://otel-collector.monitoring:4318,otlp.headersFrom.name=otlp,otlp.headersFrom.key=headers"
# A release that was installed by a chart without `otlp` has none of its values with --reuse-values.
"$bin/helm" lint --strict --quiet charts/traffictrace --set "otlp=null"
# otlp_controller VALUES: prints the controller's Deployment with the export by OTLP.
otlp_controller() {
    "$bin/helm" template traffictrace charts/traffictrace --show-only templates/controller/deployment.yaml \
        --set "otlp.endpoint=http://otel-collector.monitoring:4318$1"
}
missing=$(sed -n '/^otlp:/,/^[a-z]/s/^  \([a-zA-Z]*\):.*/\1/p' charts/traffictrace/values.yaml | grep -v '^endpoint$' |
    sed 's/.*/,otlp.&=null/' | tr -d '\n')
with_values=$(otlp_controller "")
without_values=$(otlp_controller "$missing")
diff <(echo "$with_values") <(echo "$without_values") || {
    echo "the export by OTLP differs where values of otlp are missing: see traffictrace.otlpArguments in _helpers.tpl" >&2
    exit 1
}
# The settings with requests inside TLS, with stacks, and with both.
"$bin/helm" lint --strict --quiet charts/traffictrace --set "agent.tls=true"
"$bin/helm" lint --strict --quiet charts/traffictrace --set "agent.stacks=true"
"$bin/helm" lint --strict --quiet charts/traffictrace --set "agent.tls=true,agent.stacks=true"

# memory_limit VALUES: prints the memory limit of the agent's container.
memory_limit() {
    "$bin/helm" template traffictrace charts/traffictrace --show-only templates/agent/daemonset.yaml --set "$1" |
        sed -n '/^ *limits:/,/^ *requests:/s/^ *memory: *//p'
}

# Stacks add memory of their own, but a limit that the user sets stays.
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
