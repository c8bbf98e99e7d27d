"""The real programs that tests run."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

BROUGHT = Path(__file__).parents[1] / ".tools" / "bin"
"""Where `make tools` puts the programs that no package manager installs."""


OPTIONAL = frozenset({"prometheus3", "promtool3"})
"""Programs that may be missing with CI=true, too: not every mirror has them."""


def required_tool(name: str) -> str:
    """Return the path of a program: the one that `make tools` brought, else the machine's.

    Where it is missing the test is skipped. With CI=true it fails, unless the program is optional.
    """
    path = shutil.which(name, path=BROUGHT) or shutil.which(name)
    if path is not None:
        return path
    if name in OPTIONAL:
        pytest.skip(f"{name} is missing; `make tools` brings it where apt can download Debian's testing suite")
    missing = f"{name} is not installed; on Debian, as root, `make tools` installs what tests need"
    if os.environ.get("CI") == "true":
        pytest.fail(missing)
    pytest.skip(missing)
