# shellcheck shell=bash
# Certificates of the cluster, created anew for each cluster, and the kubeconfig files that contain them.

readonly PKI=$STATE/pki

new_key() {
    openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/$1.key" 2>/dev/null
}

# certificate NAME SUBJECT USAGE [ALTERNATIVE-NAMES]: creates a key, and a certificate signed by the cluster's
# authority.
certificate() {
    local name=$1 subject=$2 usage=$3 names=${4:-}
    new_key "$name"
    {
        echo "basicConstraints=critical,CA:FALSE"
        echo "keyUsage=critical,digitalSignature"
        echo "extendedKeyUsage=$usage"
        [[ -z $names ]] || echo "subjectAltName=$names"
    } >"$PKI/$name.ext"
    openssl req -new -key "$PKI/$name.key" -subj "$subject" -out "$PKI/$name.csr"
    openssl x509 -req -in "$PKI/$name.csr" -CA "$PKI/ca.crt" -CAkey "$PKI/ca.key" -CAcreateserial \
        -days 30 -extfile "$PKI/$name.ext" -out "$PKI/$name.crt" 2>/dev/null
    rm "$PKI/$name.csr" "$PKI/$name.ext"
}

make_pki() {
    local node
    [[ -e $PKI/done ]] && return
    (umask 077 && mkdir -p "$PKI")
    new_key ca
    openssl req -x509 -new -key "$PKI/ca.key" -subj "/CN=traffictrace-e2e" -days 30 -out "$PKI/ca.crt"
    new_key service-account
    certificate apiserver "/CN=kube-apiserver" serverAuth \
        "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,IP:127.0.0.1,IP:$CONTROL_IP,IP:$API_SERVICE_IP"
    certificate apiserver-kubelet "/O=system:masters/CN=kube-apiserver" clientAuth
    certificate admin "/O=system:masters/CN=admin" clientAuth
    certificate controller-manager "/CN=system:kube-controller-manager" clientAuth
    certificate scheduler "/CN=system:kube-scheduler" clientAuth
    certificate proxy "/CN=system:kube-proxy" clientAuth
    for node in "${NODES[@]}"; do
        certificate "$node" "/O=system:nodes/CN=system:node:$node" clientAuth
    done
    touch "$PKI/done"
}

# kubeconfig FILE CERTIFICATE-NAME SERVER: writes a kubeconfig file.
kubeconfig() {
    (
        umask 077
        cat >"$1" <<END
apiVersion: v1
kind: Config
current-context: traffictrace-e2e
clusters:
  - name: traffictrace-e2e
    cluster:
      server: https://$3
      certificate-authority-data: $(base64 -w0 "$PKI/ca.crt")
users:
  - name: $2
    user:
      client-certificate-data: $(base64 -w0 "$PKI/$2.crt")
      client-key-data: $(base64 -w0 "$PKI/$2.key")
contexts:
  - name: traffictrace-e2e
    context: {cluster: traffictrace-e2e, user: $2}
END
    )
}
