# shellcheck shell=bash
# Shared parts of the test cluster's scripts: names, addresses, messages, waiting.

CLUSTER_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

# Folder of a running cluster's files: certificates, etcd's data, images, logs. It is on a disk, since containerd's
# layers cannot lie on every kind of memory file system.
STATE=${TRAFFICTRACE_STATE:-/var/lib/traffictrace-e2e}

# Beginning of the names of files that note what the scripts made on the machine: folders to mount on, the mount of
# /run/netns. All clusters of a machine share these files, and the last one that ends removes what they note.
readonly MADE=/run/traffictrace-e2e-made

# Beginning of the names of the cluster's network namespaces and cgroups. A second cluster on the same machine needs a
# name and a state folder of its own.
readonly CLUSTER_NAME=${TRAFFICTRACE_CLUSTER:-tt}
readonly CONTROL=$CLUSTER_NAME-cp

# Version of Kubernetes, such as 1.30, that the folder kubernetes-VERSION builds: then only etcd and that API server
# run, for tests of what an API server decides. Empty: the newest Kubernetes, with nodes.
readonly API_ONLY=${TRAFFICTRACE_KUBERNETES:-}
if [[ -z $API_ONLY ]]; then
    mapfile -t NODES < <(seq -f "node%g" 1 "${TRAFFICTRACE_NODES:-2}")
    readonly NODES
    readonly CONTROL_PARTS=(etcd apiserver controller-manager scheduler forward)
else
    readonly NODES=()
    readonly CONTROL_PARTS=(etcd apiserver forward)
fi

# These addresses exist only in the cluster's own network namespaces. All networks have IPv4 and IPv6.
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

# elapsed START: prints the time since the shell's SECONDS was START.
elapsed() {
    local s=$((SECONDS - $1))
    if ((s < 60)); then echo "${s} s"; else echo "$((s / 60)) min $((s % 60)) s"; fi
}

# wait_for SECONDS WHAT COMMAND...: runs the command until it succeeds; at the deadline, ends the script with an error
# that names WHAT.
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

# bin_dir [kubernetes-VERSION]: prints the folder of the built programs, or of that API server alone. The folder's name
# contains a hash of the files that decide what is built.
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
