#!/bin/sh
# Installs Prometheus 3 and its promtool in .tools/bin as prometheus3 and promtool3, and again when this script changes.
# They come from Debian's testing suite, on the mirror that apt uses. Root is not needed: apt uses its own directories,
# and the packages are unpacked, not installed.
#
# If this fails, it reports the missing programs and exits with 0: tests with Prometheus 3 are skipped, even with
# CI=true.
set -eu
cd "$(dirname "$0")/.."

project=$PWD
bin=.tools/bin
stamp=$bin/.prometheus3-$(cksum <tools/install_prometheus3.sh | tr ' ' '-')
keys=/usr/share/keyrings/debian-archive-keyring.gpg

missing() {
    echo "prometheus3 and promtool3 are missing ($1): tests with Prometheus 3 are skipped"
    exit 0
}

# Prints the mirror of the installed Debian release: other sources have no testing suite.
mirror() {
    # shellcheck source=/dev/null
    codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
    apt-get indextargets --format "\$(RELEASE) \$(REPO_URI)" 'Created-By: Packages' 'Component: main' \
        | awk -v codename="$codename" '$1 == codename || $1 == "stable" { print $2; exit }'
}

apt() {
    apt-get -qq -o Dir::State="$work/state" -o Dir::State::status="$work/status" -o Dir::Cache="$work/cache" \
        -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o APT::Sandbox::User= -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none -o Acquire::Retries=2 \
        -o Acquire::http::Timeout=30 -o Acquire::https::Timeout=30 "$@" </dev/null >"$work/log" 2>&1 || {
        tail -n 5 "$work/log" >&2
        missing "apt cannot download them"
    }
}

[ ! -e "$stamp" ] || exit 0
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null || [ ! -e "$keys" ]; then
    missing "this is not Debian"
fi
mirror=$(mirror)
[ -n "$mirror" ] || missing "apt has no Debian mirror"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "Installing Prometheus 3 in $bin"
mkdir -p "$work/state/lists/partial" "$work/cache/archives/partial"
: >"$work/status"
echo "deb [signed-by=$keys] $mirror testing main" >"$work/sources.list"
apt update
cd "$work"
apt download prometheus promtool
cd "$project"
for package in "$work"/*.deb; do
    dpkg-deb -x "$package" "$work/unpacked"
done
case $("$work/unpacked/usr/bin/promtool" --version 2>&1) in
    "promtool, version 3."*) ;;
    *) missing "the programs of the testing suite do not run here, or are not version 3" ;;
esac
mkdir -p "$bin"
for program in prometheus promtool; do
    mv "$work/unpacked/usr/bin/$program" "$bin/${program}3"
done
rm -f "$bin"/.prometheus3-*
touch "$stamp"
