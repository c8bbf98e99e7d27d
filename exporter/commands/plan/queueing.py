"""Duration of calls that share one rate limit, as pure arithmetic over the calls per quota category.

The daemon serves waiting pools round-robin (`exporter.aws.rate.limiter`). Times are in seconds, rates in calls per
second.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exporter.aws.rate.limiter import SLACK


@dataclass(frozen=True, slots=True)
class Load:
    """What the sweeps of one pool ask of a category: so many calls, again after so many seconds."""

    calls: float
    interval: float

    @property
    def demand(self) -> float:
        """Calls per second on average, where every sweep keeps its interval."""
        return self.calls / self.interval


def turns(rate: float) -> float:
    """The turns per second that a configured rate really gives."""
    return rate / (1 + SLACK)


def duration(load: Load, others: Sequence[Load], speed: float) -> float:
    """How long the calls of one pool take beside the others, at worst.

    The worse of two cases: all sweeps begin at once, as they do after a start; and the others are due again before this
    one is through, so that it goes on with what they leave. Where the rate is nearly used up, a sweep that is
    almost through when the others are due again takes some hundredths longer than either.
    """
    together = sum(min(load.calls, other.calls) for other in [load, *others]) / speed
    return max(together, load.calls / left_over(others, speed))


def left_over(others: Sequence[Load], speed: float) -> float:
    """The turns per second of a pool that always waits: others take an equal part at the most, or what they need."""
    left = speed
    for place, other in enumerate(sorted(others, key=lambda other: other.demand)):
        equal = left / (len(others) - place + 1)
        if other.demand >= equal:
            return equal
        left -= other.demand
    return left


def least_rate(loads: Sequence[Load]) -> float:
    """The lowest configured rate at which every pool keeps its interval by `duration`; 0 without any calls."""
    at_once = max((sum(min(load.calls, other.calls) for other in loads) / load.interval for load in loads), default=0.0)
    return (1 + SLACK) * max(at_once, sum(load.demand for load in loads))
