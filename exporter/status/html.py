"""HTML elements. All strings that are not `Html` are escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

_VOID_ELEMENTS = frozenset({"meta", "br"})


class Html(str):
    """Piece of HTML. Wrap only trusted constants in it directly."""

    __slots__ = ()


Child = str | Iterable["str | None"] | None
"""Text, HTML, an iterable of both, or nothing."""


def tag(name: str, /, *children: Child, **attributes: str | None) -> Html:
    """Return an element.

    Attributes with the value None are omitted. In their names, a trailing underscore is removed (`class_`), other
    underscores become hyphens.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID_ELEMENTS:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{concat(*children)}</{name}>")


def concat(*children: Child) -> Html:
    """Return the concatenated children."""
    return Html("".join(map(_render, children)))


def _render(child: Child) -> str:
    if isinstance(child, Html):
        return child
    if isinstance(child, str):
        return escape(child)
    return "" if child is None else concat(*child)


@dataclass(frozen=True, slots=True)
class Column:
    """Column of a table; `css_class` applies to its cells."""

    name: str
    css_class: str | None = None


def table(
    caption: str, columns: Sequence[Column], rows: Iterable[Sequence[str | None]], css_class: str | None = None
) -> Html:
    """Return a table whose first column has the row headers.

    On narrow screens the style sheet shows rows as blocks and each cell with the name of its column. Browsers no longer
    expose such a table to assistive technology, so roles are set explicitly.
    """
    headers = (tag("th", column.name, scope="col", role="columnheader", class_=column.css_class) for column in columns)
    return tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", headers, role="row"), role="rowgroup"),
        tag("tbody", (_row(columns, cells) for cells in rows), role="rowgroup"),
        role="table",
        class_=css_class,
    )


def _row(columns: Sequence[Column], cells: Sequence[str | None]) -> Html:
    return tag(
        "tr",
        tag("th", cells[0], scope="row", role="rowheader"),
        (
            tag(
                "td",
                cell or "–",
                role="cell",
                class_=column.css_class if cell else f"{column.css_class or ''} none".strip(),
                data_label=column.name,
            )
            for column, cell in zip(columns[1:], cells[1:], strict=True)
        ),
        role="row",
    )
