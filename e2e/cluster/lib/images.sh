# shellcheck shell=bash
# Container images without an engine or a registry: one layer with programs and the shared
# libraries that ldd names, as an archive that containerd, Docker and kind can load.

# Prints the files, besides itself, that a program needs at run time; nothing for a static program.
libraries_of() {
    # ldd fails for a static program, which needs no other file.
    { ldd "$1" 2>/dev/null || true; } | grep -oE '/[^ ]+' || true
}

architecture() {
    case $(uname -m) in
    x86_64) echo amd64 ;;
    aarch64) echo arm64 ;;
    *) die "no name for the architecture $(uname -m) in image files is known here" ;;
    esac
}

# pack_image REFERENCE ARCHIVE PROGRAM PATH-IN-IMAGE [PROGRAM PATH-IN-IMAGE ...]: writes an image archive; the same
# programs give the same archive, byte for byte. The image runs the first program.
pack_image() {
    local reference=$1 archive=$2 inside=$4 work file layer config
    shift 2
    work=$(mktemp -d)
    mkdir "$work/root" "$work/image"
    while (($#)); do
        [[ -f $1 ]] || die "cannot pack $reference: there is no $1; run \`make build\`"
        install -D -m 0755 "$1" "$work/root$2"
        while read -r file; do
            # The content that a symbolic link leads to, under the name that the loader looks for.
            install -D -m 0755 "$file" "$work/root$file"
        done < <(libraries_of "$1")
        shift 2
    done
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

# pack_ours OUT-DIR: packs the product's image, the workloads' if they are built, and that of nginx and curl if both are
# installed here. Prints the archives.
pack_ours() {
    local release=$REPOSITORY/target/release
    pack_image traffictrace:dev "$1/traffictrace.tar" "$release/traffictrace" /traffictrace
    echo "$1/traffictrace.tar"
    if [[ -f $release/tt-workload ]]; then
        pack_image traffictrace-e2e-workload:dev "$1/traffictrace-e2e-workload.tar" "$release/tt-workload" /tt-workload
        echo "$1/traffictrace-e2e-workload.tar"
    fi
    local nginx curl
    if nginx=$(PATH=$PATH:/usr/sbin type -P nginx) && curl=$(type -P curl); then
        pack_image traffictrace-e2e-http:dev "$1/traffictrace-e2e-http.tar" "$nginx" /nginx "$curl" /curl
        echo "$1/traffictrace-e2e-http.tar"
    fi
}
