# shellcheck shell=bash
# Container images without an engine or a registry: one layer with a program and the shared
# libraries that ldd names, as an archive that containerd, Docker and kind can load.

# Files that a program needs at run time besides itself; nothing for a static one.
libraries_of() {
    # A static program makes ldd fail, saying so: that is an answer.
    { ldd "$1" 2>/dev/null || true; } | grep -oE '/[^ ]+' || true
}

architecture() {
    case $(uname -m) in
    x86_64) echo amd64 ;;
    aarch64) echo arm64 ;;
    *) die "no name for the architecture $(uname -m) in image files is known here" ;;
    esac
}

# pack_image REFERENCE ARCHIVE PROGRAM PATH-IN-IMAGE: the same program gives the same archive, byte for byte.
pack_image() {
    local reference=$1 archive=$2 program=$3 inside=$4 work file layer config
    [[ -f $program ]] || die "cannot pack $reference: there is no $program; run \`make build\`"
    work=$(mktemp -d)
    mkdir "$work/root" "$work/image"
    install -D -m 0755 "$program" "$work/root$inside"
    while read -r file; do
        # By its real content under the name the loader looks for.
        install -D -m 0755 "$file" "$work/root$file"
    done < <(libraries_of "$program")
    tar_plain "$work/root" "$work/image/layer.tar"
    layer=$(sha256sum "$work/image/layer.tar" | cut -d' ' -f1)
    printf '{"architecture":"%s","os":"linux","config":{"Entrypoint":["%s"],"WorkingDir":"/"},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
        "$(architecture)" "$inside" "$layer" >"$work/config"
    config=$(sha256sum "$work/config" | cut -d' ' -f1)
    mv "$work/config" "$work/image/$config.json"
    printf '[{"Config":"%s.json","RepoTags":["%s"],"Layers":["layer.tar"]}]' "$config" "$reference" >"$work/image/manifest.json"
    mkdir -p "$(dirname "$archive")"
    tar_plain "$work/image" "$archive"
    rm -rf "$work"
}

tar_plain() {
    tar -C "$1" --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -cf "$2" .
}

import_image() {
    in_node "$1" ctr --namespace k8s.io images import "$2" >/dev/null ||
        die "containerd of $1 did not take the image archive $2"
}

# pack_ours OUT-DIR: the product's image and, when it is built, the workloads'. Prints the archives.
pack_ours() {
    local release=$REPOSITORY/target/release
    pack_image traffictrace:dev "$1/traffictrace.tar" "$release/traffictrace" /traffictrace
    echo "$1/traffictrace.tar"
    if [[ -f $release/tt-workload ]]; then
        pack_image traffictrace-e2e-workload:dev "$1/traffictrace-e2e-workload.tar" "$release/tt-workload" /tt-workload
        echo "$1/traffictrace-e2e-workload.tar"
    fi
}
