# shellcheck shell=bash
# The network of the cluster: a namespace for the control plane with a bridge, and one for each node with a veth to the
# bridge. The machine's own namespace gets no interface, address, route or listener.

netns_exists() {
    [[ -e /run/netns/$1 ]]
}


make_control_net() {
    netns_exists "$CONTROL" && return
    # The first `ip netns add` on a machine mounts this folder on itself; remove_nets undoes it.
    mountpoint -q /run/netns || touch "$MADE-netns"
    ip netns add "$CONTROL"
    ip -n "$CONTROL" link set lo up
    ip -n "$CONTROL" link add br0 type bridge
    ip -n "$CONTROL" address add "$CONTROL_IP/24" dev br0
    ip -n "$CONTROL" address add "$CONTROL_IP6/64" dev br0 nodad
    ip -n "$CONTROL" link set br0 up
}

make_node_net() {
    local node=$1 ns other
    ns=$(node_group "$node")
    if netns_exists "$ns"; then
        join_link "$node"
        return
    fi
    ip netns add "$ns"
    ip -n "$ns" link set lo up
    ip -n "$CONTROL" link add "$node" type veth peer name eth0 netns "$ns"
    ip -n "$CONTROL" link set "$node" master br0 up
    ip -n "$ns" address add "$(node_ip "$node")/24" dev eth0
    ip -n "$ns" address add "$(node_ip6 "$node")/64" dev eth0 nodad
    ip -n "$ns" link set eth0 up
    # kubelet looks for its own address on the interface of the default route, so each node needs such a route.
    ip -n "$ns" route add default via "$CONTROL_IP"
    ip -n "$ns" -6 route add default via "$CONTROL_IP6"
    nsenter "--net=/run/netns/$ns" sh -c '
        echo 1 >/proc/sys/net/ipv4/ip_forward
        echo 1 >/proc/sys/net/ipv6/conf/all/forwarding'
    # Pods connect to the API server by its Service, so the control plane needs routes back to the pods.
    ip -n "$CONTROL" route add "$(pod_range "$node")" via "$(node_ip "$node")"
    ip -n "$CONTROL" -6 route add "$(pod_range6 "$node")" via "$(node_ip6 "$node")"
    for other in "${NODES[@]}"; do
        [[ $other == "$node" ]] && continue
        ip -n "$ns" route add "$(pod_range "$other")" via "$(node_ip "$other")"
        ip -n "$ns" -6 route add "$(pod_range6 "$other")" via "$(node_ip6 "$other")"
    done
}

remove_nets() {
    local ns
    for ns in "$CONTROL" "${NODES[@]/#/$CLUSTER_NAME-}"; do
        netns_exists "$ns" && ip netns del "$ns"
    done
    if [[ -e $MADE-netns && -z $(ls /run/netns) ]]; then
        umount /run/netns
        rmdir /run/netns
        rm "$MADE-netns"
    fi
}

cut_link() {
    ip -n "$CONTROL" link set "$1" down
}

join_link() {
    ip -n "$CONTROL" link set "$1" up
}
