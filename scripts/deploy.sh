#!/usr/bin/env bash
# Packs the release binary as an image, hands it to the nodes, and installs the chart. Further
# arguments go to `helm upgrade`.
#
# With KUBECONFIG unset, or that of the test cluster, the image is imported there. With another
# one the test cluster is not touched: the image is left as an archive, which the command in
# IMAGE_LOAD takes to the nodes, such as IMAGE_LOAD="kind load image-archive".
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=e2e/cluster/lib/common.sh
source e2e/cluster/lib/common.sh
# shellcheck source=e2e/cluster/lib/groups.sh
source e2e/cluster/lib/groups.sh

readonly NAMESPACE=traffictrace-system

ours() {
    [[ -z ${KUBECONFIG:-} || $KUBECONFIG == "$STATE/kubeconfig" ]]
}

hand_over() {
    local archives archive
    archives=$(e2e/cluster/cluster.sh pack target/images)
    for archive in $archives; do
        if [[ -n ${IMAGE_LOAD:-} ]]; then
            # Unquoted on purpose: it is a command with its arguments.
            $IMAGE_LOAD "$archive" >&2 || die "\`$IMAGE_LOAD $archive\` failed"
        else
            say "the image is in $archive: if the nodes do not have it yet, load it there, or set IMAGE_LOAD=\"kind load image-archive\""
        fi
    done
}

main() {
    local bin arguments
    bin=$(e2e/cluster/build.sh)
    # A tag that stays: the pods are told apart by what is in it, so that a new build restarts them.
    local digest
    digest=$(sha256sum target/release/traffictrace | cut -c1-16)
    arguments=(
        --set "image.tag=dev,image.pullPolicy=Never"
        --set-string "agent.podAnnotations.traffictrace\.dev/program=$digest,controller.podAnnotations.traffictrace\.dev/program=$digest"
    )
    if ours; then
        eval "$(e2e/cluster/cluster.sh env)"
        e2e/cluster/cluster.sh images
        # Both nodes share one kernel, and so one cgroup tree.
        arguments+=(--set "agent.hostCgroupPath=$CGROUP2,agent.kubeletCgroup=/$CLUSTER_NAME-\$(NODE_NAME)")
    else
        say "KUBECONFIG is $KUBECONFIG, not the test cluster's: that cluster is left alone"
        hand_over
    fi
    "$bin/kubectl" apply -f manifests/namespace.yaml >&2
    "$bin/helm" upgrade --install traffictrace charts/traffictrace --namespace "$NAMESPACE" \
        --wait --timeout 3m "${arguments[@]}" "$@"
}

main "$@"
