"""Statistics: medians, spread, percentiles, and events per time window."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Samples:
    """Repeated measurements of one quantity."""

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.values or not all(map(math.isfinite, self.values)):
            raise ValueError(f"expected at least one finite number, got {self.values}")

    @property
    def median(self) -> float:
        """Median."""
        return median(self.values)

    @property
    def low(self) -> float:
        """Smallest value."""
        return min(self.values)

    @property
    def high(self) -> float:
        """Largest value."""
        return max(self.values)


def samples(values: Iterable[float]) -> Samples:
    """Return the measurements as `Samples`. Raise `ValueError` if there are none or one is not finite."""
    return Samples(tuple(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """Return a percentile (nearest rank). Raise `ValueError` if there are no values."""
    if not values:
        raise ValueError("no values")
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[max(rank, 1) - 1]


def max_per_window(moments: Iterable[float], seconds: float = 1.0) -> int:
    """Return the maximum number of events in any half-open window of `seconds`."""
    ordered = sorted(moments)
    return max((bisect_left(ordered, start + seconds) - i for i, start in enumerate(ordered)), default=0)
