"""Duration of calls that share one rate limit, as pure arithmetic over the calls per quota category.

The daemon serves waiting pools round-robin (`exporter.aws.rate.limiter`). Times are in seconds, rates in calls per
second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exporter.aws.rate.limiter import SPACING_MARGIN


@dataclass(frozen=True, slots=True)
class Load:
    """Calls of one sweep of a pool in one quota category, and the interval between sweeps."""

    calls: float
    interval: float

    @property
    def demand(self) -> float:
        """Mean calls per second if every sweep keeps its interval."""
        return self.calls / self.interval


def turns(rate: float) -> float:
    """Return the calls per second that the rate limiter allows at a configured rate."""
    return rate / (1 + SPACING_MARGIN)


def duration(load: Load, others: Sequence[Load], speed: float) -> float:
    """Return the worst-case duration of one pool's calls at `speed` while the other pools are swept too.

    It is the longer of two cases: all sweeps begin at the same time, as after a start; or the others are due again
    before this one finishes, so that it continues at the rate they leave over. If the rate is nearly used up, a sweep
    that has almost finished when the others are due again takes a few percent longer than either case.
    """
    together = sum(min(load.calls, other.calls) for other in [load, *others]) / speed
    return max(together, load.calls / left_over(others, speed))


def left_over(others: Sequence[Load], speed: float) -> float:
    """Return the rate left for a pool that always waits: each other takes its demand, but at most an equal share."""
    left = speed
    for place, other in enumerate(sorted(others, key=lambda other: other.demand)):
        equal = left / (len(others) - place + 1)
        if other.demand >= equal:
            return equal
        left -= other.demand
    return left


def least_rate(loads: Sequence[Load]) -> float:
    """Return the lowest configured rate at which every pool keeps its interval by `duration`; 0 without calls."""
    at_once = max((sum(min(load.calls, other.calls) for other in loads) / load.interval for load in loads), default=0.0)
    return (1 + SPACING_MARGIN) * max(at_once, sum(load.demand for load in loads))
