"""HTML by construction: what is not made here is text, and is escaped."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

_VOID = frozenset({"meta", "br"})


class Html(str):
    """A piece of HTML; any other string is text."""

    __slots__ = ()


Child = str | Iterable["str | None"] | None
"""Text, a piece of HTML, several of them, or nothing."""


def tag(name: str, /, *children: Child, **attributes: str | None) -> Html:
    """An element.

    Attributes without a value are left out; `class_` is `class`, and other underscores are hyphens.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{joined(*children)}</{name}>")


def joined(*children: Child) -> Html:
    """Several pieces, one after the other."""
    return Html("".join(map(_written, children)))


def trusted(text: str) -> Html:
    """A constant of ours that is HTML, or CSS, already."""
    return Html(text)


def _written(child: Child) -> str:
    if isinstance(child, Html):
        return child
    if isinstance(child, str):
        return escape(child)
    return "" if child is None else joined(*child)
