#!/bin/sh
# Installs the missing programs that tests need, from Debian packages. With the argument `bench`, it installs those that
# the benchmark needs.
#
# If this fails, it reports the missing packages and exits with 0: tests that need them are skipped, and fail with
# CI=true. The benchmark reports what it could not measure.
set -eu

# One program per line, followed by its Debian package.
PROGRAMS='
aws awscli
prometheus prometheus
promtool prometheus
prometheus-alertmanager prometheus-alertmanager
amtool prometheus-alertmanager
buildah buildah
catatonit catatonit
chromium chromium
curl curl
iptables iptables
mmdebstrap mmdebstrap
newuidmap uidmap
podman podman
/usr/lib/podman/aardvark-dns aardvark-dns
/usr/lib/podman/netavark netavark
runc runc
systemd-analyze systemd
systemd-sysusers systemd
'

# The client library has no program, so it is installed together with the compiler.
if [ "${1:-}" = bench ]; then
    PROGRAMS='
go golang-go
go golang-github-prometheus-client-golang-dev
'
fi

missing_packages() {
    echo "$PROGRAMS" | while read -r program package; do
        if [ -n "$program" ] && ! command -v "$program" >/dev/null; then
            echo "$package"
        fi
    done | sort -u | xargs
}

# Uses sudo only in CI, so as not to change a developer's machine.
choose_root() {
    if [ "$(id -u)" -eq 0 ]; then
        as_root=
    elif [ "${CI:-}" = true ] && sudo -n true 2>/dev/null; then
        as_root='sudo -n'
    else
        return 1
    fi
}

apt() {
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 -o Acquire::Retries=2 \
        -o Acquire::http::Timeout=30 -o Acquire::https::Timeout=30 "$@" </dev/null >"$log" 2>&1
}

# Package lists may be missing or outdated, so they are updated if the first attempt fails.
install() {
    # shellcheck disable=SC2086 # one word per package
    apt install -y --no-install-recommends $1 || { apt update && apt install -y --no-install-recommends $1; }
}

# Debian starts the daemons that it installs, but tests start their own.
stop_daemons() {
    if [ -d /run/systemd/system ]; then
        for package in $1; do
            $as_root systemctl disable --now "$package" >/dev/null 2>&1 || true
        done
    fi
}

missing=$(missing_packages)
[ -n "$missing" ] || exit 0

if command -v apt-get >/dev/null && choose_root; then
    echo "Installing for the ${1:-tests}: $missing"
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    if install "$missing"; then
        stop_daemons "$missing"
    else
        tail -n 5 "$log" >&2
    fi
fi

missing=$(missing_packages)
if [ -n "$missing" ] && [ "${1:-}" = bench ]; then
    echo "Debian packages missing: $missing. The benchmark will be incomplete."
elif [ -n "$missing" ]; then
    echo "Debian packages missing: $missing. Tests that need them are skipped, and fail with CI=true."
fi
