"""Generator of the parts of the documentation that come from the code."""

from __future__ import annotations

import json
from pathlib import Path

from exporter.metrics.catalog import CATALOG
from exporter.metrics.spec import DocSection, Spec
from exporter.status import document as status
from tools import configuration_doc, metrics_doc

README = Path(__file__).parents[1] / "README.md"
STATUS_SCHEMA = Path(__file__).parents[1] / "docs" / "status.schema.json"

_BEGIN = "<!-- metrics: written by `make docs` -->\n"
_END = "<!-- end of metrics -->\n"
_SHOWN_IN_README = (DocSection.POOL, DocSection.USER, DocSection.DEVICE)
_ON_EVERY_METRIC = "user_pool_id"


def documents() -> dict[Path, str]:
    """Return the content of each file with generated parts."""
    return {
        configuration_doc.TARGET: configuration_doc.render(),
        metrics_doc.TARGET: metrics_doc.render(),
        STATUS_SCHEMA: f"{json.dumps(status.schema(), indent=2)}\n",
        README: insert_metrics_table(README.read_text(encoding="utf-8")),
    }


def insert_metrics_table(readme: str) -> str:
    """Insert the table of metrics between the markers of the README.

    Raise `ValueError` if a marker is missing.
    """
    before, begin, rest = readme.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError("README.md has no markers for the table of metrics")
    return f"{before}{begin}{_table()}{end}{after}"


def _table() -> str:
    rows = (_row(spec) for group in _SHOWN_IN_README for spec in CATALOG if spec.section is group)
    return "\n".join(("", "| metric | further labels | meaning |", "|---|---|---|", *rows, "", ""))


def _row(spec: Spec) -> str:
    labels = ", ".join(f"`{label}`" for label in spec.labels if label != _ON_EVERY_METRIC)
    sentence = spec.description.partition(". ")[0].removesuffix(".")
    meaning = sentence.replace("<", "&lt;").replace("|", r"\|")
    return f"| `{spec.name}` | {labels} | {meaning} |"


def main() -> None:
    """Write every document."""
    for path, text in documents().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
