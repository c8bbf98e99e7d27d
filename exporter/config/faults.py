"""One thing wrong with the configuration, and how it is written down."""

from __future__ import annotations

import re
from dataclasses import dataclass

KeyPath = tuple[str | int, ...]
"""The way to a value: `("pools", 0, "id")`."""

# What stands where a key should may be anything, such as a secret whose colon lacks its space.
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the value of a key, and what was expected; `line` only where the path does not tell."""

    path: KeyPath
    text: str
    line: int | None = None


def dotted(path: KeyPath) -> str:
    """A path as an operator reads it: `pools[0].id`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{shown_key(part)}" if text else shown_key(part)
    return text


def shown_key(name: str) -> str:
    """A key, or `?` for text that does not look like one."""
    return name if _PLAIN_KEY.fullmatch(name) else "?"
