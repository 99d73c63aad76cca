# shellcheck shell=bash
# What every script of the test cluster shares: names, addresses, what is said, how one waits.

CLUSTER_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Everything that a running cluster keeps: certificates, etcd's data, images, logs. On a disk,
# since containerd's layers cannot lie on every kind of memory file system.
STATE=${TRAFFICTRACE_STATE:-/var/lib/traffictrace-e2e}

# What the machine lacked and was given: folders to mount on, the mount of /run/netns. All clusters
# of a machine share it, and the last one that ends takes them away.
readonly MADE=/run/traffictrace-e2e-made

# One name space for all that the harness makes: network namespaces, cgroups. A second cluster on the
# same machine needs a name and a state folder of its own.
readonly CLUSTER_NAME=${TRAFFICTRACE_CLUSTER:-tt}
readonly CONTROL=$CLUSTER_NAME-cp

# Empty: the newest Kubernetes, with nodes. Else a folder kubernetes-VERSION: etcd and an API server of that version
# alone, for tests of what an API server decides.
readonly API_ONLY=${TRAFFICTRACE_KUBERNETES:-}
if [[ -z $API_ONLY ]]; then
    mapfile -t NODES < <(seq -f "node%g" 1 "${TRAFFICTRACE_NODES:-2}")
    readonly NODES
    readonly CONTROL_PARTS=(etcd apiserver controller-manager scheduler forward)
else
    readonly NODES=()
    readonly CONTROL_PARTS=(etcd apiserver forward)
fi

# Addresses exist only inside the harness' own network namespaces. Dual stack throughout.
readonly CONTROL_IP=10.91.0.1 CONTROL_IP6=fd00:91::1
readonly POD_RANGES=10.92.0.0/16,fd00:92::/48
readonly SERVICE_RANGES=10.93.0.0/16,fd00:93::/112
readonly API_SERVICE_IP=10.93.0.1 DNS_IP=10.93.0.10

node_index() { echo "${1#node}"; }
node_group() { echo "$CLUSTER_NAME-$1"; }
node_ip() { echo "10.91.0.1$(node_index "$1")"; }
node_ip6() { echo "fd00:91::1$(node_index "$1")"; }
pod_range() { echo "10.92.$(node_index "$1").0/24"; }
pod_range6() { echo "fd00:92:0:$(node_index "$1")::/64"; }

# Progress goes to stderr: stdout is for what a caller evaluates.
say() {
    echo "cluster: $*" >&2
}

die() {
    echo "cluster: error: $*" >&2
    exit 1
}

need_root() {
    [[ $(id -u) == 0 ]] || die "$1 needs root (namespaces, mounts, cgroups): run it with sudo"
}

need_node() {
    local node
    for node in "${NODES[@]}"; do
        [[ $node == "${1:-}" ]] && return
    done
    die "expected the name of a node, one of ${NODES[*]}, got '${1:-}'"
}

# elapsed START: how long ago the shell's SECONDS was START.
elapsed() {
    local s=$((SECONDS - $1))
    if ((s < 60)); then echo "${s} s"; else echo "$((s / 60)) min $((s % 60)) s"; fi
}

# wait_for SECONDS WHAT COMMAND...: runs the command until it succeeds; dies naming WHAT at the deadline.
wait_for() {
    local seconds=$1 what=$2 deadline=$((SECONDS + $1))
    shift 2
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < deadline)) || die "$what did not happen within $seconds s; logs are in $STATE/log"
        sleep 0.1
    done
}

# The Go programs of a usual test cluster, each in a folder of its own.
readonly PROGRAMS=(tools etcd helm kubernetes)

# bin_dir [kubernetes-VERSION]: the folder of the built programs, or of that API server alone. Its name is a hash of what
# decides their content.
bin_dir() {
    local cache hash name=bin sources=("${PROGRAMS[@]}")
    if [[ -n ${1:-} ]]; then
        name=$1
        sources=("$1")
    fi
    cache=${TRAFFICTRACE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/traffictrace}
    hash=$(cd "$CLUSTER_DIR" && find build.sh "${sources[@]}" -type f -print0 | sort -z | xargs -0 cat | sha256sum | cut -c1-12)
    echo "$cache/$name-$hash"
}
