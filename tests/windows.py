"""Number of events in a time window."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable


def most_in_any_window(moments: Iterable[float], seconds: float = 1.0) -> int:
    """Return the largest number of events in any half-open window of this many seconds."""
    ordered = sorted(moments)
    return max((bisect_left(ordered, start + seconds) - i for i, start in enumerate(ordered)), default=0)
