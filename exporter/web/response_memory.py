"""Limit for the memory held by responses that clients have not read yet."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition

from exporter.clock import Clock

Abort = Callable[[], None]


@dataclass(frozen=True, slots=True)
class ResponseLimits:
    """Limits over all connections of a server."""

    total_bytes: int = 32 * 1024 * 1024
    """Size of all bodies in flight; a body that several clients share counts once."""
    min_bodies: int = 2
    """Bodies allowed in flight at any size, at least 1: a pair of Prometheus servers must always be able to scrape."""
    uncounted_bytes: int = 64 * 1024
    """Bodies up to this size are not counted; the number of connections limits them."""
    min_seconds: float = 1.0
    """Time for which a body in flight cannot be evicted."""
    evict_seconds: float = 0.5
    """Timeout in seconds for aborted responses to release their memory."""


@dataclass(slots=True)
class _InFlight:
    """A body in flight and the abort callback of each client that receives it."""

    body: bytes
    last_joined: float = 0.0
    """Monotonic time at which the last client joined."""
    aborts: list[Abort] = field(default_factory=list)


class ResponseMemoryLimit:
    """Reserves memory for response bodies. Thread-safe.

    If a body does not fit, the oldest bodies in flight are evicted: their responses are aborted. Only one body at a
    time waits for the freed memory, which is reserved for it.
    """

    def __init__(self, clock: Clock, limits: ResponseLimits) -> None:
        self._clock = clock
        self._limits = limits
        self._in_flight: dict[int, _InFlight] = {}  # by id(): clients of one rendering share the same object
        self._changed = Condition()
        self._waiting: bytes | None = None

    @contextmanager
    def reserve(self, body: bytes, abort: Abort) -> Iterator[bool]:
        """Reserve memory for a body until the context ends, and yield whether that was possible.

        `abort` is called by another thread. It must not block, and must cause the context to exit promptly.
        """
        if len(body) <= self._limits.uncounted_bytes:
            yield True
            return
        reserved = self._try_reserve(body, abort)
        try:
            yield reserved
        finally:
            if reserved:
                self._release(body, abort)

    def _try_reserve(self, body: bytes, abort: Abort) -> bool:
        with self._changed:
            if self._waiting is body:  # another client of the same rendering is waiting: share its result
                self._changed.wait_for(lambda: self._waiting is not body, self._limits.evict_seconds)
            if id(body) not in self._in_flight:
                if self._waiting is not None:
                    return False
                if not self._fits(body, self._in_flight.values()) and not self._evict_for(body):
                    return False
            entry = self._in_flight.setdefault(id(body), _InFlight(body))
            entry.last_joined = self._clock.monotonic()
            entry.aborts.append(abort)
            return True

    def _release(self, body: bytes, abort: Abort) -> None:
        with self._changed:
            entry = self._in_flight[id(body)]
            entry.aborts.remove(abort)
            if not entry.aborts:
                del self._in_flight[id(body)]
                self._changed.notify_all()

    def _fits(self, body: bytes, others: Collection[_InFlight]) -> bool:
        """Return True if a body is within the limits in addition to `others`."""
        size = len(body) + sum(len(other.body) for other in others)
        return len(others) < self._limits.min_bodies or size <= self._limits.total_bytes

    def _evict_for(self, body: bytes) -> bool:
        """Abort the responses whose memory the body needs. Return True if they ended in time."""
        victims = self._victims_for(body)
        if not victims:
            return False
        for abort in [abort for victim in victims for abort in victim.aborts]:
            abort()
        self._waiting = body
        try:
            return self._changed.wait_for(
                lambda: self._fits(body, self._in_flight.values()), self._limits.evict_seconds
            )
        finally:
            self._waiting = None
            self._changed.notify_all()

    def _victims_for(self, body: bytes) -> list[_InFlight]:
        """Return the oldest bodies to evict, or none if one of them is younger than `min_seconds`."""
        evictable_before = self._clock.monotonic() - self._limits.min_seconds
        remaining = sorted(self._in_flight.values(), key=lambda entry: entry.last_joined)
        victims: list[_InFlight] = []
        while not self._fits(body, remaining):
            if remaining[0].last_joined > evictable_before:
                return []
            victims.append(remaining.pop(0))
        return victims
