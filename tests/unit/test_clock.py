from __future__ import annotations

import time

from exporter.clock import SystemClock


def test_wall_clock_is_that_of_the_system() -> None:
    before = time.time()
    assert before <= SystemClock().wall() <= time.time()


def test_monotonic_clock_is_shared_by_all_instances() -> None:
    moments = [time.monotonic(), SystemClock().monotonic(), SystemClock().monotonic(), time.monotonic()]
    assert moments == sorted(moments)
