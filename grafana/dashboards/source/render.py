"""Rendering of the dashboards as JSON."""

from __future__ import annotations

import json
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from grafana.dashboards.source import exporter, overview, pool, stale

FOLDER = Path(__file__).resolve().parent.parent

_BUILDERS = {
    "overview.json": overview.build,
    "pool.json": pool.build,
    "stale-devices.json": stale.build,
    "exporter.json": exporter.build,
}


def documents() -> dict[str, str]:
    """Return the content of each file by file name."""
    return {
        name: json.dumps(build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        for name, build in _BUILDERS.items()
    }
