"""Text for people."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 user`, `1,234 users`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
