"""The real programs that tests run."""

from __future__ import annotations

import os
import shutil

import pytest


def required_tool(name: str) -> str:
    """The path of a program.

    Where it is missing the test is skipped, and under CI=true it fails: there everything must have run.
    """
    path = shutil.which(name)
    if path is not None:
        return path
    missing = f"{name} is not installed; on Debian, as root, `make tools` installs what tests need"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)
