"""Measurement of the rate limit: share of the configured rate that is used, and maximum rate."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench.figures import STRICT_UNIT, Figure, Row, Target
from bench.lab import READ, Lab
from bench.numbers import samples
from bench.processes_under_test import LoopbackCognito, ProcessUnderTest, SweepSettings
from bench.scraping import wait_until

RATES = (50, 200, 1000)

POOLS = {1000: 4}
"""Pools per rate. Pages of one listing are sequential, 80 ms each, so one pool has at most 750 users per second."""

ENDLESS = 200_000
"""Number of users for which no sweep ends during the measurement."""

SETTLE_SECONDS = 2.5


@dataclass(frozen=True, slots=True)
class _Paced:
    share: float
    max_per_second: float


def measure(lab: Lab) -> Iterator[Row]:
    """Measure both figures for each rate."""
    with lab.launcher.start_cognito(users=ENDLESS) as endless:
        for rate in RATES:
            plan = SweepSettings(rate, pools=POOLS.get(rate, 1), detail="pool")
            with lab.launcher.start_exporter(endless, plan) as exporter:
                ours = _windows(lab, endless, exporter, rate)
            with lab.launcher.start_naive(endless, SweepSettings(rate)) as naive:
                theirs = _windows(lab, endless, naive, rate)
            yield Figure(
                f"share of the configured {rate} calls/s used",
                "%",
                samples(100 * one.share for one in ours),
                samples(100 * one.share for one in theirs),
                targets=(Target(98, stretch=99, at_least=True),),
            )
            yield Figure(
                f"most calls in any second at {rate} calls/s",
                STRICT_UNIT,
                samples(one.max_per_second for one in ours),
                samples(one.max_per_second for one in theirs),
                targets=(Target(rate),),
            )


def _windows(lab: Lab, loopback: LoopbackCognito, process: ProcessUnderTest, rate: int) -> list[_Paced]:
    """Return the figures of several windows, the first of which begins when the rate is stable."""
    loopback.reset()
    wait_until(lambda: loopback.statistics().calls.get(READ), alive=process.child.require_alive)
    time.sleep(SETTLE_SECONDS)
    return list(lab.repeat(f"{process.child.name} at {rate}/s", lambda: _window(lab, loopback, process, rate)))


def _window(lab: Lab, loopback: LoopbackCognito, process: ProcessUnderTest, rate: int) -> _Paced:
    with lab.count_calls(loopback) as window:
        time.sleep(lab.scale.window)
    process.child.require_alive()
    return _Paced(window.calls / window.seconds / rate, window.max_per_second)
