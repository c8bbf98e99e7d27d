"""Text forms of configuration values: durations, shares of a quota, labels of device attributes."""

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

# As in Prometheus: each unit at most once, the largest first. The number of digits is limited, so that no input makes a
# huge integer.
_DURATION = re.compile("".join(f"(?:([0-9]{{1,15}}){unit})?" for unit in _UNITS_MS))
_SHARE = re.compile(r"([0-9]{1,15}(\.[0-9]{1,15})?)%")
_NOT_IN_A_LABEL = re.compile(r"[^a-zA-Z0-9_]")

MAX_MS = 100 * _UNITS_MS["y"]
"""Maximum duration in milliseconds: schedules and dates would overflow above it."""


def parse_duration(text: str) -> int:
    """Return the milliseconds of a duration such as `90d` or `1h30m`; `y` is 365 days, and a bare `0` is zero.

    Raises `ValueError` with a message for the operator.
    """
    if text == "0":
        return 0
    match = _DURATION.fullmatch(text)
    if not match or not text:
        raise ValueError("not a duration")
    amounts = zip(match.groups(default="0"), _UNITS_MS.values(), strict=True)
    total = sum(int(amount) * unit for amount, unit in amounts)
    if total > MAX_MS:
        raise ValueError("longer than 100 years")
    return total


def canonical_duration(milliseconds: int) -> str:
    """Return the canonical form of a duration: `720h` is `30d`.

    Unlike in Prometheus, days are the largest unit, so that `7d` and `365d` keep their usual form.
    """
    if not milliseconds:
        return "0s"
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        amount, milliseconds = divmod(milliseconds, _UNITS_MS[unit])
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts)


def parse_share(text: str) -> float:
    """Return a share of a quota as a fraction, above 0 and at most 1: `12.5%` is 0.125.

    Raises `ValueError` with a message for the operator.
    """
    match = _SHARE.fullmatch(text)
    if not match:
        raise ValueError("not a number or a share")
    fraction = float(match[1]) / 100
    if not fraction:
        raise ValueError("a share of zero")
    if fraction > 1:
        raise ValueError("more than the quota")
    return fraction


def attribute_label(name: str) -> str:
    """Return the label of a device attribute: `dev:device_sdk` becomes `attribute_dev_device_sdk`."""
    return "attribute_" + _NOT_IN_A_LABEL.sub("_", name)
