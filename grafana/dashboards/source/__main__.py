"""Command that writes the dashboards as JSON files. With `--check`, it only verifies that the files are current."""

from __future__ import annotations

import json
import sys
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


def main(arguments: list[str], folder: Path = FOLDER) -> int:
    """Return 0, or 1 if `--check` finds an outdated file."""
    check = "--check" in arguments
    outdated = []
    for name, text in documents().items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            outdated.append(name)
            if not check:
                path.write_text(text, encoding="utf-8")
    if check and outdated:
        print(f"{', '.join(outdated)}: out of date, run `make dashboards`", file=sys.stderr)  # noqa: T201 - a command
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
