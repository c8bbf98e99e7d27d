#!/bin/sh
# Runs the unit tests on each newer Python that is installed with pyenv or, if not, is on the PATH. Each Python has its
# own environment in .tools. Lists the versions that are not installed. Fails if the tests fail on any version.
set -eu
cd "$(dirname "$0")/.."

lock=requirements-unit.lock
export PIP_CONSTRAINT=/dev/null PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1
export PYTHONPATH="$PWD" # processes that tests start in other directories run the checkout, too

interpreter() {
    newest=$(find "${PYENV_ROOT:-$HOME/.pyenv}/versions" -maxdepth 3 -path "*/bin/python$1" 2>/dev/null | sort -V | tail -n 1)
    echo "${newest:-$(command -v "python$1" || true)}"
}

set_up() {
    directory=.tools/python$1
    stamp=$directory/.dependencies-$(cksum <"$lock" | tr ' ' '-')
    [ ! -e "$stamp" ] || return 0
    tools/create_venv.sh "$2" "$directory"
    "$directory/bin/python" -m pip install --quiet --no-compile --require-hashes --no-deps --requirement "$lock"
    "$directory/bin/python" -m pip check --quiet
    touch "$stamp"
}

failed=0
missing=
for version in 3.12 3.13 3.14; do
    found=$(interpreter "$version")
    if [ -z "$found" ]; then
        missing="$missing $version"
        continue
    fi
    set_up "$version" "$found"
    python=.tools/python$version/bin/python
    # Provides the command and the metadata that tests use.
    "$python" -m pip install --quiet --no-compile --no-deps --no-index --force-reinstall dist/*.whl
    began=$(date +%s)
    result=passed
    log=.tools/python$version/unit.log
    if ! env -u CI "$python" -m pytest tests/unit -q -n 2 --dist loadfile -p no:cacheprovider >"$log" 2>&1; then
        result=failed
        failed=1
        cat "$log"
    fi
    echo "Python $version: unit tests $result in $(($(date +%s) - began)) s: $(tail -n 1 "$log")"
done
[ -z "$missing" ] || echo "not installed:$missing"
exit "$failed"
