# shellcheck shell=bash
# The faults that the suite causes, and their ends: cluster.sh has a command for each function fault_*.

readonly PROXY_PORT=6444

fault_status() {
    local name node
    for name in "${CONTROL_PARTS[@]}"; do
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

# pid_of SUBCOMMAND GROUP...: prints the id of the product's process that runs the subcommand, in or below the cgroups.
pid_of() {
    local wanted=$1 group pid arguments
    shift
    for group in "$@"; do
        for pid in $(group_pids "$group"); do
            [[ $(readlink "/proc/$pid/exe") == */traffictrace ]] || continue
            mapfile -d '' -t arguments <"/proc/$pid/cmdline"
            if [[ ${arguments[1]:-} == "$wanted" ]]; then
                echo "$pid"
                return
            fi
        done
    done
    die "no $wanted runs in ${*}"
}

fault_agent_pid() {
    pid_of agent "$(node_group "$1")"
}

fault_agent_kill() {
    kill -9 "$(fault_agent_pid "$1")"
}

fault_controller_pid() {
    local node groups=()
    for node in "${NODES[@]}"; do
        groups+=("$(node_group "$node")")
    done
    pid_of controller "${groups[@]}"
}

fault_controller_kill() {
    kill -9 "$(fault_controller_pid)"
}

fault_audit_log() {
    echo "$STATE/log/audit.log"
}

# Starts a server in front of the API server, for clients that are directed to it. Prints the server's address and port,
# and the file that lists its faults; as long as that file does not exist, it causes none.
fault_proxy_start() {
    local faults=$STATE/control/faults.json
    rm -f "$faults"
    start "$CONTROL/proxy" "$STATE/log/proxy.log" "$CONTROL" "" "$BIN/tools" \
        proxy "$CONTROL_IP:$PROXY_PORT" "$CONTROL_IP:6443" "$PKI/apiserver.crt" "$PKI/apiserver.key" "$PKI/ca.crt" "$faults"
    wait_for 10 "the proxy's first answer" proxy_answers
    echo "$CONTROL_IP $PROXY_PORT $faults"
}

proxy_answers() {
    nsenter "--net=/run/netns/$CONTROL" bash -c "exec 3<>/dev/tcp/$CONTROL_IP/$PROXY_PORT"
}

fault_proxy_stop() {
    kill_group "$CONTROL/proxy"
}
