"""How many events fell into one window of time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable


def most_in_any_window(moments: Iterable[float], seconds: float = 1.0) -> int:
    """The most events in any half-open window of so many seconds, wherever it begins."""
    ordered = sorted(moments)
    return max((bisect_left(ordered, start + seconds) - i for i, start in enumerate(ordered)), default=0)
