#!/usr/bin/env bash
# The test cluster: a real Kubernetes of two nodes on one machine, without a container engine.
# Without arguments, the script prints its commands.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPOSITORY=$(cd "$here/../.." && pwd)
# shellcheck source=e2e/cluster/lib/common.sh
source "$here/lib/common.sh"
# shellcheck source=e2e/cluster/lib/packages.sh
source "$here/lib/packages.sh"
# shellcheck source=e2e/cluster/lib/groups.sh
source "$here/lib/groups.sh"
# shellcheck source=e2e/cluster/lib/net.sh
source "$here/lib/net.sh"
# shellcheck source=e2e/cluster/lib/pki.sh
source "$here/lib/pki.sh"
# shellcheck source=e2e/cluster/lib/images.sh
source "$here/lib/images.sh"
# shellcheck source=e2e/cluster/lib/control.sh
source "$here/lib/control.sh"
# shellcheck source=e2e/cluster/lib/node.sh
source "$here/lib/node.sh"
# shellcheck source=e2e/cluster/lib/faults.sh
source "$here/lib/faults.sh"

usage() {
    cat <<'END'
usage: e2e/cluster/cluster.sh COMMAND

  up                 bring the cluster up; start what is missing of it when it is there already.
                     With TRAFFICTRACE_KUBERNETES=1.30: etcd and an API server of that version alone
  down               end it and leave nothing behind
  env                print the `export` line for a shell
  images             pack traffictrace:dev, and the workloads, and import them on every node
  pack DIR           only pack them, as archives in DIR, for another cluster; prints the archives
  status             print what runs

faults, for the suite:
  api-stop           kill the API server; etcd and the rest stay
  api-start          start it again and wait until it is ready
  link-cut NODE      cut a node off from the control plane and the other node
  link-join NODE     and join it again
  node-kill NODE     end every process of a node at once: kubelet, containerd, agent, pods
  node-start NODE    start it again and wait until it is Ready
  agent-pid NODE     print the process id, as the machine counts, of the agent on a node
  agent-kill NODE    kill -9 it
  controller-pid     print the process id of the controller
  controller-kill    kill -9 it
  audit-log          print the file in which the API server notes what agents and controller ask
  proxy-start        start a server in front of the API server that does what a file lists; prints its address,
                     port and that file
  proxy-stop         end it
END
}

kubectl() {
    "$BIN/kubectl" --kubeconfig "$STATE/kubeconfig" "$@"
}

lock() {
    mkdir -p "$(dirname "$STATE")"
    exec 9>"$STATE.lock"
    flock --nonblock 9 && return
    say "waiting for another run of this script"
    flock 9
}

print_env() {
    [[ -e $STATE/ready ]] || die "the cluster is not up: run \`make cluster-up\`"
    printf "export KUBECONFIG=%q PATH=%q:\"\$PATH\"\n" "$STATE/kubeconfig" "$(cat "$STATE/ready")"
}

node_ready() {
    [[ $(kubectl get node "$1" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}') == True ]]
}

all_running() {
    local name node
    for name in "${CONTROL_PARTS[@]}"; do
        group_running "$CONTROL/$name" || return 1
    done
    for node in "${NODES[@]}"; do
        group_running "$(node_group "$node")/system/kubelet" || return 1
        node_ready "$node" || return 1
    done
}

up() {
    need_root "make cluster-up"
    ensure_packages
    lock
    if [[ -e $STATE/ready ]] && netns_exists "$CONTROL"; then
        # A running cluster keeps its programs, even if those of this clone are newer.
        BIN=$(cat "$STATE/ready")
    else
        BIN=$("$here/build.sh")
        [[ -z $API_ONLY ]] || "$here/build.sh" "kubernetes-$API_ONLY" >/dev/null
        # Removes what an interrupted start, or a machine that was switched off, has left.
        remove_all
    fi
    all_running 2>/dev/null || start_all
    print_env
}

start_all() {
    local begin=$SECONDS node
    if [[ -z $API_ONLY ]]; then
        say "starting the control plane and ${#NODES[@]} nodes; state and logs are in $STATE"
    else
        say "starting an API server of Kubernetes $API_ONLY without nodes; state and logs are in $STATE"
    fi
    check_groups
    mkdir -p "$STATE/log"
    make_pki
    make_control_net
    for node in "${NODES[@]}"; do
        make_node_net "$node"
    done
    start_control
    say "control plane ready after $(elapsed "$begin")"
    [[ -n $API_ONLY ]] || start_nodes "$begin"
    echo "$BIN" >"$STATE/ready"
    say "up after $(elapsed "$begin")"
}

start_nodes() {
    local begin=$1 node
    [[ -e $STATE/images/traffictrace-pause.tar ]] ||
        pack_image traffictrace-pause:dev "$STATE/images/traffictrace-pause.tar" "$BIN/tools" /pause
    for node in "${NODES[@]}"; do
        start_node "$node"
    done
    for node in "${NODES[@]}"; do
        wait_for 90 "readiness of $node" node_ready "$node"
    done
    say "nodes ready after $(elapsed "$begin")"
    # Without this account the API server refuses pods.
    wait_for 60 "the default ServiceAccount" kubectl get serviceaccount default
}

remove_all() {
    local node
    for node in "${NODES[@]}"; do
        kill_group "$(node_group "$node")"
    done
    kill_group "$CONTROL"
    for node in "${NODES[@]}"; do
        remove_group "$(node_group "$node")"
    done
    remove_group "$CONTROL"
    remove_nets
    remove_built_in_dirs
    rm -rf "$STATE"
}

down() {
    local begin=$SECONDS
    need_root "make cluster-down"
    lock
    remove_all
    rm -f "$STATE.lock"
    say "down after $(elapsed "$begin")"
}

images() {
    local archives archive node
    need_cluster
    archives=$(pack_ours "$STATE/images")
    for archive in $archives; do
        for node in "${NODES[@]}"; do
            import_image "$node" "$archive"
        done
        say "imported $(basename "$archive" .tar):dev on ${NODES[*]}"
    done
}

need_cluster() {
    need_root "this"
    [[ -e $STATE/ready ]] || die "the cluster is not up: run \`make cluster-up\`"
    BIN=$(cat "$STATE/ready")
}

main() {
    local command=${1:-}
    shift || true
    case $command in
    up | down) "$command" ;;
    env) print_env ;;
    images) images ;;
    pack) pack_ours "${1:?a folder for the archives}" ;;
    status | api-stop | api-start | controller-pid | controller-kill | audit-log | proxy-start | proxy-stop) need_cluster && "fault_${command//-/_}" ;;
    link-cut | link-join | node-kill | node-start | agent-pid | agent-kill)
        need_node "${1:-}"
        need_cluster
        "fault_${command//-/_}" "$1"
        ;;
    "" | help | --help | -h) usage ;;
    *)
        usage >&2
        die "no command '$command'"
        ;;
    esac
}

main "$@"
