#!/usr/bin/env bash
# Makes the pictures of the documentation from the real thing: the live screen and the report on the cluster that KUBECONFIG
# names, with the shop of ten pods in a namespace of its own, and the flame graph on this machine (root). The workloads and
# the namespace are removed at the end.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly NAMESPACE=shop
readonly PROGRAMS=$PWD/target/release
readonly TMUX_SOCKET=traffictrace-pictures
# Columns and rows of the live screen, and the pixels of one character.
readonly COLUMNS=118 ROWS=22 WIDTH=9 HEIGHT=18

say() {
    echo "pictures: $*" >&2
}

clean_up() {
    local pid
    tmux -L "$TMUX_SOCKET" kill-server 2>/dev/null || true
    kubectl delete namespace "$NAMESPACE" --ignore-not-found --wait=false >&2
    for pid in "${pids[@]}"; do
        kill -TERM "$pid" 2>/dev/null || true
    done
    for pid in "${pids[@]}"; do
        wait "$pid" 2>/dev/null || true
    done
    [[ -z $cgroup ]] || rmdir "$cgroup"
    rm -rf "$folder"
}

# await WHAT COMMAND...: waits until the command succeeds, or fails after a minute.
await() {
    local what=$1 deadline=$((SECONDS + 60))
    shift
    until "$@"; do
        ((SECONDS < deadline)) || {
            echo "pictures: error: $what: not within a minute" >&2
            exit 1
        }
        sleep 0.2
    done
}

# photograph PAGE PICTURE WIDTH HEIGHT: saves a picture of the page, by headless Chromium.
photograph() {
    local browser
    # The same program names as in e2e/src/support/browser.rs.
    browser=$(command -v chromium chromium-browser google-chrome google-chrome-stable chrome-headless-shell | head -n 1)
    "$browser" --headless --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$folder/chromium" \
        --window-size="$3,$4" --screenshot="$PWD/$2" "file://$1" >/dev/null 2>"$folder/chromium.log"
    say "$2"
}

screen() {
    tmux -L "$TMUX_SOCKET" capture-pane -p "$@"
}

# Succeeds once the screen has rates of a whole interval, and a history of a few intervals.
screen_is_full() {
    screen | LC_ALL=C.UTF-8 grep -Eq '[▁▂▃▄▅▆▇█]{20}' && screen | grep -q '2/2 nodes'
}

live_screen() {
    tmux -L "$TMUX_SOCKET" -f /dev/null new-session -d -x "$COLUMNS" -y "$ROWS" \
        "env TERM=screen-256color COLORTERM=truecolor LANG=C.UTF-8 PATH='$PROGRAMS:$PATH' \
         kubectl traffictrace run --namespace $NAMESPACE --interval 5s"
    await "a full live screen" screen_is_full
    {
        printf '<!doctype html><meta charset=utf-8><style>body{margin:0;background:#16181d;color:#d8dee9}'
        printf 'pre{margin:12px;font:15px/%spx "DejaVu Sans Mono"}</style><pre>' "$HEIGHT"
        screen -e | aha --no-header --black
        printf '</pre>'
    } >"$folder/live.html"
    tmux -L "$TMUX_SOCKET" send-keys q
    photograph "$folder/live.html" docs/live.png $((COLUMNS * WIDTH + 30)) $((ROWS * HEIGHT + 24))
}

report() {
    "$PROGRAMS/kubectl-traffictrace" run web --namespace "$NAMESPACE" --http --duration 30s --interval 5s --keep --no-tui \
        >"$folder/run.log"
    "$PROGRAMS/kubectl-traffictrace" report web --namespace "$NAMESPACE" --output "$folder/report.html"
    photograph "$folder/report.html" docs/report.png 1280 1500
}

# start PROGRAM ARGUMENT...: starts a program in the cgroup that the flame graph traces.
start() {
    (
        echo "$BASHPID" >"$cgroup/cgroup.procs"
        # Node writes files into its working folder.
        cd "$folder"
        exec "$@" </dev/null >>"$folder/programs.log" 2>&1
    ) &
    pids+=($!)
}

answers() {
    curl --silent --output /dev/null "http://127.0.0.1:$1/page"
}

flame_graph() {
    local port height
    cgroup=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts)/traffictrace-pictures
    mkdir "$cgroup"
    head -c 400000 /dev/zero >"$folder/page"
    cat >"$folder/nginx.conf" <<CONF
daemon off; user root; pid nginx.pid; error_log errors; events {}
http { access_log off; client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d; scgi_temp_path e;
server { listen 127.0.0.1:18081; root $folder; } }
CONF
    start nginx -p "$folder" -e errors -c nginx.conf
    start /usr/bin/python3 -u -m http.server --bind 127.0.0.1 --directory "$folder" 18082
    start node --perf-basic-prof -e "
        const page = require('fs').readFileSync('$folder/page');
        require('http').createServer((asked, answer) => answer.end(page)).listen(18083, '127.0.0.1')"
    for port in 18081 18082 18083; do
        await "the server at port $port" answers "$port"
        curl --silent --output /dev/null --rate 40/s "http://127.0.0.1:$port/page?[1-2000]" &
        pids+=($!)
    done
    "$PROGRAMS/traffictrace" flamegraph --cgroup /traffictrace-pictures --duration 8s --output "$folder/flamegraph.svg" >&2
    height=$(grep -Eo 'height="[0-9]+"' "$folder/flamegraph.svg" | grep -Eom 1 '[0-9]+' | head -n 1)
    photograph "$folder/flamegraph.svg" docs/flamegraph.png 1210 "$height"
}

main() {
    scripts/setup.sh pictures
    pids=() cgroup=''
    folder=$(mktemp -d)
    trap clean_up EXIT
    trap 'exit 130' INT TERM
    kubectl create namespace "$NAMESPACE" >&2
    kubectl apply --namespace "$NAMESPACE" -f e2e/cluster/demo.yaml >&2
    kubectl wait --namespace "$NAMESPACE" --for=condition=Ready pod --all --timeout 90s >&2
    live_screen
    report
    flame_graph
}

main "$@"
