"""Which build this is, for `--version` and `build_info`."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from importlib.resources.abc import Traversable

UNKNOWN = "unknown"


def revision() -> str:
    """The commit that this was built or installed from, where builder or installer recorded it, else `unknown`."""
    return built_revision(files("exporter")) or installed_revision()


def built_revision(package: Traversable) -> str:
    """What the build wrote into the package (`tools/build_revision.py`); empty where it was not told."""
    recorded = package / "revision"
    return recorded.read_text(encoding="utf-8").strip() if recorded.is_file() else ""


def installed_revision() -> str:
    """What an installer that fetched a commit itself, such as `pip install git+https://…`, wrote down."""
    try:
        return recorded_revision(distribution("cognito-device-exporter").read_text("direct_url.json"))
    except PackageNotFoundError:  # a source tree that was never installed
        return UNKNOWN


def recorded_revision(direct_url: str | None) -> str:
    """The commit in the content of `direct_url.json`; source: PEP 610."""
    source = json.loads(direct_url) if direct_url else {}
    return str(source.get("vcs_info", {}).get("commit_id", UNKNOWN))
