"""The arithmetic of measuring: medians, spread, percentiles, and events in windows of time."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Samples:
    """The same thing measured several times."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values or not all(map(math.isfinite, self.values)):
            raise ValueError(f"expected at least one finite number, got {self.values}")

    @property
    def median(self) -> float:
        """The middle value."""
        return median(self.values)

    @property
    def low(self) -> float:
        """The smallest value."""
        return min(self.values)

    @property
    def high(self) -> float:
        """The largest value."""
        return max(self.values)


def samples(values: Iterable[float]) -> Samples:
    """Several measurements of the same thing; raises `ValueError` when there is none, or one is no number."""
    return Samples(tuple(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` per cent of all values do not exceed (nearest rank).

    Raises `ValueError` without any value.
    """
    if not values:
        raise ValueError("no values")
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[max(rank, 1) - 1]


def max_per_window(moments: Iterable[float], seconds: float = 1.0) -> int:
    """The most events in any half-open window of so many seconds, wherever it begins."""
    ordered = sorted(moments)
    return max((bisect_left(ordered, start + seconds) - i for i, start in enumerate(ordered)), default=0)
