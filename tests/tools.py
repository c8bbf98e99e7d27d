"""Programs that tests run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

LOCAL_BIN = Path(__file__).parents[1] / ".tools" / "bin"
"""Folder for programs that `make tools` installs without a system package manager."""


OPTIONAL = frozenset({"prometheus3", "promtool3"})
"""Programs that may be missing even with CI=true, because not every mirror has them."""


def required_tool(name: str) -> str:
    """Return the path of a program, preferably the one that `make tools` installed.

    Skip the test if the program is missing. With CI=true, fail the test, unless the program is optional.
    """
    path = shutil.which(name, path=LOCAL_BIN) or shutil.which(name)
    if path is not None:
        return path
    if name in OPTIONAL:
        pytest.skip(f"{name} is missing; `make tools` installs it if apt can download Debian's testing suite")
    missing = f"{name} is not installed; on Debian, as root, `make tools` installs it"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)
