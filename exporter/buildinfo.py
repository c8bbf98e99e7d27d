"""Revision of the build, for `--version` and `build_info`."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from importlib.resources.abc import Traversable

UNKNOWN = "unknown"


def revision() -> str:
    """Return the commit that the package was built or installed from, or `unknown` if it is not recorded."""
    return built_revision(files("exporter")) or installed_revision()


def built_revision(package: Traversable) -> str:
    """Return the commit that `tools/build_revision.py` wrote into the package, or an empty string."""
    recorded = package / "revision"
    return recorded.read_text(encoding="utf-8").strip() if recorded.is_file() else ""


def installed_revision() -> str:
    """Return the commit that an installer such as `pip install git+https://…` recorded, or `unknown`."""
    try:
        return recorded_revision(distribution("cognito-device-exporter").read_text("direct_url.json"))
    except PackageNotFoundError:  # a source tree that was never installed
        return UNKNOWN


def recorded_revision(direct_url: str | None) -> str:
    """Return the commit in the content of `direct_url.json` (PEP 610)."""
    source = json.loads(direct_url) if direct_url else {}
    return str(source.get("vcs_info", {}).get("commit_id", UNKNOWN))
