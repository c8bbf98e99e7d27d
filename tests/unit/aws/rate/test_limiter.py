from __future__ import annotations

import contextlib
import itertools
import threading
from collections import Counter

import pytest

from exporter.aws.rate.limiter import (
    COOLDOWN_SECONDS,
    MAX_LATE_SECONDS,
    METER_SECONDS,
    MIN_RATE_FRACTION,
    RECOVERY_FRACTION,
    SPACING_MARGIN,
    THROTTLED_RATE_FACTOR,
    FairQueue,
    RateLimiter,
)
from exporter.clock import SystemClock
from exporter.errors import Cancelled
from tests.fakes import ManualClock, eventually
from tests.windows import most_in_any_window


def never_cancelled() -> bool:
    return False


def test_limiter_with_late_slots_never_exceeds_the_rate() -> None:
    clock = ManualClock()
    limiter = RateLimiter(100, clock)
    late = itertools.cycle((0.0, MAX_LATE_SECONDS / 2, MAX_LATE_SECONDS, 0.0, 0.0, 4 * MAX_LATE_SECONDS))
    times = []
    for _ in range(1000):
        limiter.acquire("pool", never_cancelled)
        times.append(clock.monotonic())
        clock.advance(limiter.next_slot - clock.monotonic() + next(late) + 1e-9)
    assert most_in_any_window(times) <= 100
    assert times[-1] - times[0] < 1000 * (1 / 100 + MAX_LATE_SECONDS)


def test_limiter_without_late_slots_uses_rate_minus_margin() -> None:
    clock = ManualClock()
    limiter = RateLimiter(100, clock)
    times = []
    for _ in range(1000):
        limiter.acquire("pool", never_cancelled)
        times.append(clock.monotonic())
        clock.advance(limiter.next_slot - clock.monotonic() + 1e-9)
    assert most_in_any_window(times) == pytest.approx(100 / (1 + SPACING_MARGIN), abs=1)


def test_spacing_margin_covers_the_allowed_lateness() -> None:
    assert SPACING_MARGIN > MAX_LATE_SECONDS


def test_missed_slots_are_not_caught_up() -> None:
    clock = ManualClock()
    limiter = RateLimiter(10, clock)
    limiter.acquire("pool", never_cancelled)
    clock.advance(60)
    limiter.acquire("pool", never_cancelled)
    assert limiter.next_slot == pytest.approx(clock.monotonic() + (1 + SPACING_MARGIN) / 10)


def test_slightly_late_slot_does_not_move_the_next() -> None:
    clock = ManualClock()
    limiter = RateLimiter(10, clock)
    limiter.acquire("pool", never_cancelled)
    due = limiter.next_slot
    clock.advance((1 + SPACING_MARGIN) / 10 + MAX_LATE_SECONDS / 2)
    limiter.acquire("pool", never_cancelled)
    assert limiter.next_slot == pytest.approx(due + (1 + SPACING_MARGIN) / 10)


def test_keys_get_equal_shares_with_any_number_of_threads() -> None:
    clock = ManualClock()
    limiter = RateLimiter(1000, clock)
    admitted: list[str] = []
    stop = threading.Event()

    def acquire_repeatedly(key: str) -> None:
        with contextlib.suppress(Cancelled):
            while True:
                limiter.acquire(key, stop.is_set)
                admitted.append(key)

    keys = ["greedy"] * 10 + ["modest"] * 2
    threads = [threading.Thread(target=acquire_repeatedly, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for number in range(1, 41):
        assert eventually(lambda expected=number: len(admitted) == expected)  # type: ignore[misc] # mypy cannot infer a default of a lambda
        assert eventually(lambda: limiter.waiting == len(keys))
        clock.advance(limiter.next_slot - clock.monotonic() + 1e-6)
    stop.set()
    for thread in threads:
        thread.join()
    assert Counter(admitted[10:40]) == {"greedy": 15, "modest": 15}


def test_canceled_waiter_leaves_the_queue() -> None:
    limiter = RateLimiter(2, SystemClock())
    limiter.acquire("first", never_cancelled)
    stop = threading.Event()
    failures: list[Exception] = []

    def acquire() -> None:
        try:
            limiter.acquire("stopped", stop.is_set)
        except Cancelled as error:
            failures.append(error)

    waiting = threading.Thread(target=acquire)
    waiting.start()
    assert eventually(lambda: limiter.waiting == 1)
    stop.set()
    waiting.join(5)
    assert len(failures) == 1
    assert limiter.waiting == 0
    limiter.acquire("other", never_cancelled)


def test_throttling_lowers_the_rate_once_per_cooldown() -> None:
    clock = ManualClock()
    limiter = RateLimiter(100, clock)
    clock.advance(5)
    limiter.on_throttle()
    assert limiter.current == pytest.approx(100 * THROTTLED_RATE_FACTOR)
    clock.advance(COOLDOWN_SECONDS / 2)
    limiter.on_throttle()
    assert limiter.current == pytest.approx(100 * THROTTLED_RATE_FACTOR)


def test_continued_throttling_lowers_the_rate_to_the_minimum() -> None:
    clock = ManualClock()
    limiter = RateLimiter(100, clock)
    for _ in range(60):
        clock.advance(COOLDOWN_SECONDS)
        limiter.on_throttle()
    assert limiter.current == pytest.approx(100 * MIN_RATE_FRACTION)


def test_frequent_throttling_lowers_the_rate_once_per_second() -> None:
    clock = ManualClock()
    limiter = RateLimiter(100, clock)
    rates = []
    for _ in range(200):
        clock.advance(0.02)
        limiter.on_throttle()
        rates.append(limiter.current)
    assert rates[0] == pytest.approx(100 * THROTTLED_RATE_FACTOR)
    assert len(set(rates)) == 4
    assert rates[-1] == pytest.approx(100 * THROTTLED_RATE_FACTOR**4)


def test_rate_recovers_to_the_configured_rate() -> None:
    clock = ManualClock()
    limiter = RateLimiter(100, clock)
    clock.advance(5)
    limiter.on_throttle()
    clock.advance(COOLDOWN_SECONDS)
    assert limiter.current == pytest.approx(100 * THROTTLED_RATE_FACTOR)
    clock.advance(2)
    assert limiter.current == pytest.approx(100 * (THROTTLED_RATE_FACTOR + 2 * RECOVERY_FRACTION))
    clock.advance(600)
    assert limiter.current == 100


def test_new_configured_rate_keeps_the_reduction() -> None:
    clock = ManualClock()
    limiter = RateLimiter(100, clock)
    clock.advance(5)
    limiter.on_throttle()
    limiter.configure(10)
    assert limiter.configured == 10
    assert limiter.current == pytest.approx(10 * THROTTLED_RATE_FACTOR)


def test_acquire_returns_the_time_waited() -> None:
    limiter = RateLimiter(20, SystemClock())
    assert limiter.acquire("pool", never_cancelled) < 0.02
    assert limiter.acquire("pool", never_cancelled) == pytest.approx(0.05, abs=0.04)


def test_used_rate_is_measured_over_the_window() -> None:
    clock = ManualClock()
    limiter = RateLimiter(10, clock)
    assert limiter.used == 0
    for _ in range(100):
        limiter.acquire("pool", never_cancelled)
        clock.advance(0.1 * (1 + SPACING_MARGIN))
    assert limiter.used == pytest.approx(10, rel=0.05)
    clock.advance(METER_SECONDS / 2)
    assert 3 < limiter.used < 8
    clock.advance(2 * METER_SECONDS)
    assert limiter.used == 0


def test_throttling_after_the_cooldown_lowers_the_rate_again() -> None:
    clock = ManualClock()
    limiter = RateLimiter(100, clock)
    limiter.on_throttle()
    clock.advance(COOLDOWN_SECONDS)
    limiter.on_throttle()
    assert limiter.current == pytest.approx(100 * THROTTLED_RATE_FACTOR**2)


def test_canceled_waiter_behind_another_is_canceled_at_once() -> None:
    limiter = RateLimiter(0.01, SystemClock())
    limiter.acquire("first", never_cancelled)
    stop, stop_all = threading.Event(), threading.Event()
    errors: list[str] = []

    def acquire(key: str, stopped: threading.Event) -> None:
        try:
            limiter.acquire(key, stopped.is_set)
        except Cancelled as error:
            errors.append(f"{key}: {error}")

    ahead = threading.Thread(target=acquire, args=("ahead", stop_all))
    ahead.start()
    assert eventually(lambda: limiter.waiting == 1)
    behind = threading.Thread(target=acquire, args=("behind", stop))
    behind.start()
    assert eventually(lambda: limiter.waiting == 2)
    stop.set()
    behind.join(5)
    assert errors == ["behind: canceled while waiting for the rate limiter"]
    stop_all.set()
    ahead.join(5)
    assert not ahead.is_alive()


def test_queue_serves_keys_round_robin() -> None:
    lock = threading.Lock()
    queue = FairQueue(lock)
    admitted = []
    with lock:
        waiting = [(f"{key}{place}", queue.join(key)) for key in "abc" for place in (1, 2)]
        while waiting:
            (first,) = [entry for entry in waiting if queue.is_first(entry[1])]
            admitted.append(first[0])
            queue.leave(first[1])
            waiting.remove(first)
    assert admitted == ["a1", "b1", "c1", "a2", "b2", "c2"]
