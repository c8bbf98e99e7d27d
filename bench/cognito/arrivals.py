"""What has arrived since the count was last begun anew, and how late the answers went out."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass

from bench.numbers import max_per_window, percentile


@dataclass(frozen=True, slots=True)
class Statistics:
    """One count; times in seconds."""

    seconds: float
    calls: dict[str, int]
    """By operation."""
    max_per_second: dict[str, int]
    """By operation: the most arrivals in any window of one second."""
    lateness_p99: float
    """How much later than due 99 % of the answers went out at the most: what this server adds to the latency."""
    cpu: float
    """Of the server's process, since it started."""

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


class ArrivalLog:
    """Arrivals by operation, kept in memory."""

    def __init__(self, now: float) -> None:
        """Begin to count at `now`, in seconds since the epoch."""
        self._arrivals: defaultdict[str, list[float]] = defaultdict(list)
        self._lateness: list[float] = []
        self._since = now

    def reset(self, now: float) -> None:
        """Forget everything and begin to count anew."""
        self.__init__(now)  # type: ignore[misc] # the very same start

    def record_arrival(self, operation: str, moment: float) -> None:
        """A request has reached this machine's network stack."""
        if moment >= self._since:
            self._arrivals[operation].append(moment)

    def record_response(self, lateness: float) -> None:
        """An answer has gone out so many seconds after it was due."""
        self._lateness.append(lateness)

    def statistics(self, now: float, cpu: float) -> Statistics:
        """The count so far."""
        return Statistics(
            seconds=now - self._since,
            calls={operation: len(moments) for operation, moments in self._arrivals.items()},
            max_per_second={name: max_per_window(moments) for name, moments in self._arrivals.items()},
            lateness_p99=percentile(self._lateness, 99) if self._lateness else 0.0,
            cpu=cpu,
        )
