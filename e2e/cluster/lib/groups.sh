# shellcheck shell=bash
# Control groups: every process of the cluster is in or below a cgroup of ours. One write to cgroup.kill thus ends a
# whole node as a power cut would, and no process can be forgotten or mistaken for somebody else's.

# Prints the mount point of the cgroup2 tree: /sys/fs/cgroup, or a folder in it on a "hybrid" host.
cgroup2_root() {
    awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts
}

# Prints the mount points of version 1 hierarchies, one a line; nothing on a pure version 2 host.
cgroup1_roots() {
    awk '$3 == "cgroup" { print $2 }' /proc/self/mounts
}

CGROUP2=$(cgroup2_root)

check_groups() {
    [[ -n $CGROUP2 ]] || die "no cgroup2 mount in /proc/self/mounts: the nodes' processes are held by it"
    mkdir -p "$CGROUP2/$CONTROL"
    [[ -e $CGROUP2/$CONTROL/cgroup.kill ]] || die "this kernel has no cgroup.kill (Linux 5.14): the cluster cannot be ended cleanly"
}

# Creates a node's cgroup, the root of its pods, which must exist in every hierarchy before its kubelet starts.
make_node_group() {
    local group=$1 root
    mkdir -p "$CGROUP2/$group/system"
    if [[ -s $CGROUP2/cgroup.controllers ]]; then
        sed 's/\</+/g' "$CGROUP2/cgroup.controllers" >"$CGROUP2/cgroup.subtree_control"
        sed 's/\</+/g' "$CGROUP2/$group/cgroup.controllers" >"$CGROUP2/$group/cgroup.subtree_control"
    fi
    while read -r root; do
        mkdir -p "$root/$group"
        # A new cpuset is empty, and no process may enter an empty cpuset.
        if [[ -e $root/cpuset.cpus ]]; then
            cat "$root/cpuset.cpus" >"$root/$group/cpuset.cpus"
            cat "$root/cpuset.mems" >"$root/$group/cpuset.mems"
        fi
    done < <(cgroup1_roots)
}

group_running() {
    grep -qs '^populated 1' "$CGROUP2/$1/cgroup.events"
}

group_empty() {
    ! group_running "$1"
}

# Prints the ids of all processes in a cgroup and below it, one a line.
group_pids() {
    find "$CGROUP2/$1" -name cgroup.procs -exec cat {} + 2>/dev/null || true
}

kill_group() {
    [[ -d $CGROUP2/$1 ]] || return 0
    echo 1 >"$CGROUP2/$1/cgroup.kill"
    wait_for 20 "the end of the processes in $CGROUP2/$1" group_empty "$1"
}

# Removes a cgroup and all below it, in every hierarchy; its processes must be gone.
remove_group() {
    local root
    for root in "$CGROUP2" $(cgroup1_roots); do
        # The kernel allows the removal only some time after the last process has ended.
        wait_for 10 "the removal of $root/$1" remove_tree "$root/$1"
    done
}

remove_tree() {
    [[ ! -d $1 ]] || find "$1" -depth -type d -exec rmdir {} +
}

# spawn GROUP LOG COMMAND...: starts a daemon in a cgroup of its own, unless the cgroup already has a process.
spawn() {
    local group=$1 log=$2
    shift 2
    group_running "$group" && return
    mkdir -p "$CGROUP2/$group" "$(dirname "$log")"
    (
        cd /
        echo "$BASHPID" >"$CGROUP2/$group/cgroup.procs"
        # Descriptors 8 and 9, which are closed below, are the callers' locks: a daemon would hold them for ever.
        exec setsid "$@"
    ) </dev/null >>"$log" 2>&1 8>&- 9>&- &
    wait_for 5 "the start of $1" group_running "$group"
}

# start GROUP LOG NETNS HOLDER COMMAND...: starts a daemon as spawn does, but inside the network namespace NETNS and,
# unless HOLDER is "", inside the mount namespace of the process HOLDER.
start() {
    local group=$1 log=$2 netns=$3 holder=$4
    shift 4
    # `ip netns exec` would mount a new /sys, in which there is no /sys/fs/cgroup.
    local enter=(nsenter "--net=/run/netns/$netns")
    [[ -z $holder ]] || enter+=("--mount=/proc/$holder/ns/mnt")
    spawn "$group" "$log" "${enter[@]}" -- "$@"
}
