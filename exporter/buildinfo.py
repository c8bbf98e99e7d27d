"""Which build this is, for `--version` and `build_info`."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, distribution

UNKNOWN = "unknown"


def revision() -> str:
    """The commit that this was installed from, where the installer recorded it, else `unknown`."""
    try:
        return recorded_revision(distribution("cognito-device-exporter").read_text("direct_url.json"))
    except PackageNotFoundError:  # a source tree that was never installed
        return UNKNOWN


def recorded_revision(direct_url: str | None) -> str:
    """The commit in the content of `direct_url.json`; source: PEP 610."""
    source = json.loads(direct_url) if direct_url else {}
    return str(source.get("vcs_info", {}).get("commit_id", UNKNOWN))
