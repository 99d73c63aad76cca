# shellcheck shell=bash
# One node: a mount namespace, containerd, kubelet and kube-proxy of its own, all below the node's cgroup.

# Folders whose paths are fixed in the programs. In each node's mount namespace, a folder of the node is mounted over
# each; otherwise two kubelets would share one device plugin socket.
readonly BUILT_IN_DIRS=(/run/containerd /var/lib/cni /var/lib/kubelet /var/log/containers /var/log/pods /usr/libexec/kubernetes)

# Kernel settings that kubelet requires, and writes if it finds other values. Files with these values are mounted over
# the real ones, so that the machine's own settings stay as they are.
readonly KUBELET_SYSCTLS=(
    vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000
)

holder_pid() {
    head -n 1 "$CGROUP2/$(node_group "$1")/system/holder/cgroup.procs" 2>/dev/null
}

in_node() {
    local node=$1
    shift
    nsenter "--net=/run/netns/$(node_group "$node")" "--mount=/proc/$(holder_pid "$node")/ns/mnt" -- "$@"
}

# Creates the mount points that the machine lacks, and notes them for their removal in the end.
make_built_in_dirs() {
    local dir parent
    for dir in "${BUILT_IN_DIRS[@]}"; do
        parent=$(dirname "$dir")
        if mkdir "$parent" 2>/dev/null; then echo "$parent" >>"$MADE-dirs"; fi
        if mkdir "$dir" 2>/dev/null; then echo "$dir" >>"$MADE-dirs"; fi
    done
}

remove_built_in_dirs() {
    [[ -e $MADE-dirs ]] || return 0
    {
        flock 8
        remove_unused_dirs
    } 8>"$MADE.lock"
}

remove_unused_dirs() {
    # Removing a folder unmounts what is mounted on it in any other mount namespace, such as another cluster's.
    ! built_in_dirs_in_use || return 0
    # The folder that was created last is removed first. A folder that somebody else has put something into stays.
    tac "$MADE-dirs" | xargs -r rmdir --ignore-fail-on-non-empty
    rm "$MADE-dirs" "$MADE.lock"
}

built_in_dirs_in_use() {
    local pattern
    pattern=$(IFS='|' && echo "${BUILT_IN_DIRS[*]}")
    # grep reads the files itself: in a pipe, it would stop at the first match, the writer would fail, and so would the
    # pipeline (pipefail). The option -s hides errors about processes that end meanwhile.
    grep -qsE "^[0-9]+ [0-9]+ [^ ]+ [^ ]+ ($pattern) " /proc/[0-9]*/mountinfo
}

# Starts a process that does nothing but hold the mount namespace of a node open, and mounts there what the node needs.
start_holder() {
    local node=$1 group=$2 dir=$STATE/$1 pair file target
    group_running "$group/system/holder" && return
    spawn "$group/system/holder" "$STATE/log/$node-holder.log" unshare --mount --propagation private -- sleep infinity
    wait_for 5 "the mount namespace of $node" private_mounts "$node"
    # Unmounts the named network namespaces of others: in this copy of the machine's mounts they would stay alive.
    while read -r target; do
        in_node "$node" umount "$target"
    done < <(in_node "$node" awk '$2 ~ "^/run/netns/" { print $2 }' /proc/self/mounts)
    in_node "$node" mount --make-rshared /
    for target in "${BUILT_IN_DIRS[@]}"; do
        mkdir -p "$dir/over$target"
        in_node "$node" mount --bind "$dir/over$target" "$target"
    done
    for pair in "${KUBELET_SYSCTLS[@]}"; do
        file=$dir/sysctl/${pair%=*}
        mkdir -p "$(dirname "$file")"
        echo "${pair#*=}" >"$file"
        in_node "$node" mount --bind "$file" "/proc/sys/${pair%=*}"
    done
}

private_mounts() {
    local pid
    pid=$(holder_pid "$1")
    [[ $(readlink "/proc/$pid/ns/mnt") != "$(readlink /proc/self/ns/mnt)" ]]
}

render() {
    local node=$1 name
    mkdir -p "$STATE/$node/config/cni" "$STATE/$node/config/registry/_default" "$STATE/$node/manifests"
    for name in containerd.toml kubelet.yaml proxy.yaml cni/10-pods.conflist registry/_default/hosts.toml; do
        sed -e "s|@NODE@|$node|g; s|@GROUP@|$(node_group "$node")|g; s|@DIR@|$STATE/$node|g; s|@PKI@|$PKI|g" \
            -e "s|@NODE_IP@|$(node_ip "$node")|g; s|@DNS_IP@|$DNS_IP|g; s|@POD_RANGES@|$POD_RANGES|g" \
            -e "s|@POD_RANGE@|$(pod_range "$node")|g; s|@POD_RANGE6@|$(pod_range6 "$node")|g" \
            -e "s|@KUBECONFIGS@|$STATE/control|g" \
            "$CLUSTER_DIR/config/$(basename "$name")" >"$STATE/$node/config/$name"
    done
    echo "nameserver $DNS_IP" >"$STATE/$node/config/resolv.conf"
}

containerd_ready() {
    in_node "$1" ctr version
}

start_containerd() {
    local node=$1 group=$2
    start "$group/system/containerd" "$STATE/log/$node-containerd.log" "$group" "$(holder_pid "$node")" \
        containerd --config "$STATE/$node/config/containerd.toml"
    wait_for 30 "containerd's first answer on $node" containerd_ready "$node"
}

start_kubelet() {
    local node=$1 group=$2 holder
    holder=$(holder_pid "$node")
    start "$group/system/kubelet" "$STATE/log/$node-kubelet.log" "$group" "$holder" "$BIN/kubelet" \
        --config "$STATE/$node/config/kubelet.yaml" --kubeconfig "$STATE/control/$node.kubeconfig" \
        --hostname-override "$node" --node-ip "$(node_ip "$node"),$(node_ip6 "$node")" \
        --root-dir "$STATE/$node/kubelet" --cert-dir "$STATE/$node/kubelet-pki"
    start "$group/system/kube-proxy" "$STATE/log/$node-kube-proxy.log" "$group" "$holder" "$BIN/kube-proxy" \
        --config "$STATE/$node/config/proxy.yaml"
}

start_node() {
    local node=$1 group
    group=$(node_group "$node")
    make_node_group "$group"
    render "$node"
    {
        # The lock is held until the new folders are mounted on: before that, a cluster that ends would take them for
        # unused.
        flock 8
        make_built_in_dirs
        start_holder "$node" "$group"
    } 8>"$MADE.lock"
    start_containerd "$node" "$group"
    import_image "$node" "$STATE/images/traffictrace-pause.tar"
    start_kubelet "$node" "$group"
}

# Ends every process of a node at once, including its pods, and removes what a power cut would not leave either:
# cgroups, mounts and everything under /run. Disks (images, kubelet's files) stay.
kill_node() {
    local node=$1 group
    group=$(node_group "$node")
    kill_group "$group"
    remove_group "$group"
    rm -rf "$STATE/$node/over/run"
}
