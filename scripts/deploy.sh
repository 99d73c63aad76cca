#!/usr/bin/env bash
# Packs the release binary as an image, loads it into the nodes, and installs the chart. Further arguments are passed to
# `helm upgrade`.
#
# If KUBECONFIG is unset, or that of the test cluster, the image is imported there. With any other cluster, the test
# cluster is not touched: the image is left as an archive, which the command in IMAGE_LOAD loads into the nodes, for
# example IMAGE_LOAD="kind load image-archive".
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
            # Unquoted on purpose: the variable holds a command with its arguments.
            $IMAGE_LOAD "$archive" >&2 || die "\`$IMAGE_LOAD $archive\` failed"
        else
            say "the image is in $archive: if the nodes do not have it yet, load it there, or set IMAGE_LOAD=\"kind load image-archive\""
        fi
    done
}

main() {
    local bin arguments environment
    bin=$(e2e/cluster/build.sh)
    # The image's tag stays the same, so the binary's digest is passed on: a new build must restart the pods.
    local digest
    digest=$(sha256sum target/release/traffictrace | cut -c1-16)
    arguments=(
        --set "image.tag=dev,image.pullPolicy=Never"
        --set-string "agent.podAnnotations.traffictrace\.dev/program=$digest,controller.podAnnotations.traffictrace\.dev/program=$digest"
    )
    if ours; then
        # Two steps, since eval would hide that the cluster is not up, and the chart would go to another cluster.
        environment=$(e2e/cluster/cluster.sh env)
        eval "$environment"
        e2e/cluster/cluster.sh images
        # Both nodes share one kernel, and thus one cgroup tree.
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
