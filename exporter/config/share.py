"""Shares of a quota: `20%`, `12.5%`."""

from __future__ import annotations

import re

# The digits are bounded so that no input makes a huge number.
_PATTERN = re.compile(r"([0-9]{1,15}(\.[0-9]{1,15})?)%")


def parse_share(text: str) -> float:
    """The fraction that a share is, above 0 and at most 1: `20%` gives 0.2.

    Raises `ValueError`, whose text says what is wrong.
    """
    match = _PATTERN.fullmatch(text)
    if not match:
        raise ValueError("neither a number nor a share")
    fraction = float(match[1]) / 100
    if not fraction:
        raise ValueError("a share of nothing")
    if fraction > 1:
        raise ValueError("more than the quota")
    return fraction
