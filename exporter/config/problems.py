"""One thing wrong with the configuration, and how it is written down."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

KeyPath = tuple[str | int, ...]
"""The way to a value: `("pools", 0, "id")`."""

# What stands where a key should may be anything, such as a secret whose colon lacks its space.
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")

# Hashes as crypt writes them, PEM, ARNs, the ids of AWS's keys, and so many digits of hex or base64 in a row that they
# may be a key.
_SECRET = re.compile(r"\$[a-z0-9-]{1,12}\$|-----BEGIN|arn:aws|(?:AKIA|ASIA)[A-Z0-9]{16}|[A-Za-z0-9+/]{32}")
_ROW = re.compile(r"[A-Za-z0-9_-]{32,}")


@dataclass(frozen=True, slots=True)
class Problem:
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
    return name if _PLAIN_KEY.fullmatch(name) and not looks_secret(name) else "?"


def looks_secret(text: str) -> bool:
    """Whether text may be or hold a hash, a key or a token, wherever it was written by mistake."""
    return _SECRET.search(text) is not None or any(_is_random(row) for row in _ROW.findall(text))


def shown_path(path: Path) -> str:
    """A path, unless a name in it may be a secret that was written in the place of a path."""
    return "a path that is not shown here" if any(map(looks_secret, path.parts)) else str(path)


def _is_random(row: str) -> bool:
    """Whether a row may be base64 for URLs: names with dashes and underscores seldom have all three."""
    return all(any(test(character) for character in row) for test in (str.islower, str.isupper, str.isdigit))
