"""Durations as Prometheus writes them: `90d`, `15m`, `1h30m`."""

from __future__ import annotations

import re

_UNITS_MS = {
    "y": 365 * 86_400_000,
    "w": 7 * 86_400_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}

# Units stand at most once and from the largest to the smallest, as in Prometheus; the digits are bounded
# so that no input makes a huge integer.
_PATTERN = re.compile("".join(f"(?:([0-9]{{1,15}}){unit})?" for unit in _UNITS_MS))

MAX_MS = 100 * _UNITS_MS["y"]
"""No duration is longer: schedules and dates would overflow."""


def parse_duration(text: str) -> int:
    """The milliseconds of a duration; `y` is 365 days, `w` is 7, and a bare `0` is zero.

    Raises `ValueError`, whose text says what is wrong.
    """
    if text == "0":
        return 0
    match = _PATTERN.fullmatch(text)
    if not match or not text:
        raise ValueError("not a duration")
    amounts = zip(match.groups(default="0"), _UNITS_MS.values(), strict=True)
    total = sum(int(amount) * unit for amount, unit in amounts)
    if total > MAX_MS:
        raise ValueError("longer than 100 years")
    return total


def canonical_duration(milliseconds: int) -> str:
    """The one way to write a duration: `720h` is `30d`.

    Days are the largest unit, unlike in Prometheus, so that `7d` and `365d` keep the form in which
    everybody writes them.
    """
    if not milliseconds:
        return "0s"
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        amount, milliseconds = divmod(milliseconds, _UNITS_MS[unit])
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts)
