"""How much of the configured rate is used, and whether it is ever exceeded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench.figures import STRICT_UNIT, Figure, Row, Target
from bench.lab import READ, Lab
from bench.numbers import samples
from bench.scraping import wait_until
from bench.subjects import Plan, Subject, World

RATES = (50, 200, 1000)

POOLS = {1000: 4}
"""The pages of one listing come one after the other, 80 ms each: one pool gives no more than 750 users per second."""

ENDLESS = 200_000
"""Users: no sweep ends while it is measured."""

SETTLE_SECONDS = 2.5


@dataclass(frozen=True, slots=True)
class _Paced:
    share: float
    fullest_second: float


def measure(lab: Lab) -> Iterator[Row]:
    """Both figures for each rate."""
    with lab.subjects.world(users=ENDLESS) as endless:
        for rate in RATES:
            plan = Plan(rate, pools=POOLS.get(rate, 1), detail="pool")
            with lab.subjects.exporter(endless, plan) as exporter:
                ours = _windows(lab, endless, exporter, rate)
            with lab.subjects.naive(endless, Plan(rate)) as naive:
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
                samples(one.fullest_second for one in ours),
                samples(one.fullest_second for one in theirs),
                targets=(Target(rate),),
            )


def _windows(lab: Lab, world: World, subject: Subject, rate: int) -> list[_Paced]:
    """The figures of several windows, the first of which begins once calls have settled."""
    world.begin()
    wait_until(lambda: world.statistics().calls.get(READ), alive=subject.child.require_alive)
    time.sleep(SETTLE_SECONDS)
    return list(lab.repeated(f"{subject.child.name} at {rate}/s", lambda: _window(lab, world, subject, rate)))


def _window(lab: Lab, world: World, subject: Subject, rate: int) -> _Paced:
    with lab.counted(world) as window:
        time.sleep(lab.scale.window)
    subject.child.require_alive()
    return _Paced(window.calls / window.seconds / rate, window.fullest_second)
