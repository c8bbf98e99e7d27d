"""Request arrivals and response lateness since the last reset."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass

from bench.numbers import max_per_window, percentile


@dataclass(frozen=True, slots=True)
class Statistics:
    """Statistics since the last reset. Times are in seconds."""

    seconds: float
    calls: dict[str, int]
    """Number of calls by operation."""
    max_per_second: dict[str, int]
    """Maximum number of arrivals in any one-second window, by operation."""
    lateness_p99: float
    """99th percentile of the delay of responses beyond their due time, which this server adds to the latency."""
    cpu: float
    """CPU time of the server process since it started."""

    def as_dict(self) -> dict[str, object]:
        """Return the statistics for JSON."""
        return asdict(self)


class ArrivalLog:
    """In-memory log of arrivals by operation."""

    def __init__(self, now: float) -> None:
        """Start at `now`, in seconds since the epoch."""
        self._arrivals: defaultdict[str, list[float]] = defaultdict(list)
        self._lateness: list[float] = []
        self._since = now

    def reset(self, now: float) -> None:
        """Discard all entries and start at `now`."""
        self.__init__(now)  # type: ignore[misc] # the same initial state

    def record_arrival(self, operation: str, moment: float) -> None:
        """Record that a request has reached the network stack."""
        if moment >= self._since:
            self._arrivals[operation].append(moment)

    def record_response(self, lateness: float) -> None:
        """Record that a response was sent `lateness` seconds after it was due."""
        self._lateness.append(lateness)

    def statistics(self, now: float, cpu: float) -> Statistics:
        """Return the statistics since the last reset."""
        return Statistics(
            seconds=now - self._since,
            calls={operation: len(moments) for operation, moments in self._arrivals.items()},
            max_per_second={name: max_per_window(moments) for name, moments in self._arrivals.items()},
            lateness_p99=percentile(self._lateness, 99) if self._lateness else 0.0,
            cpu=cpu,
        )
