"""What the whole thing costs at work: sweeping without a pause, scraped as Prometheus does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench.errors import NotMeasured
from bench.figures import Basis, Figure, Row, Target
from bench.lab import Lab
from bench.measure.swept import until_swept
from bench.numbers import samples
from bench.scraping import Scraper
from bench.subjects import Plan, Subject, World

RATE = 200
USERS = 2_500
LEAST_SHARE = 0.9
"""A subject that reads less than this of the rate does less work than the other, so that the two cannot be compared."""


@dataclass(frozen=True, slots=True)
class _Side:
    subject: Subject
    world: World
    scraper: Scraper


@dataclass(frozen=True, slots=True)
class _Cost:
    millicores: float
    milliseconds_per_call: float
    share: float


def measure(lab: Lab) -> Iterator[Row]:
    """Both side by side, over the same seconds, so that both meet the same machine."""
    plan = Plan(RATE)
    users = lab.scale.size(USERS)
    with (
        lab.subjects.world(users=users) as our_world,
        lab.subjects.world(users=users) as naive_world,
        lab.subjects.exporter(our_world, plan) as exporter,
        lab.subjects.naive(naive_world, plan, "--every-series") as naive,
        exporter.scraper() as our_scraper,
        naive.scraper() as naive_scraper,
    ):
        sides = [_Side(exporter, our_world, our_scraper), _Side(naive, naive_world, naive_scraper)]
        for side in sides:
            until_swept(side.subject, devices=2 * users)
        costs = list(lab.repeated("end to end", lambda: _window(lab, sides)))
    ours, theirs = zip(*costs, strict=True)
    title = f"CPU end to end, {RATE} calls/s, {2 * users:,} devices, scrape every {lab.scale.long_window:.0f} s"
    yield Figure(
        title,
        "ms per call, scrapes included",
        samples(one.milliseconds_per_call for one in ours),
        samples(one.milliseconds_per_call for one in theirs),
        targets=(Target(2.4, Basis.UNDER_NAIVE, stretch=4),),
    )
    yield Figure(
        "… the same as a share of one core",
        "millicores",
        samples(one.millicores for one in ours),
        samples(one.millicores for one in theirs),
    )
    yield Figure(
        f"… calls made of {RATE}/s, pauses between sweeps included",
        "%",
        samples(100 * one.share for one in ours),
        samples(100 * one.share for one in theirs),
    )


def _window(lab: Lab, sides: list[_Side]) -> list[_Cost]:
    """The cost of each side over one scrape interval, a scrape of each in its middle."""
    seconds = lab.scale.long_window
    used = [side.subject.child.cpu_seconds for side in sides]
    started = time.monotonic()
    with lab.counted(sides[0].world) as first, lab.counted(sides[1].world) as second:
        time.sleep(seconds / 2)
        for side in sides:
            side.scraper.metrics()
        time.sleep(max(0.0, seconds - (time.monotonic() - started)))
        elapsed = time.monotonic() - started
        spent = [side.subject.child.cpu_seconds - before for side, before in zip(sides, used, strict=True)]
    costs = [
        _Cost(1000 * cpu / elapsed, 1000 * cpu / max(1, window.calls), window.calls / window.seconds / RATE)
        for cpu, window in zip(spent, (first, second), strict=True)
    ]
    if not lab.tolerant and min(cost.share for cost in costs) < LEAST_SHARE:
        ours, theirs = (f"{cost.share:.0%}" for cost in costs)
        raise NotMeasured(f"of {RATE} calls/s the exporter made {ours}, the naive peer {theirs}")
    return costs
