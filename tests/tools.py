"""The real programs that tests run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

BROUGHT = Path(__file__).parents[1] / ".tools" / "bin"
"""Where `make tools` puts the programs that no package manager installs."""


def required_tool(name: str) -> str:
    """The path of a program: the one that `make tools` brought, else the machine's.

    Where it is missing the test is skipped, and under CI=true it fails: there everything must have run.
    """
    path = shutil.which(name, path=BROUGHT) or shutil.which(name)
    if path is not None:
        return path
    missing = f"{name} is not installed; on Debian, as root, `make tools` installs what tests need"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)
