"""How much of the configured rate is used, and whether it is ever exceeded."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench.figures import STRICT_UNIT, Figure, Row, Target
from bench.lab import Lab, Window
from bench.numbers import samples
from bench.scraping import wait_until
from bench.subjects import Plan, Subject, World

RATES = (50, 200, 1000)

POOLS = {1000: 4}
"""The pages of one listing come one after the other, 80 ms each: one pool gives no more than 750 users per second."""

ENDLESS = 200_000
"""Users: no sweep of the exporter ends while it is measured."""

NAIVE_SECONDS = 8
"""The naive peer lists all users before it reads the first: its pools hold what it reads in so many seconds."""

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
            with lab.subjects.exporter(endless, plan) as subject:
                ours = list(_windows(lab, endless, subject, rate))
            naive = _naive(lab, rate)
            yield Figure(
                f"share of the configured {rate} calls/s used",
                "%",
                samples(100 * one.share for one in ours),
                samples([100 * naive.share]),
                targets=(Target(98, stretch=99, at_least=True),),
            )
            yield Figure(
                f"most calls in any second at {rate} calls/s",
                STRICT_UNIT,
                samples(one.fullest_second for one in ours),
                samples([naive.fullest_second]),
                targets=(Target(rate),),
            )


def _windows(lab: Lab, world: World, subject: Subject, rate: int) -> Iterator[_Paced]:
    _until_reading(lab, world, subject)
    time.sleep(SETTLE_SECONDS)
    yield from lab.repeated(f"pacing at {rate}/s", lambda: _paced(_window(lab, world, subject), rate))


def _naive(lab: Lab, rate: int) -> _Paced:
    users = rate * NAIVE_SECONDS

    def once() -> _Paced:
        with lab.subjects.world(users=users) as world, lab.subjects.naive(world, Plan(rate)) as subject:
            _until_reading(lab, world, subject)
            time.sleep(1.0)
            return _paced(_window(lab, world, subject, seconds=NAIVE_SECONDS / 2), rate)

    return lab.undisturbed(f"naive pacing at {rate}/s", once)


def _window(lab: Lab, world: World, subject: Subject, seconds: float | None = None) -> Window:
    with lab.counted(world) as window:
        time.sleep(seconds or lab.scale.window)
    subject.child.require_alive()
    return window


def _paced(window: Window, rate: int) -> _Paced:
    return _Paced(window.calls / window.seconds / rate, window.fullest_second)


def _until_reading(lab: Lab, world: World, subject: Subject) -> None:
    world.begin()
    wait_until(
        lambda: world.statistics().calls.get("AdminListDevices"),
        alive=subject.child.require_alive,
        seconds=60,
        what=f"the first read of {subject.child.name}",
    )
    lab.say(f"{subject.child.name} reads")
