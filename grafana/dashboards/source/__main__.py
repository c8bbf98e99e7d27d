"""Command that writes the dashboards as JSON files. With `--check`, it only verifies that the files are current."""

from __future__ import annotations

import sys
from pathlib import Path

from grafana.dashboards.source.render import FOLDER, documents


def main(arguments: list[str], folder: Path = FOLDER) -> int:
    """Return 0, or 1 if `--check` finds an outdated file."""
    stale = [name for name, text in documents().items() if not _is_current(folder / name, text)]
    if "--check" in arguments:
        for name in stale:
            print(f"{name} is out of date: run `make dashboards`", file=sys.stderr)  # noqa: T201 - a command
        return 1 if stale else 0
    for name in stale:
        (folder / name).write_text(documents()[name], encoding="utf-8")
    return 0


def _is_current(path: Path, text: str) -> bool:
    return path.exists() and path.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
