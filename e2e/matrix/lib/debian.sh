# shellcheck shell=bash
# Packages of any suite and architecture of Debian. The machine's own apt is not touched: sources, lists and downloads
# have a folder of their own. Nothing is installed; packages are unpacked where they are needed.

readonly DEBIAN_KEYS=/usr/share/keyrings/debian-archive-keyring.gpg
# Maximum age of package lists in minutes before they are fetched again.
readonly LISTS_MINUTES=1440

# debian_archive SUITE: prints the archive that has the suite.
debian_archive() {
    if [[ $1 == *-security ]]; then echo debian-security; else echo debian; fi
}

# debian_mirror ARCHIVE: prints the mirror that this machine's apt uses. If apt uses no mirror of Debian, prints the
# archive's folder under TRAFFICTRACE_DEBIAN_MIRROR.
debian_mirror() {
    local uri
    # shellcheck disable=SC2016 # apt expands it
    uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
        grep -E "^https?://.*/$1/?$" | head -n 1 || true)
    uri=${uri:-${TRAFFICTRACE_DEBIAN_MIRROR:+$TRAFFICTRACE_DEBIAN_MIRROR/$1}}
    [[ -n $uri ]] || {
        say "apt here has no archive '$1' of Debian: say where one is, TRAFFICTRACE_DEBIAN_MIRROR=http://MIRROR"
        return 1
    }
    echo "$uri"
}

# debian_open SUITE ARCHITECTURE: limits apt in this shell to the suite, with lists that are at most a day old. Fails
# when the lists cannot be fetched.
debian_open() {
    local suite=$1 architecture=$2 home=$CACHE/apt/$1-$2 mirror
    mirror=$(debian_mirror "$(debian_archive "$suite")") || return
    mkdir -p "$home/state/lists/partial" "$home/cache/archives/partial"
    : >"$home/status"
    echo "deb [signed-by=$DEBIAN_KEYS] $mirror $suite main" >"$home/sources.list"
    # Of the machine's apt configuration, only the settings for downloads (proxies, timeouts) are kept.
    {
        env -u APT_CONFIG apt-config dump Acquire | grep -v '^Acquire::\(IndexTargets\|Languages\|GzipIndexes\)'
        cat <<EOF
Dir::Etc::Main "/dev/null";
Dir::Etc::Parts "/dev/null";
Dir::Etc::SourceList "$home/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "$home/state";
Dir::State::status "$home/status";
Dir::Cache "$home/cache";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
APT::Architecture "$architecture";
APT::Architectures { "$architecture"; };
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
EOF
    } >"$home/apt.conf"
    export APT_CONFIG=$home/apt.conf
    [[ -z $(find "$home/updated" -mmin -$LISTS_MINUTES 2>/dev/null) ]] || return 0
    say "reading Debian's list of packages: $suite, $architecture"
    apt-get update -q -o APT::Update::Error-Mode=any >"$home/update.log" 2>&1 || {
        tail -n 3 "$home/update.log" >&2
        return 1
    }
    touch "$home/updated"
}

# debian_depends PACKAGE: prints the names of the packages that it depends on directly.
debian_depends() {
    apt-cache depends --important "$1" | awk '$1 == "Depends:" { print $2 }'
}

# debian_version PACKAGE: prints the version that would be fetched.
debian_version() {
    apt-cache show --no-all-versions "$1" | awk '$1 == "Version:" { print $2; exit }'
}

# debian_fetch FOLDER PACKAGE...: downloads the packages' files; apt checks them against the signed lists.
debian_fetch() {
    local folder=$1
    shift
    (cd "$folder" && apt-get download -q "$@") >&2
}
