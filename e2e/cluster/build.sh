#!/usr/bin/env bash
# Builds the programs of the test cluster, once, from their published Go modules into a cache outside the repository.
# Prints the folder of the programs on stdout.
#
# usage: build.sh [kubernetes-VERSION]: with a version, the API server of that Kubernetes alone
#
# The folder's name contains a hash of all files that decide what is built. Another clone on the same machine thus finds
# the programs ready, and a change of such a file builds them anew.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=e2e/cluster/lib/common.sh
source "$here/lib/common.sh"

# Duration of a first build on two cores with an empty Go cache.
declare -A FIRST_BUILD=([tools]="10 s" [etcd]="1 min" [helm]="4 min" [kubernetes]="11 min" [kubernetes-1.30]="5 min")
readonly COMMANDS=(kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubelet kubectl)

# Prints the version in a go.mod of Kubernetes. The linker writes it into the programs; without it, the API server
# reports v0.0.0.
kubernetes_version() {
    sed -n 's/^require k8s.io\/kubernetes //p; s/^\tk8s.io\/kubernetes \(v[0-9.]*\)$/\1/p' "$here/$1/go.mod" | head -n 1
}

linker_flags() {
    local version minor
    case $1 in
    kubernetes*)
        version=$(kubernetes_version "$1")
        minor=${version#v*.}
        local package=k8s.io/component-base/version
        echo "-s -w -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=${minor%%.*}"
        ;;
    *) echo "-s -w" ;;
    esac
}

package_of() {
    case $1 in
    helm) echo helm.sh/helm/v4/cmd/helm ;;
    *) echo . ;;
    esac
}

# Reports every 15 s how many packages go has compiled, until the build is over.
watch_build() {
    local name=$1 pid=$2 log=$3 total=$4 begin=$SECONDS next=15
    while kill -0 "$pid" 2>/dev/null; do
        sleep 1
        if ((SECONDS - begin >= next)); then
            next=$((next + 15))
            say "building $name: $(wc -l <"$log") of at most $total packages compiled, $(elapsed "$begin")"
        fi
    done
}

build_one() {
    local name=$1 out=$2 log pid total begin=$SECONDS
    log=$out/$name.log
    say "building $name (a first build takes about ${FIRST_BUILD[$name]} on two cores, later ones seconds)"
    cd "$here/$name"
    # The modules are fetched and the packages counted first, so that progress messages tell how far the compilation is.
    total=$(go list -deps "$(package_of "$name")" | wc -l) ||
        die "could not fetch the Go modules of e2e/cluster/$name: is a Go module proxy reachable? (go env GOPROXY)"
    : >"$log"
    CGO_ENABLED=0 go build -v -p 2 -trimpath -buildvcs=false \
        -ldflags "$(linker_flags "$name")" -o "$out/$name" "$(package_of "$name")" 2>"$log" &
    pid=$!
    watch_build "$name" "$pid" "$log" "$total"
    if ! wait "$pid"; then
        tail -n 20 "$log" >&2
        die "building e2e/cluster/$name failed; the lines above are the compiler's"
    fi
    rm "$log"
    say "built $name in $(elapsed "$begin"), $(du -m "$out/$name" | cut -f1) MB"
}

build_all() {
    local out=$1 name command
    command -v go >/dev/null ||
        die "the test cluster is built from Go modules and there is no go command in PATH: install Go 1.26 or later (https://go.dev/dl)"
    say "the programs of the test cluster are not built yet; they go to ${out%.part} and stay there"
    rm -rf "$out"
    mkdir -p "$out"
    if [[ -n ${2:-} ]]; then
        (build_one "$2" "$out")
        mv "$out/$2" "$out/kube-apiserver"
    else
        for name in "${PROGRAMS[@]}"; do
            (build_one "$name" "$out")
        done
        for command in "${COMMANDS[@]}"; do
            ln -s kubernetes "$out/$command"
        done
    fi
    mv "$out" "${out%.part}"
}

main() {
    local cache bin version=${1:-}
    [[ -z $version || -e $here/$version/go.mod && $version == kubernetes-* ]] ||
        die "expected nothing or one of $(cd "$here" && echo kubernetes-*), got '$version'"
    bin=$(bin_dir "$version")
    cache=$(dirname "$bin")
    if [[ ! -d $bin ]]; then
        mkdir -p "$cache"
        # The lock keeps simultaneous runs from both doing the long build: the second one waits and finds it done.
        exec 9>"$cache/build.lock"
        flock 9
        [[ -d $bin ]] || build_all "$bin.part" "$version"
    fi
    echo "$bin"
}

main "$@"
