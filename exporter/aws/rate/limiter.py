"""The rate budget: how many requests may leave per second for one account, Region and quota category.

Amazon pools a quota over every caller of the account, so what this program takes it takes from the
sign-ups of production. The promises, in this order: never more than the configured rate in any
one-second window; every pool that waits gets the same share; a throttle answer lowers the rate at once,
and calm restores it slowly.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from exporter.clock import Clock
from exporter.errors import Cancelled

MAX_LATE_SECONDS = 0.005
"""Seconds by which a turn may be taken late and the next still keep its own time.

A turn taken later than that moves all that follow: turns are lost rather than caught up in a burst.
"""

SPACING_MARGIN = 0.013
"""Share of the rate given up, so that late turns and jitter on the wire still fit one second.

Turns stand (1 + SLACK) / rate apart. Rate + 1 turns then span 1 + SLACK seconds; LATENESS of that may be
lost to a late first turn, the rest to differences in the time that two requests take to arrive.
"""

BACKOFF_FACTOR = 0.7
"""A throttled second multiplies the rate by this."""

FLOOR_SHARE = 0.1
"""The rate never falls below this share of the configured one: something must notice that calm returned."""

CALM_SECONDS = 1.0
"""The rate falls at most once in so long, and does not recover for so long after a throttle answer: answers to
requests sent before the change say nothing about the new rate."""

RECOVERY_SHARE = 0.05
"""Share of the configured rate regained per second of calm: ten to a hundred per cent in 18 seconds."""

CANCEL_CHECK_SECONDS = 0.2

METER_SECONDS = 5.0
"""The rate in use is counted over so long."""


class RateLimiter:
    """Lets one request go at a time; safe to use from many threads."""

    def __init__(self, rate: float, clock: Clock) -> None:
        """Allow `rate` requests per second."""
        self._clock = clock
        self._lock = threading.Lock()
        self._queue = _FairQueue(self._lock)
        self._configured = rate
        self._current = rate
        self._next_turn = float("-inf")
        self._throttled_at = float("-inf")
        self._lowered_at = float("-inf")
        self._adjusted_at = clock.monotonic()
        self._meter = _Meter(clock.monotonic())

    @property
    def configured(self) -> float:
        """Requests per second that the configuration allows."""
        return self._configured

    @property
    def current(self) -> float:
        """Requests per second at the moment: lower than configured after throttling."""
        with self._lock:
            return self._recovered(self._clock.monotonic())

    @property
    def used(self) -> float:
        """Requests per second that took their turn in the last METER_SECONDS."""
        with self._lock:
            return self._meter.rate(self._clock.monotonic())

    def configure(self, rate: float) -> None:
        """Allow another rate from now on; how far throttling has lowered it stays in proportion."""
        with self._lock:
            self._current = self._recovered(self._clock.monotonic()) * rate / self._configured
            self._configured = rate

    def acquire(self, key: str, cancelled: Callable[[], bool]) -> float:
        """Wait for a turn and return the seconds waited; keys that wait get turns in equal numbers.

        Raises `Cancelled` soon after `cancelled` says so.
        """
        arrived = self._clock.monotonic()
        with self._lock:
            waiter = self._queue.join(key)
            try:
                now = self._wait_for_turn(waiter, cancelled)
                self._take_turn(now)
            finally:
                self._queue.leave(waiter)
        return now - arrived

    def throttled(self) -> None:
        """AWS has refused a request of this category because of its rate."""
        with self._lock:
            now = self._clock.monotonic()
            current = self._recovered(now)
            if now - self._lowered_at >= CALM_SECONDS:
                self._current = max(current * BACKOFF_FACTOR, self._configured * FLOOR_SHARE)
                self._lowered_at = now
            self._throttled_at = self._adjusted_at = now

    def _wait_for_turn(self, waiter: _Waiter, cancelled: Callable[[], bool]) -> float:
        while True:
            if cancelled():
                raise Cancelled("told to stop while waiting for the rate budget")
            now = self._clock.monotonic()
            if not self._queue.is_first(waiter):
                waiter.wake.wait(CANCEL_CHECK_SECONDS)
            elif now < self._next_turn:
                waiter.wake.wait(min(self._next_turn - now, CANCEL_CHECK_SECONDS))
            else:
                return now

    def _take_turn(self, now: float) -> None:
        due = self._next_turn if now - self._next_turn <= MAX_LATE_SECONDS else now
        self._next_turn = due + (1 + SPACING_MARGIN) / self._recovered(now)
        self._meter.count(now)

    def _recovered(self, now: float) -> float:
        calm_since = max(self._adjusted_at, self._throttled_at + CALM_SECONDS)
        if now > calm_since:
            regained = self._configured * RECOVERY_SHARE * (now - calm_since)
            self._current = min(self._configured, self._current + regained)
            self._adjusted_at = now
        return self._current


class _Meter:
    """How many turns were taken lately, from two counts: of the stretch under way, and of the one before.

    The older one counts for the part of it that still lies within the last METER_SECONDS.
    """

    __slots__ = ("_before", "_began", "_count")

    def __init__(self, now: float) -> None:
        self._began = now
        self._before = 0
        self._count = 0

    def count(self, now: float) -> None:
        self._move_on(now)
        self._count += 1

    def rate(self, now: float) -> float:
        self._move_on(now)
        part = 1 - (now - self._began) / METER_SECONDS
        return (self._before * part + self._count) / METER_SECONDS

    def _move_on(self, now: float) -> None:
        stretches = int((now - self._began) / METER_SECONDS)
        if stretches:
            self._before = self._count if stretches == 1 else 0
            self._count = 0
            self._began += stretches * METER_SECONDS


class _Waiter:
    """One thread that waits for its turn."""

    __slots__ = ("key", "wake")

    def __init__(self, key: str, lock: threading.Lock) -> None:
        self.key = key
        self.wake = threading.Condition(lock)


class _FairQueue:
    """Waiters in turns of their keys, first come first served within a key; the caller holds the lock."""

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._keys: deque[str] = deque()
        self._waiters: dict[str, deque[_Waiter]] = {}

    def join(self, key: str) -> _Waiter:
        waiter = _Waiter(key, self._lock)
        if key not in self._waiters:
            self._waiters[key] = deque()
            self._keys.append(key)
        self._waiters[key].append(waiter)
        return waiter

    def is_first(self, waiter: _Waiter) -> bool:
        return self._keys[0] == waiter.key and self._waiters[waiter.key][0] is waiter

    def leave(self, waiter: _Waiter) -> None:
        """Take the waiter out, wherever it stands, and wake the one who is first now."""
        of_key = self._waiters[waiter.key]
        was_first = self.is_first(waiter)
        of_key.remove(waiter)
        if not of_key:
            del self._waiters[waiter.key]
            self._keys.remove(waiter.key)
        elif was_first:
            self._keys.rotate(-1)
        if self._keys:
            self._waiters[self._keys[0]][0].wake.notify()
