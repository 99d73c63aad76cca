#!/usr/bin/env bash
# Tests the chart's alerts and dashboard with a real Prometheus (needs root): the rules are checked and tested on series
# of their own, and each query of the dashboard is sent to a Prometheus that watches an agent which traces a loopback
# transfer.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PATH:/usr/sbin:/sbin
readonly RULES=charts/traffictrace/files/rules.yaml DASHBOARD=charts/traffictrace/files/dashboard.json
readonly AGENT=127.0.0.1:19464 PROMETHEUS=127.0.0.1:19465 PORT=19466
work=''
children=()

die() {
    echo "test-monitoring: $*" >&2
    exit 1
}

clean_up() {
    local child
    for child in "${children[@]}"; do
        kill "$child" 2>/dev/null || true
        wait "$child" 2>/dev/null || true
    done
    [[ -z $work ]] || rm -rf "$work"
}

# wait_for WHAT COMMAND...: waits until the command succeeds, for at most a minute.
wait_for() {
    local what=$1 deadline=$((SECONDS + 60))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || die "waited a minute for $what; the logs are: $(tail -n 5 "$work"/*.log)"
        sleep 0.2
    done
}

query() {
    promtool query instant "http://$PROMETHEUS" "$1"
}

# has_value QUERY: succeeds if the query returns a value that is not 0.
has_value() {
    query "$1" | awk '{ if ($(NF - 1) + 0 != 0) found = 1 } END { exit !found }'
}

# Starts an agent that traces the processes in a cgroup of this script, and starts such processes.
start_agent() {
    local root cgroup=test-monitoring-$$
    root=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts)
    mkdir "$root/$cgroup"
    # shellcheck disable=SC2064 # now is when the names are known
    trap "clean_up; rmdir '$root/$cgroup'" EXIT
    cat >"$work/pods.yaml" <<END
- {name: load, namespace: default, labels: {app: load}, cgroup: /$cgroup}
END
    cat >"$work/trace.yaml" <<END
apiVersion: traffictrace.dev/v1alpha1
kind: TrafficTrace
metadata: {name: load, namespace: default}
spec: {selector: {matchLabels: {app: load}}, interval: 5s}
END
    target/release/traffictrace agent --standalone "$work" --listen "$AGENT" >"$work/agent.log" 2>&1 &
    children+=($!)
    target/release/tt-workload --cgroup "$root/$cgroup" server --listen "127.0.0.1:$PORT" >"$work/server.log" 2>&1 &
    children+=($!)
    target/release/tt-workload --cgroup "$root/$cgroup" --for 120 load --rate 64KiB --connect "127.0.0.1:$PORT" \
        >"$work/load.log" 2>&1 &
    children+=($!)
}

start_prometheus() {
    cat >"$work/prometheus.yml" <<END
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [$PWD/$RULES]
scrape_configs:
  - job_name: agents
    static_configs: [{targets: ["$AGENT"]}]
END
    prometheus --config.file "$work/prometheus.yml" --storage.tsdb.path "$work/data" --web.listen-address "$PROMETHEUS" \
        >"$work/prometheus.log" 2>&1 &
    children+=($!)
    wait_for "Prometheus" query up
}

main() {
    local expression count=0
    [[ $(id -u) == 0 ]] || die "BPF programs need root"
    scripts/setup.sh monitoring
    cargo build --release --locked --workspace
    promtool check rules "$RULES"
    promtool test rules e2e/monitoring/rules-test.yaml
    work=$(mktemp -d)
    trap clean_up EXIT
    start_agent
    start_prometheus
    wait_for "an agent that traces" has_value traffictrace_agent_sessions
    wait_for "flows" has_value traffictrace_agent_flows
    wait_for "drains" has_value 'traffictrace_agent_drain_duration_seconds_count'
    while read -r expression; do
        query "$expression" >/dev/null || die "Prometheus does not take the dashboard's query: $expression"
        count=$((count + 1))
    done < <(grep -o '"expr": "[^"]*"' "$DASHBOARD" | sed 's/^"expr": "//; s/"$//')
    ((count >= 12)) || die "only $count queries were found in $DASHBOARD"
    echo "test-monitoring: the alerts are as meant, and Prometheus takes all $count queries of the dashboard"
}

main "$@"
