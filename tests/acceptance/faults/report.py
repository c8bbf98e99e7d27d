"""Write the results of `make faults` to a document: `python -m tests.acceptance.faults.report RESULTS DOCUMENT`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"

HEAD = (
    "| fault | promised | rounds | calls failed | scrapes answered | correct again after | values wrong | data lost |\n"
    "|---|---|--:|---|--:|--:|--:|--:|\n"
)


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the rows as a Markdown table."""
    return HEAD + "".join(_line(row) for row in rows)


def _line(row: Mapping[str, Any]) -> str:
    calls = ", ".join(f"{count} {reason}" for reason, count in sorted(row["calls_failed"].items())) or "–"
    recovered = "–" if row["recovered_after"] is None else f"{row['recovered_after']:.1f} s"
    cells = (
        row["fault"],
        row["promised"],
        str(row["rounds"]),
        calls,
        _scrapes(row),
        recovered,
        str(row["values_wrong"]),
        str(row["data_lost"]),
    )
    return f"| {' | '.join(cells)} |\n"


def _scrapes(row: Mapping[str, Any]) -> str:
    answered = row["scrapes"] - row["scrapes_failed"] - row["scrapes_refused"]
    refused = f", {row['scrapes_refused']} refused with 503" if row["scrapes_refused"] else ""
    return f"{answered} of {row['scrapes']}{refused}"


def filled(document: str, content: str) -> str:
    """Return the document with the content between its markers.

    Raises `ValueError` if the markers are missing.
    """
    before, found, rest = document.partition(BEGIN)
    _, also_found, after = rest.partition(END)
    if not (found and also_found):
        raise ValueError(f"expected the markers {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{content}{END}{after}"


def main(arguments: Sequence[str]) -> int:
    """Write the table; return 2 after wrong usage."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m tests.acceptance.faults.report RESULTS DOCUMENT\n")
        return 2
    results, document = map(Path, arguments)
    rows = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    document.write_text(filled(document.read_text(encoding="utf-8"), table(rows)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
