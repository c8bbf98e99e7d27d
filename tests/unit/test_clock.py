from __future__ import annotations

import time

from exporter.clock import SystemClock


def test_the_wall_is_the_machines() -> None:
    before = time.time()
    assert before <= SystemClock().wall() <= time.time()


def test_monotonic_time_is_one_for_all_clocks_of_the_process() -> None:
    moments = [time.monotonic(), SystemClock().monotonic(), SystemClock().monotonic(), time.monotonic()]
    assert moments == sorted(moments)
