#!/usr/bin/env bash
# Shows the main job on this machine, without Kubernetes: a shop, a backup that floods it, and a few customers, each in
# its own cgroup, and the screen that shows who eats the network. Installs what the build needs, and cleans up.
#
# On a terminal the live screen stays until q is pressed; elsewhere two plain tables are printed.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# The build that `make test` uses, without optimization: it takes a third of the time of a release build.
readonly TRAFFICTRACE=target/debug/traffictrace

note() {
    printf '\n\033[1m%s\033[0m\n' "$*" >&2
}

fail() {
    echo "demo: error: $*" >&2
    exit 1
}

# Prints the mount point of the cgroup2 tree: /sys/fs/cgroup, or /sys/fs/cgroup/unified on a hybrid host.
cgroup2_mount() {
    awk '$3 == "cgroup2" { print $2; found = 1; exit } END { exit !found }' /proc/self/mounts ||
        fail "no cgroup2 filesystem is mounted; traffictrace needs one to tell containers apart"
}

# Ends only the processes that this script started, by process id, and then removes the cgroups, from the leaves up.
clean_up() {
    local pid
    for pid in "${pids[@]}"; do
        kill -TERM "$pid" 2>/dev/null || true
    done
    for pid in "${pids[@]}"; do
        wait "$pid" 2>/dev/null || true
    done
    [[ -z $cgroup ]] || rmdir "$cgroup"/*/ "$cgroup"
    rm -rf "$folder"
}

# run CGROUP NAME PROGRAM ARGUMENT...: starts a program under the given name, in a cgroup below the demo's.
run() {
    local group=$1 name=$2 program=$3
    shift 3
    # The kernel names a process after the file that it executes, so a link gives the program its name.
    ln -sf "$program" "$folder/$name"
    # The subshell joins the cgroup first and then becomes the program, whose traffic is thus in the cgroup from the
    # first byte.
    (
        echo "$BASHPID" >"$cgroup/$group/cgroup.procs"
        exec "$folder/$name" "$@" </dev/null >"$folder/$name.log" 2>&1
    ) &
    pids+=($!)
}

# await WHAT COMMAND...: waits until the command succeeds, or fails after half a minute.
await() {
    local what=$1 deadline=$((SECONDS + 30))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || fail "$what: not within 30 s; logs are in $folder"
        sleep 0.1
    done
}

port_of_shop() {
    port=$(grep -Eso 'port [0-9]+' "$folder/shop-server.log" | grep -Eo '[0-9]+')
}

start_workloads() {
    local python url
    # The real program, not the wrapper script of a version manager, whose name the process would have.
    python=$(python3 -c 'import os, sys; print(os.path.realpath(sys.executable))')
    # A sparse file of 16 GiB, which takes no room on the disk, and a page.
    mkdir "$folder/files"
    truncate --size 16G "$folder/files/dump.sql"
    head -c 20000 /dev/zero >"$folder/files/index.html"
    run shop shop-server "$python" -u -m http.server --bind 127.0.0.1 --directory "$folder/files" 0
    await "the shop's port" port_of_shop
    url=http://127.0.0.1:$port
    run backup nightly-backup "$python" -c "
import time, urllib.request
with urllib.request.urlopen('$url/dump.sql') as dump:
    while dump.read(1 << 19):
        time.sleep(0.1)"
    run customers customer "$python" -c "
import time, urllib.request
for visit in range(9000):
    urllib.request.urlopen('$url/index.html?visit=%d' % visit).read()
    time.sleep(0.2)"
}

build() {
    scripts/setup.sh build
    note "building; this takes some minutes the first time"
    cargo build --locked -p traffictrace
}

main() {
    if [[ $(id -u) != 0 ]]; then
        echo "demo: tracing needs root; asking for it with sudo" >&2
        # The toolchain belongs to this user, so the build does not run under sudo.
        build
        exec sudo --preserve-env=PATH,TERM,COLORTERM,LANG,LC_ALL,NO_COLOR scripts/demo.sh --built
    fi
    [[ ${1:-} == --built ]] || build
    pids=() cgroup='' port=''
    folder=$(mktemp -d)
    trap clean_up EXIT
    trap 'exit 130' INT TERM
    cgroup=$(cgroup2_mount)/traffictrace-demo
    mkdir -p "$cgroup"/{shop,backup,customers}
    start_workloads
    if [[ -t 0 && -t 1 ]]; then
        note "traffictrace top --cgroup /traffictrace-demo"
        $TRAFFICTRACE top --cgroup /traffictrace-demo
    else
        note "traffictrace top --cgroup /traffictrace-demo --count 2"
        $TRAFFICTRACE top --cgroup /traffictrace-demo --count 2
    fi
    note "traffictrace http --cgroup /traffictrace-demo/customers --duration 2s"
    $TRAFFICTRACE http --cgroup /traffictrace-demo/customers --duration 2s || true
    cat >&2 <<END

Where to go from here:
  sudo $TRAFFICTRACE top --pid PID
      the container of a process of yours, live
  sudo $TRAFFICTRACE check
      what this machine's kernel can show
  make build
      the fast binary, target/release/traffictrace
  make demo-cluster
      the same on a Kubernetes of two nodes on this machine
  docs/one-host.md, docs/install.md
      everything on one host; your own cluster
END
}

main "$@"
