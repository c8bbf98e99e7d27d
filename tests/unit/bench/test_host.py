from __future__ import annotations

from collections.abc import Callable

import pytest

from bench.errors import NotMeasured
from bench.host import CpuTimes, busy_seconds, other_cores
from bench.lab import ATTEMPTS, DisturbanceRetrier


def test_other_cores_is_total_without_own() -> None:
    before = CpuTimes(wall=10, total=100, own=5)
    after = CpuTimes(wall=20, total=112, own=9)
    assert other_cores(before, after) == pytest.approx(0.8)


def test_other_cores_is_never_negative() -> None:
    assert other_cores(CpuTimes(0, 0, 0), CpuTimes(1, 0.5, 0.51)) == 0


def test_readings_in_wrong_order_are_rejected() -> None:
    with pytest.raises(ValueError, match="not after"):
        other_cores(CpuTimes(1, 0, 0), CpuTimes(1, 0, 0))


def test_busy_time_includes_steal_and_excludes_iowait() -> None:
    stat = "cpu  100 10 50 9000 700 3 7 30 25 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n"
    assert busy_seconds(stat, 100) == 2.0


def quiet_that_sees(*others: float, tolerant: bool = False) -> DisturbanceRetrier:
    seen = iter(others)

    def during(act: Callable[[], object]) -> float:
        act()
        return next(seen)

    return DisturbanceRetrier(during, tolerant=tolerant, log=lambda _: None, max_cores=0.16, pause=0.0)


def counting() -> tuple[list[int], Callable[[], int]]:
    made: list[int] = []

    def measure() -> int:
        made.append(1)
        return len(made)

    return made, measure


def test_disturbed_measurement_is_repeated() -> None:
    made, measure = counting()
    quiet = quiet_that_sees(0.9, 0.5, 0.1)
    assert quiet.measure_undisturbed("scrape", measure) == 3
    assert len(made) == 3
    assert quiet.max_other_cores == 0.1


def test_busy_machine_is_not_measured() -> None:
    made, measure = counting()
    with pytest.raises(NotMeasured, match=r"too busy: other programs used 0\.90 cores"):
        quiet_that_sees(*[0.9] * ATTEMPTS).measure_undisturbed("scrape", measure)
    assert len(made) == ATTEMPTS


def test_tolerant_retrier_accepts_disturbed_measurement() -> None:
    made, measure = counting()
    quiet = quiet_that_sees(0.9, tolerant=True)
    assert quiet.measure_undisturbed("scrape", measure) == 1
    assert quiet.max_other_cores == 0.9
    assert len(made) == 1
