"""Rate limiter for one account, Region and quota category.

AWS shares a quota between all callers of an account, so each request of the exporter leaves less for production
sign-ins. The limiter admits at most the configured rate in any one-second window (requests that open a connection may
arrive later than their slot), serves waiting pools round-robin, and lowers the rate after throttling, then raises it
gradually.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from exporter.clock import Clock
from exporter.errors import Cancelled

MAX_LATE_SECONDS = 0.005
"""Maximum lateness in seconds at which a slot is used without moving later slots.

A later use moves them: missed slots are skipped, not sent in a burst.
"""

SPACING_MARGIN = 0.013
"""Spacing added between slots, as a fraction of 1 / rate.

rate + 1 slots span 1 + SPACING_MARGIN seconds, which absorbs MAX_LATE_SECONDS and network jitter.
"""

THROTTLED_RATE_FACTOR = 0.7
"""Factor for the rate after throttling."""

MIN_RATE_FRACTION = 0.1
"""Lower limit of the rate, as a fraction of the configured rate. Some requests are needed to detect recovery."""

COOLDOWN_SECONDS = 1.0
"""Minimum time between two reductions, and between throttling and recovery. Responses to requests that were sent before
a reduction say nothing about the new rate."""

RECOVERY_FRACTION = 0.05
"""Fraction of the configured rate that is regained per second: from 10 % to 100 % in 18 seconds."""

CANCEL_CHECK_SECONDS = 0.2

METER_SECONDS = 5.0
"""Window over which the used rate is measured."""


class RateLimiter:
    """Rate limiter that admits one request per slot. Thread-safe."""

    def __init__(self, rate: float, clock: Clock) -> None:
        """Allow `rate` requests per second."""
        self._clock = clock
        self._lock = threading.Lock()
        self._queue = FairQueue(self._lock)
        self._configured = rate
        self._current = rate
        self.next_slot = float("-inf")
        """Time of the next slot in monotonic seconds."""
        self._throttled_at = float("-inf")
        self._lowered_at = float("-inf")
        self._adjusted_at = clock.monotonic()
        self._meter = _Meter(clock.monotonic())

    @property
    def configured(self) -> float:
        """Configured rate in requests per second."""
        return self._configured

    @property
    def current(self) -> float:
        """Current rate in requests per second; lower than the configured rate after throttling."""
        with self._lock:
            return self._recover(self._clock.monotonic())

    @property
    def used(self) -> float:
        """Admitted requests per second over the last METER_SECONDS."""
        with self._lock:
            return self._meter.rate(self._clock.monotonic())

    @property
    def waiting(self) -> int:
        """Number of requests that wait for a slot."""
        with self._lock:
            return len(self._queue)

    def configure(self, rate: float) -> None:
        """Change the configured rate. The current rate keeps its proportion to it."""
        with self._lock:
            self._current = self._recover(self._clock.monotonic()) * rate / self._configured
            self._configured = rate

    def acquire(self, key: str, cancelled: Callable[[], bool]) -> float:
        """Wait for a slot and return the time waited in seconds. Keys are served round-robin.

        Raises `Cancelled` within CANCEL_CHECK_SECONDS after `cancelled` returns true.
        """
        arrived = self._clock.monotonic()
        with self._lock:
            waiter = self._queue.join(key)
            try:
                now = self._wait_for_slot(waiter, cancelled)
                slot = self.next_slot if now - self.next_slot <= MAX_LATE_SECONDS else now
                self.next_slot = slot + (1 + SPACING_MARGIN) / self._recover(now)
                self._meter.count(now)
            finally:
                self._queue.leave(waiter)
        return now - arrived

    def on_throttle(self) -> None:
        """Lower the rate after AWS has throttled a request."""
        with self._lock:
            now = self._clock.monotonic()
            current = self._recover(now)
            if now - self._lowered_at >= COOLDOWN_SECONDS:
                self._current = max(current * THROTTLED_RATE_FACTOR, self._configured * MIN_RATE_FRACTION)
                self._lowered_at = now
            self._throttled_at = self._adjusted_at = now

    def _wait_for_slot(self, waiter: Waiter, cancelled: Callable[[], bool]) -> float:
        while True:
            if cancelled():
                raise Cancelled("canceled while waiting for the rate limiter")
            now = self._clock.monotonic()
            if not self._queue.is_first(waiter):
                waiter.wake.wait(CANCEL_CHECK_SECONDS)
            elif now < self.next_slot:
                waiter.wake.wait(min(self.next_slot - now, CANCEL_CHECK_SECONDS))
            else:
                return now

    def _recover(self, now: float) -> float:
        """Update and return the current rate."""
        recovering_since = max(self._adjusted_at, self._throttled_at + COOLDOWN_SECONDS)
        if now > recovering_since:
            regained = self._configured * RECOVERY_FRACTION * (now - recovering_since)
            self._current = min(self._configured, self._current + regained)
            self._adjusted_at = now
        return self._current


class _Meter:
    """Counter of events in the current and in the previous window.

    The previous count is weighted with the part of its window that is within the last METER_SECONDS.
    """

    __slots__ = ("_count", "_previous", "_started")

    def __init__(self, now: float) -> None:
        self._started = now
        self._previous = 0
        self._count = 0

    def count(self, now: float) -> None:
        self._advance(now)
        self._count += 1

    def rate(self, now: float) -> float:
        self._advance(now)
        weight = 1 - (now - self._started) / METER_SECONDS
        return (self._previous * weight + self._count) / METER_SECONDS

    def _advance(self, now: float) -> None:
        windows = int((now - self._started) / METER_SECONDS)
        if windows:
            self._previous = self._count if windows == 1 else 0
            self._count = 0
            self._started += windows * METER_SECONDS


class Waiter:
    """Thread that waits for a slot."""

    __slots__ = ("key", "wake")

    def __init__(self, key: str, lock: threading.Lock) -> None:
        self.key = key
        self.wake = threading.Condition(lock)


class FairQueue:
    """Queue that serves keys round-robin, and the waiters of a key in order of arrival. The caller holds the lock."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._keys: deque[str] = deque()
        self._waiters: dict[str, deque[Waiter]] = {}

    def __len__(self) -> int:
        return sum(len(waiters) for waiters in self._waiters.values())

    def join(self, key: str) -> Waiter:
        """Add a waiter."""
        waiter = Waiter(key, self._lock)
        if key not in self._waiters:
            self._waiters[key] = deque()
            self._keys.append(key)
        self._waiters[key].append(waiter)
        return waiter

    def is_first(self, waiter: Waiter) -> bool:
        """Return True if the waiter is the next to be served."""
        return self._keys[0] == waiter.key and self._waiters[waiter.key][0] is waiter

    def leave(self, waiter: Waiter) -> None:
        """Remove a waiter from any position, and wake the first waiter."""
        waiters = self._waiters[waiter.key]
        was_first = self.is_first(waiter)
        waiters.remove(waiter)
        if not waiters:
            del self._waiters[waiter.key]
            self._keys.remove(waiter.key)
        elif was_first:
            self._keys.rotate(-1)
        if self._keys:
            self._waiters[self._keys[0]][0].wake.notify()
