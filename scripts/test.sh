#!/usr/bin/env bash
# Runs the tests and ends with a line that counts them. A test that cannot run here prints SKIPPED and the reason; with
# CI=true that is a failure.
#
# usage: scripts/test.sh unit|kernel|matrix|e2e|kubernetes-1.30|all
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
export PATH=$PATH:/usr/sbin:/sbin
readonly LOGS=target/test-logs
passed=0 failed=0 skipped=0
failures=()
cluster_build=''
cluster_is_ours=''

say() {
    echo "==> $*"
}

# step NAME COMMAND...: runs the command to its end, whatever the result, and counts the tests that it reports, or the
# step itself.
step() {
    local name=$1 log begin=$SECONDS status=0
    log=$LOGS/${name// /-}.log
    shift
    say "$name"
    "$@" </dev/null 2>&1 | tee "$log" || status=$?
    count "$name" "$log" "$status"
    say "$name: $([[ $status == 0 ]] && echo ok || echo FAILED) after $((SECONDS - begin)) s"
}

count() {
    local name=$1 log=$2 status=$3 tests_passed tests_failed tests_skipped
    # To the test runner, a skipped test has passed, so it is subtracted from those that passed.
    tests_skipped=$(grep -c 'SKIPPED: ' "$log" || true)
    read -r tests_passed tests_failed < <(awk '
        /^test result: / { for (i = 2; i <= NF; i++) { if ($i == "passed;") p += $(i-1); if ($i == "failed;") f += $(i-1) } }
        END { print p + 0, f + 0 }' "$log")
    if ((tests_passed + tests_failed == 0)) && [[ $status == 0 ]]; then
        ((tests_skipped)) || tests_passed=1
    else
        tests_passed=$((tests_passed > tests_skipped ? tests_passed - tests_skipped : 0))
    fi
    # A failed step counts as a failure even if it ran no test.
    [[ $status == 0 ]] || tests_failed=$((tests_failed > 0 ? tests_failed : 1))
    passed=$((passed + tests_passed)) failed=$((failed + tests_failed)) skipped=$((skipped + tests_skipped))
    [[ $status == 0 ]] || failures+=("$name ($log)")
}

unit() {
    step "format" cargo fmt --all --check
    step "clippy" cargo clippy --locked --workspace --all-targets -- -D warnings
    # Links of comments to code, those within a crate too.
    step "links of comments" env RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" \
        cargo doc --locked --workspace --no-deps --document-private-items
    step "unit tests" cargo test --locked --workspace --exclude traffictrace-e2e
    step "unit tests of the suite" cargo test --locked --package traffictrace-e2e --lib --bins --test report
}

kernel() {
    # The suite runs the product's binary, which must be built from this tree.
    step "build" cargo build --locked --workspace
    step "kernel tests" cargo test --locked --package traffictrace-e2e --test host
    # Without optimization, the product falls behind a load that uses both CPUs.
    step "release build" cargo build --release --locked --workspace
    step "soak" soak --seconds 60
    step "soak connections" soak --seconds 20 --connections
    step "soak udp queries" soak --seconds 30 --udp-queries
}

# Compares random load byte for byte; prints the seed.
soak() {
    if [[ $(id -u) != 0 ]]; then
        echo "SKIPPED: soak: BPF programs need root"
        [[ ${CI:-} != true ]] || return 1
        return 0
    fi
    target/release/tt-exact soak "$@"
}

matrix() {
    # The oldest and the newest kernel, which together have every hook tier. `make kernel-matrix` tests the others, and
    # those of arm64, which need a second compiler and a second build.
    step "kernel matrix" e2e/matrix/matrix.sh 5.10 newest:tp_btf
}

is_other_cluster() {
    [[ -n ${KUBECONFIG:-} ]]
}

# Starts to build the programs of the test cluster in the background, since their first build takes long.
start_cluster_build() {
    is_other_cluster && return
    # setsid gives the build a process group of its own, so that clean_up can end its compilers, too.
    # shellcheck disable=SC2016 # that shell expands it
    setsid bash -c 'e2e/cluster/build.sh; echo $? >"$0"' "$LOGS/cluster-build.status" \
        >"$LOGS/cluster-build.log" 2>&1 </dev/null &
    cluster_build=$!
    say "building the programs of the test cluster in the background (log: $LOGS/cluster-build.log)"
}

await_cluster_build() {
    [[ -n $cluster_build ]] || return 0
    tail -n +1 -f --pid="$cluster_build" "$LOGS/cluster-build.log"
    [[ $(<"$LOGS/cluster-build.status") == 0 ]]
}

e2e() {
    step "cluster programs" await_cluster_build
    step "scripts and chart" scripts/check-scripts.sh
    if ! is_other_cluster; then
        if [[ $(id -u) != 0 ]]; then
            step "cluster suite" skip_cluster "the test cluster needs root"
            return
        fi
        e2e/cluster/cluster.sh env >/dev/null 2>&1 || cluster_is_ours=yes
        step "cluster up" e2e/cluster/cluster.sh up
        local environment
        if environment=$(e2e/cluster/cluster.sh env); then
            eval "$environment"
        else
            return
        fi
    fi
    step "deploy" make deploy
    step "kubectl plugin" cargo build --locked --package traffictrace-cli
    # Tests that break things lock the cluster for themselves; the others share it.
    step "cluster suite" cargo test --locked --package traffictrace-e2e --test cluster -- --test-threads=4
}

# Tests what only an API server decides, with the oldest supported version: definitions, admission policies, permissions
# of the accounts. This cluster has a name and a folder of its own, so that it can run beside the usual test cluster.
kubernetes_oldest() {
    export TRAFFICTRACE_KUBERNETES=$1
    export TRAFFICTRACE_CLUSTER=${TRAFFICTRACE_CLUSTER:-tt-$1}
    export TRAFFICTRACE_STATE=${TRAFFICTRACE_STATE:-/var/lib/traffictrace-e2e-$1}
    if [[ $(id -u) != 0 ]]; then
        step "API server" skip_cluster "the API server of Kubernetes $1 needs root for its network namespace"
        return
    fi
    e2e/cluster/cluster.sh env >/dev/null 2>&1 || cluster_is_ours=yes
    step "API server up" e2e/cluster/cluster.sh up
    local environment
    environment=$(e2e/cluster/cluster.sh env) || return 0
    eval "$environment"
    step "chart on Kubernetes $1" install_chart
    step "API tests on Kubernetes $1" cargo test --locked --package traffictrace-e2e --test cluster -- --test-threads=4 api::
}

# Installs the chart unchanged; its pods are never created, because only the API server is running.
install_chart() {
    kubectl version
    kubectl apply -f manifests/namespace.yaml
    helm upgrade --install traffictrace charts/traffictrace --namespace traffictrace-system
}

skip_cluster() {
    echo "SKIPPED: cluster suite: $1"
    [[ ${CI:-} != true ]]
}

# Removes only what this run started, even if it is interrupted; a cluster that was there before stays.
clean_up() {
    [[ -z $cluster_build ]] || kill -- "-$cluster_build" 2>/dev/null || true
    [[ -z $cluster_is_ours ]] || e2e/cluster/cluster.sh down
}

main() {
    local what=${1:-all}
    case $what in
    unit | kernel | matrix | e2e | kubernetes-1.30 | all) ;;
    *)
        sed -n 's/^# usage: /usage: /p' "${BASH_SOURCE[0]}" >&2
        exit 2
        ;;
    esac
    scripts/setup.sh
    mkdir -p "$LOGS"
    trap clean_up EXIT
    case $what in
    e2e) start_cluster_build && e2e ;;
    kubernetes-*) kubernetes_oldest "${what#kubernetes-}" ;;
    all)
        start_cluster_build
        unit
        kernel
        matrix
        e2e
        ;;
    *) "$what" ;;
    esac
    trap - EXIT
    clean_up
    ((${#failures[@]} == 0)) || printf 'failed: %s\n' "${failures[@]}"
    echo "$passed passed, $failed failed, $skipped skipped"
    ((failed == 0))
}

main "$@"
