#!/bin/sh
# Creates an empty virtual environment: create_venv.sh PYTHON DIRECTORY
set -eu
python=$1
directory=$2

if ! command -v "$python" >/dev/null; then
    echo "$python not found. Python 3.11 or newer is required; select one with: make PYTHON=/path/to/python3" >&2
    exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    version=$("$python" -c 'import platform; print(platform.python_version())')
    echo "$python is Python $version. Python 3.11 or newer is required; select one with: make PYTHON=/path/to/python3" >&2
    exit 1
fi
echo "Setting up $directory (once, and again when the locked dependencies change)"
"$python" -m venv --clear "$directory"
