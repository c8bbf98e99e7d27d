from __future__ import annotations

import time

from exporter.clock import Clock, SystemClock
from tests.fakes import ManualClock


def test_the_wall_is_the_machines() -> None:
    before = time.time()
    assert before <= SystemClock().wall() <= time.time()


def test_monotonic_time_is_one_for_all_clocks_of_the_process() -> None:
    moments = [time.monotonic(), SystemClock().monotonic(), SystemClock().monotonic(), time.monotonic()]
    assert moments == sorted(moments)


def test_a_turned_clock_moves_as_far_as_it_is_turned() -> None:
    clock: Clock = ManualClock(wall=100.0)
    started = clock.monotonic()
    assert isinstance(clock, ManualClock)
    clock.advance(2.5)
    assert (clock.wall(), clock.monotonic() - started) == (102.5, 2.5)
