from __future__ import annotations

import contextlib
import itertools
import threading
from collections import Counter

import pytest

from exporter.aws.rate.limiter import (
    BACKOFF_FACTOR,
    CALM_SECONDS,
    FLOOR_SHARE,
    MAX_LATE_SECONDS,
    METER_SECONDS,
    RECOVERY_SHARE,
    SPACING_MARGIN,
    RateLimiter,
)
from exporter.clock import SystemClock
from exporter.errors import Cancelled
from tests.fakes import ManualClock, eventually
from tests.windows import most_in_any_window


def go_on() -> bool:
    return False


def test_no_window_of_a_second_holds_more_than_the_rate() -> None:
    clock = ManualClock()
    limiter = RateLimiter(100, clock)
    late = itertools.cycle((0.0, MAX_LATE_SECONDS / 2, MAX_LATE_SECONDS, 0.0, 0.0, 4 * MAX_LATE_SECONDS))
    moments = []
    for _ in range(1000):
        limiter.acquire("pool", go_on)
        moments.append(clock.monotonic())
        clock.advance(limiter._next_turn - clock.monotonic() + next(late) + 1e-9)
    assert most_in_any_window(moments) <= 100
    assert moments[-1] - moments[0] < 1000 * (1 / 100 + MAX_LATE_SECONDS)


def test_turns_without_lateness_come_at_the_rate_less_slack() -> None:
    clock = ManualClock()
    limiter = RateLimiter(100, clock)
    moments = []
    for _ in range(1000):
        limiter.acquire("pool", go_on)
        moments.append(clock.monotonic())
        clock.advance(limiter._next_turn - clock.monotonic() + 1e-9)
    assert most_in_any_window(moments) == pytest.approx(100 / (1 + SPACING_MARGIN), abs=1)


def test_a_second_of_turns_leaves_room_for_the_lateness_that_is_allowed() -> None:
    assert SPACING_MARGIN > MAX_LATE_SECONDS


def test_a_turn_missed_is_lost_and_not_caught_up() -> None:
    clock = ManualClock()
    limiter = RateLimiter(10, clock)
    limiter.acquire("pool", go_on)
    clock.advance(60)
    limiter.acquire("pool", go_on)
    assert limiter._next_turn == pytest.approx(clock.monotonic() + (1 + SPACING_MARGIN) / 10)


def test_a_turn_taken_a_little_late_leaves_the_next_in_its_place() -> None:
    clock = ManualClock()
    limiter = RateLimiter(10, clock)
    limiter.acquire("pool", go_on)
    due = limiter._next_turn
    clock.advance((1 + SPACING_MARGIN) / 10 + MAX_LATE_SECONDS / 2)
    limiter.acquire("pool", go_on)
    assert limiter._next_turn == pytest.approx(due + (1 + SPACING_MARGIN) / 10)


def test_pools_that_wait_get_equal_turns_however_many_threads_wait() -> None:
    clock = ManualClock()
    limiter = RateLimiter(1000, clock)
    turns: list[str] = []
    stop = threading.Event()

    def keep_taking(key: str) -> None:
        with contextlib.suppress(Cancelled):
            while True:
                limiter.acquire(key, stop.is_set)
                turns.append(key)

    keys = ["greedy"] * 10 + ["modest"] * 2
    threads = [threading.Thread(target=keep_taking, args=(key,)) for key in keys]
    for thread in threads:
        thread.start()
    for number in range(1, 41):
        assert eventually(lambda expected=number: len(turns) == expected)  # type: ignore[misc] # mypy cannot infer a default of a lambda
        assert eventually(lambda: sum(map(len, limiter._queue._waiters.values())) == len(keys))
        clock.advance(limiter._next_turn - clock.monotonic() + 1e-6)
    stop.set()
    for thread in threads:
        thread.join()
    assert Counter(turns[10:40]) == {"greedy": 15, "modest": 15}


def test_who_is_told_to_stop_leaves_the_line_and_holds_up_nobody() -> None:
    limiter = RateLimiter(2, SystemClock())
    limiter.acquire("first", go_on)
    stop = threading.Event()
    failures: list[Exception] = []

    def wait_in_vain() -> None:
        try:
            limiter.acquire("stopped", stop.is_set)
        except Cancelled as error:
            failures.append(error)

    waiting = threading.Thread(target=wait_in_vain)
    waiting.start()
    assert eventually(lambda: bool(limiter._queue._keys))
    stop.set()
    waiting.join(5)
    assert len(failures) == 1
    assert not limiter._queue._keys
    limiter.acquire("other", go_on)


def test_a_throttle_answer_lowers_the_rate_at_once_and_no_further_within_the_same_second() -> None:
    clock = ManualClock()
    limiter = RateLimiter(100, clock)
    clock.advance(5)
    limiter.throttled()
    assert limiter.current == pytest.approx(100 * BACKOFF_FACTOR)
    clock.advance(CALM_SECONDS / 2)
    limiter.throttled()
    assert limiter.current == pytest.approx(100 * BACKOFF_FACTOR)


def test_throttling_that_goes_on_lowers_the_rate_to_its_floor_and_not_beyond() -> None:
    clock = ManualClock()
    limiter = RateLimiter(100, clock)
    for _ in range(60):
        clock.advance(CALM_SECONDS)
        limiter.throttled()
    assert limiter.current == pytest.approx(100 * FLOOR_SHARE)


def test_throttle_answers_that_come_all_the_time_lower_the_rate_once_a_second() -> None:
    clock = ManualClock()
    limiter = RateLimiter(100, clock)
    rates = []
    for _ in range(200):
        clock.advance(0.02)
        limiter.throttled()
        rates.append(limiter.current)
    assert rates[0] == pytest.approx(100 * BACKOFF_FACTOR)
    assert len(set(rates)) == 4
    assert rates[-1] == pytest.approx(100 * BACKOFF_FACTOR**4)


def test_calm_restores_the_configured_rate_and_no_more() -> None:
    clock = ManualClock()
    limiter = RateLimiter(100, clock)
    clock.advance(5)
    limiter.throttled()
    clock.advance(CALM_SECONDS)
    assert limiter.current == pytest.approx(100 * BACKOFF_FACTOR)
    clock.advance(2)
    assert limiter.current == pytest.approx(100 * (BACKOFF_FACTOR + 2 * RECOVERY_SHARE))
    clock.advance(600)
    assert limiter.current == 100


def test_another_configured_rate_keeps_the_proportion_to_which_throttling_lowered_it() -> None:
    clock = ManualClock()
    limiter = RateLimiter(100, clock)
    clock.advance(5)
    limiter.throttled()
    limiter.configure(10)
    assert limiter.configured == 10
    assert limiter.current == pytest.approx(10 * BACKOFF_FACTOR)


def test_the_wait_is_told() -> None:
    limiter = RateLimiter(20, SystemClock())
    assert limiter.acquire("pool", go_on) < 0.02
    assert limiter.acquire("pool", go_on) == pytest.approx(0.05, abs=0.04)


def test_what_is_used_is_counted_over_the_last_seconds() -> None:
    clock = ManualClock()
    limiter = RateLimiter(10, clock)
    assert limiter.used == 0
    for _ in range(100):
        limiter.acquire("pool", go_on)
        clock.advance(0.1 * (1 + SPACING_MARGIN))
    assert limiter.used == pytest.approx(10, rel=0.05)
    clock.advance(METER_SECONDS / 2)
    assert 3 < limiter.used < 8
    clock.advance(2 * METER_SECONDS)
    assert limiter.used == 0


def test_a_throttle_answer_a_second_after_the_last_lowers_the_rate_again() -> None:
    clock = ManualClock()
    limiter = RateLimiter(100, clock)
    limiter.throttled()
    clock.advance(CALM_SECONDS)
    limiter.throttled()
    assert limiter.current == pytest.approx(100 * BACKOFF_FACTOR**2)


def test_who_stands_further_back_is_told_to_stop_as_soon_and_why() -> None:
    limiter = RateLimiter(0.01, SystemClock())
    limiter.acquire("first", go_on)
    stop, stop_all = threading.Event(), threading.Event()
    said: list[str] = []

    def wait_in_vain(key: str, stopped: threading.Event) -> None:
        try:
            limiter.acquire(key, stopped.is_set)
        except Cancelled as error:
            said.append(f"{key}: {error}")

    ahead = threading.Thread(target=wait_in_vain, args=("ahead", stop_all))
    ahead.start()
    assert eventually(lambda: len(limiter._queue._keys) == 1)
    behind = threading.Thread(target=wait_in_vain, args=("behind", stop))
    behind.start()
    assert eventually(lambda: len(limiter._queue._keys) == 2)
    stop.set()
    behind.join(5)
    assert said == ["behind: told to stop while waiting for the rate budget"]
    stop_all.set()
    ahead.join(5)
    assert not ahead.is_alive()


def test_keys_have_their_turns_in_the_order_in_which_they_came_and_one_waiter_at_a_time() -> None:
    limiter = RateLimiter(1, ManualClock())
    queue = limiter._queue
    turns = []
    with limiter._lock:
        waiting = [(f"{key}{place}", queue.join(key)) for key in "abc" for place in (1, 2)]
        while waiting:
            (first,) = [entry for entry in waiting if queue.is_first(entry[1])]
            turns.append(first[0])
            queue.leave(first[1])
            waiting.remove(first)
    assert turns == ["a1", "b1", "c1", "a2", "b2", "c2"]
