"""Tables that become cards on a narrow screen.

There the style sheet lays cells out as blocks, and a browser that no longer sees a table no longer tells of one: the
roles say it in so many words.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from exporter.status import wording as words
from exporter.status.html import Html, tag

Cell = str | None


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `kind` is a class of the style sheet."""

    name: str
    kind: str | None = None


def table(caption: str, columns: Sequence[Column], rows: Iterable[Sequence[Cell]], class_: str | None = None) -> Html:
    """A table whose first column names the rows."""
    heads = (tag("th", column.name, scope="col", role="columnheader", class_=column.kind) for column in columns)
    return tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", heads, role="row"), role="rowgroup"),
        tag("tbody", (_row(columns, cells) for cells in rows), role="rowgroup"),
        role="table",
        class_=class_,
    )


def moment(exact: datetime, text: str) -> Html:
    """A point in time in words, which tells exactly when it is pointed at."""
    written = words.rfc3339(exact)
    return tag("time", text, datetime=written, title=written)


def _row(columns: Sequence[Column], cells: Sequence[Cell]) -> Html:
    """One row; on a narrow screen each cell names its column."""
    first, *others = cells
    named = tag("th", first, scope="row", role="rowheader")
    return tag(
        "tr",
        named,
        (
            tag(
                "td",
                cell or "–",
                role="cell",
                class_=column.kind if cell else f"{column.kind or ''} none".strip(),
                data_label=column.name,
            )
            for column, cell in zip(columns[1:], others, strict=True)
        ),
        role="row",
    )
