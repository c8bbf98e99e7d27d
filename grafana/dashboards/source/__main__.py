"""Write the dashboards' JSON files the way Grafana reads them; `--check` says whether they are current instead."""

from __future__ import annotations

import sys
from pathlib import Path

from grafana.dashboards.source.render import FOLDER, documents


def main(arguments: list[str], folder: Path = FOLDER) -> int:
    """0, or 1 when `--check` finds a file that is not what the code says."""
    stale = [name for name, text in documents().items() if not _is_current(folder / name, text)]
    if "--check" in arguments:
        for name in stale:
            print(f"{name} is not what the code says: run `make dashboards`", file=sys.stderr)  # noqa: T201 - a command
        return 1 if stale else 0
    for name in stale:
        (folder / name).write_text(documents()[name], encoding="utf-8")
    return 0


def _is_current(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
