# shellcheck shell=bash
# The control plane: etcd, API server, controller manager and scheduler in a network namespace of
# their own, and the forwarder that makes the API server reachable on the machine's loopback.

api_ready() {
    nsenter "--net=/run/netns/$CONTROL" "$BIN/kubectl" --kubeconfig "$STATE/control/inside.kubeconfig" get --raw /readyz
}

etcd_ready() {
    nsenter "--net=/run/netns/$CONTROL" bash -c 'exec 3<>/dev/tcp/127.0.0.1/2379'
}

start_etcd() {
    # A crash of the machine may lose this store, so etcd need not wait for the disk.
    start "$CONTROL/etcd" "$STATE/log/etcd.log" "$CONTROL" "" "$BIN/etcd" \
        --data-dir "$STATE/control/etcd" --unsafe-no-fsync --log-level warn \
        --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
        --listen-peer-urls http://127.0.0.1:2380
    wait_for 30 "etcd's first answer" etcd_ready
}

apiserver_program() {
    if [[ -z $API_ONLY ]]; then echo "$BIN/kube-apiserver"; else echo "$(bin_dir "kubernetes-$API_ONLY")/kube-apiserver"; fi
}

start_apiserver() {
    # The API server must connect to kubelets by address: the nodes' names resolve nowhere, so that exec, logs and
    # port-forward would hang.
    start "$CONTROL/apiserver" "$STATE/log/kube-apiserver.log" "$CONTROL" "" "$(apiserver_program)" \
        --etcd-servers http://127.0.0.1:2379 --advertise-address "$CONTROL_IP" --secure-port 6443 \
        --cert-dir "$STATE/control/apiserver" --tls-cert-file "$PKI/apiserver.crt" --tls-private-key-file "$PKI/apiserver.key" \
        --client-ca-file "$PKI/ca.crt" --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
        --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$PKI/service-account.key" \
        --service-account-signing-key-file "$PKI/service-account.key" --service-cluster-ip-range "$SERVICE_RANGES" \
        --kubelet-client-certificate "$PKI/apiserver-kubelet.crt" --kubelet-client-key "$PKI/apiserver-kubelet.key" \
        --kubelet-preferred-address-types InternalIP --allow-privileged \
        --audit-policy-file "$CLUSTER_DIR/config/audit.yaml" --audit-log-path "$STATE/log/audit.log" \
        --audit-log-mode blocking
    wait_for 60 "readiness of the API server" api_ready
}

start_managers() {
    # The folder for volume plugins is set, because the default would be created under the machine's /usr/libexec.
    start "$CONTROL/controller-manager" "$STATE/log/kube-controller-manager.log" "$CONTROL" "" "$BIN/kube-controller-manager" \
        --kubeconfig "$STATE/control/controller-manager.kubeconfig" --use-service-account-credentials \
        --service-account-private-key-file "$PKI/service-account.key" --root-ca-file "$PKI/ca.crt" \
        --cert-dir "$STATE/control/controller-manager" --bind-address 127.0.0.1 --leader-elect=false \
        --flex-volume-plugin-dir "$STATE/control/flex-volumes"
    start "$CONTROL/scheduler" "$STATE/log/kube-scheduler.log" "$CONTROL" "" "$BIN/kube-scheduler" \
        --kubeconfig "$STATE/control/scheduler.kubeconfig" --cert-dir "$STATE/control/scheduler" \
        --bind-address 127.0.0.1 --leader-elect=false
}

start_forwarder() {
    group_running "$CONTROL/forward" && return
    rm -f "$STATE/control/forward.address"
    # The forwarder starts in the machine's own network namespace, where it listens, and then enters the control
    # plane's.
    spawn "$CONTROL/forward" "$STATE/log/forward.log" \
        "$BIN/tools" forward "/run/netns/$CONTROL" "$CONTROL_IP:6443" "$STATE/control/forward.address"
    wait_for 5 "the forwarder's address" test -s "$STATE/control/forward.address"
    kubeconfig "$STATE/kubeconfig" admin "$(cat "$STATE/control/forward.address")"
}

start_control() {
    local name
    mkdir -p "$STATE/control" "$STATE/log"
    for name in controller-manager scheduler proxy "${NODES[@]}"; do
        kubeconfig "$STATE/control/$name.kubeconfig" "$name" "$CONTROL_IP:6443"
    done
    kubeconfig "$STATE/control/inside.kubeconfig" admin "$CONTROL_IP:6443"
    start_etcd
    start_apiserver
    [[ -n $API_ONLY ]] || start_managers
    start_forwarder
}
