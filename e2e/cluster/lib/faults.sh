# shellcheck shell=bash
# What the suite breaks, and how it is made whole again.

fault_status() {
    local name node
    for name in etcd apiserver controller-manager scheduler forward; do
        print_running "$name" "$CONTROL/$name"
    done
    for node in "${NODES[@]}"; do
        for name in containerd kubelet kube-proxy; do
            print_running "$node $name" "$(node_group "$node")/system/$name"
        done
    done
}

print_running() {
    if group_running "$2"; then echo "$1: running"; else echo "$1: stopped"; fi
}

fault_api_stop() {
    kill_group "$CONTROL/apiserver"
}

fault_api_start() {
    start_apiserver
}

fault_link_cut() {
    cut_link "$1"
}

fault_link_join() {
    join_link "$1"
}

fault_node_kill() {
    kill_node "$1"
}

fault_node_start() {
    start_node "$1"
    wait_for 90 "readiness of $1" node_ready "$1"
}

fault_agent_pid() {
    local pid
    for pid in $(group_pids "$(node_group "$1")"); do
        if [[ $(readlink "/proc/$pid/exe") == */traffictrace ]] && is_agent "$pid"; then
            echo "$pid"
            return
        fi
    done
    die "no agent runs on $1"
}

is_agent() {
    local arguments
    mapfile -d '' -t arguments <"/proc/$1/cmdline"
    [[ ${arguments[1]:-} == agent ]]
}

fault_agent_kill() {
    kill -9 "$(fault_agent_pid "$1")"
}
