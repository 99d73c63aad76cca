#!/usr/bin/env bash
# Shows the main job on the test cluster: a shop of ten pods on two nodes, one TrafficTrace, and which pod eats the
# network. A cluster that this script starts is removed again; a cluster that was running stays.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=e2e/cluster/lib/common.sh
source e2e/cluster/lib/common.sh

readonly CLUSTER=e2e/cluster/cluster.sh
readonly NAMESPACE=traffictrace-demo

note() {
    printf '\n\033[1m%s\033[0m\n' "$*" >&2
}

clean_up() {
    note "cleaning up"
    if [[ -n $was_up ]]; then
        kubectl delete namespace "$NAMESPACE" --ignore-not-found --timeout 60s >&2 || true
    else
        $CLUSTER down
    fi
}

# has_flows TRACE COUNT: succeeds if the status shows at least COUNT flows.
has_flows() {
    local flows
    flows=$(kubectl -n "$NAMESPACE" get traffictrace "$1" -o 'jsonpath={.status.topFlows[*].pod}')
    [[ $(wc -w <<<"$flows") -ge $2 ]]
}

main() {
    local environment trace deadline
    was_up=
    $CLUSTER env >/dev/null 2>&1 && was_up=yes
    note "a Kubernetes of two nodes on this machine"
    # Two steps, since eval would hide that the cluster did not come up, and the rest would go to another cluster.
    environment=$($CLUSTER up)
    eval "$environment"
    [[ $KUBECONFIG == "$STATE/kubeconfig" ]] || die "KUBECONFIG is $KUBECONFIG, and not that of the test cluster"
    trap clean_up EXIT
    note "the agent on every node, and the controller"
    scripts/deploy.sh >&2
    note "a shop of ten pods"
    kubectl create namespace "$NAMESPACE" >&2
    kubectl -n "$NAMESPACE" apply -f e2e/cluster/demo.yaml >&2
    kubectl -n "$NAMESPACE" wait --for=condition=Ready pod --all --timeout 90s >&2
    note "kubectl apply -f manifests/samples/tracetrace.yaml"
    trace=$(kubectl -n "$NAMESPACE" apply -f manifests/samples/tracetrace.yaml -o 'jsonpath={.metadata.name}')
    deadline=$((SECONDS + 60))
    until has_flows "$trace" 4; do
        ((SECONDS < deadline)) || {
            kubectl -n "$NAMESPACE" get traffictrace "$trace" -o yaml >&2
            echo "demo-cluster: error: the trace showed no flows of all pods within 60 s; its status is above" >&2
            exit 1
        }
        sleep 0.5
    done
    note "kubectl get traffictraces"
    kubectl -n "$NAMESPACE" get traffictraces
    if [[ -t 0 && -t 1 ]]; then
        note "kubectl traffictrace top $trace"
        target/release/kubectl-traffictrace top "$trace" --namespace "$NAMESPACE"
    else
        note "kubectl traffictrace top $trace --count 1"
        target/release/kubectl-traffictrace top "$trace" --namespace "$NAMESPACE" --count 1
    fi
}

main "$@"
