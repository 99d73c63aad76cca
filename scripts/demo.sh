#!/usr/bin/env bash
# Shows the main job on this machine, without Kubernetes: two workloads in cgroups of their own, the agent in its
# standalone mode, one TrafficTrace, and who eats the network. Installs what the build needs, and cleans up.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly SAMPLE=manifests/samples/tracetrace.yaml

note() {
    printf '\n\033[1m%s\033[0m\n' "$*" >&2
}

fail() {
    echo "demo: error: $*" >&2
    exit 1
}

# The folder of the cgroup2 tree: /sys/fs/cgroup, or /sys/fs/cgroup/unified on a hybrid host.
cgroup2_mount() {
    awk '$3 == "cgroup2" { print $2; found = 1; exit } END { exit !found }' /proc/self/mounts ||
        fail "no cgroup2 filesystem is mounted; traffictrace needs one to tell containers apart"
}

# Only what this script started, by process id; then the cgroups, from the leaves up.
clean_up() {
    local pid
    note "cleaning up"
    for pid in "${pids[@]}"; do
        kill -TERM "$pid" 2>/dev/null || true
    done
    for pid in "${pids[@]}"; do
        wait "$pid" 2>/dev/null || true
    done
    [[ -z $cgroup ]] || rmdir "$cgroup"/*/ "$cgroup"
    rm -rf "$folder"
}

# run CGROUP PROGRAM...: starts a program in a cgroup below the demo's.
run() {
    local name=$1
    shift
    target/release/tt-workload --cgroup "$cgroup/$name" "$@" >"$folder/$name.count" 2>"$folder/$name.log" &
    pids+=($!)
}

# await WHAT COMMAND...: until the command succeeds, or half a minute has passed.
await() {
    local what=$1 deadline=$((SECONDS + 30))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || {
            cat "$folder/agent.log" >&2
            fail "$what: not within 30 s; what the agent said is above"
        }
        sleep 0.2
    done
}

status_names_both_pods() {
    [[ $(grep -Esc '^ *(- )?pod: (shop|backup)$' "$folder/whole-namespace.status.yaml") -ge 2 ]]
}

main() {
    if [[ $(id -u) != 0 ]]; then
        echo "demo: tracing needs root; asking for it with sudo" >&2
        # The toolchain is this user's: the build stays outside of sudo.
        build
        exec sudo --preserve-env=PATH "${BASH_SOURCE[0]}"
    fi
    build
    pids=() cgroup=''
    folder=$(mktemp -d)
    trap clean_up EXIT
    trap 'exit 130' INT TERM
    cgroup=$(cgroup2_mount)/traffictrace-demo
    mkdir -p "$cgroup"/{shop,backup}

    note "two workloads, each in a cgroup of its own: a shop with a server, and a backup that sends 4 MiB/s to it"
    run shop --comm shop-server server --listen 127.0.0.1:0 --for 120
    await "the server's address" grep -qs listening "$folder/shop.count"
    local address
    address=$(grep -Eo '127\.0\.0\.1:[0-9]+' "$folder/shop.count" | head -n 1)
    run backup --comm nightly-backup load --connect "$address" --rate 4MiB --for 120

    note "traffictrace agent --standalone: $SAMPLE, and a file that says which cgroups are pods"
    cp "$SAMPLE" "$folder/"
    cat >"$folder/pods.yaml" <<YAML
- {name: shop, namespace: default, labels: {app: shop}, cgroup: /traffictrace-demo/shop}
- {name: backup, namespace: default, labels: {app: backup}, cgroup: /traffictrace-demo/backup}
YAML
    cat "$folder/pods.yaml" >&2
    target/release/traffictrace agent --standalone "$folder" >"$folder/agent.log" 2>&1 &
    pids+=($!)
    await "a status with both pods" status_names_both_pods

    note "the trace's status"
    cat "$folder/whole-namespace.status.yaml"
    note "traffictrace top --cgroup /traffictrace-demo --count 2"
    target/release/traffictrace top --cgroup /traffictrace-demo --count 2
}

build() {
    scripts/setup.sh
    note "building (a few minutes the first time)"
    cargo build --release --locked -p traffictrace -p traffictrace-e2e --bins
}

main
