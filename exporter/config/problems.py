"""Problems of a configuration, and the text that reports them without revealing secrets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

KeyPath = tuple[str | int, ...]
"""Path to a value: `("pools", 0, "id")`."""

# Any text can be in the place of a key, such as a secret with a colon.
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,39}")

# crypt hashes, PEM, ARNs, AWS access key ids, and runs of hex or base64 that are long enough to be a key.
_SECRET = re.compile(r"\$[a-z0-9-]{1,12}\$|-----BEGIN|arn:aws|(?:AKIA|ASIA)[A-Z0-9]{16}|[A-Za-z0-9+/]{32}")
_RUN = re.compile(r"[A-Za-z0-9_-]{32,}")


@dataclass(frozen=True, slots=True)
class Problem:
    """Problem of the value of a key; `line` is set only if the path does not determine it."""

    path: KeyPath
    text: str
    line: int | None = None

    def __str__(self) -> str:
        return f"{dotted(self.path)}: {self.text}" if self.path else self.text


def dotted(path: KeyPath) -> str:
    """Return the text of a path: `pools[0].id`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{shown_key(part)}" if text else shown_key(part)
    return text


def shown_key(name: str) -> str:
    """Return a key, or `?` for text that does not look like a key."""
    return name if _PLAIN_KEY.fullmatch(name) and not looks_secret(name) else "?"


def looks_secret(text: str) -> bool:
    """Return whether text may contain a hash, a key or a token, because it was written in the wrong place."""
    return _SECRET.search(text) is not None or any(_is_random(run) for run in _RUN.findall(text))


def shown_path(path: Path) -> str:
    """Return a path, unless one of its names may be a secret."""
    return "a path that is not shown here" if any(map(looks_secret, path.parts)) else str(path)


def _is_random(run: str) -> bool:
    # URL-safe base64. Names with dashes and underscores rarely have lower case, upper case and digits.
    return all(any(test(character) for character in run) for test in (str.islower, str.isupper, str.isdigit))
