"""Measurement of total CPU: continuous sweeps, and scrapes at the interval of Prometheus."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench.errors import NotMeasured
from bench.figures import Comparison, Figure, Row, Target
from bench.lab import Lab
from bench.measure.wait import wait_for_sweep
from bench.numbers import samples
from bench.processes_under_test import LoopbackCognito, ProcessUnderTest, SweepSettings
from bench.scraping import Scraper

RATE = 200
USERS = 2_500
LEAST_SHARE = 0.9
"""Minimum share of the rate. Below it, a process does less work than the other, so they cannot be compared."""


@dataclass(frozen=True, slots=True)
class _Side:
    process: ProcessUnderTest
    loopback: LoopbackCognito
    scraper: Scraper


@dataclass(frozen=True, slots=True)
class _Cost:
    millicores: float
    milliseconds_per_call: float
    share: float


def measure(lab: Lab) -> Iterator[Row]:
    """Measure both at the same time, so that they have the same conditions."""
    plan = SweepSettings(RATE)
    users = lab.scale.size(USERS)
    with (
        lab.launcher.start_cognito(users=users) as our_loopback,
        lab.launcher.start_cognito(users=users) as naive_loopback,
        lab.launcher.start_exporter(our_loopback, plan) as exporter,
        lab.launcher.start_naive(naive_loopback, plan, "--every-series") as naive,
        exporter.scraper() as our_scraper,
        naive.scraper() as naive_scraper,
    ):
        sides = [_Side(exporter, our_loopback, our_scraper), _Side(naive, naive_loopback, naive_scraper)]
        for side in sides:
            wait_for_sweep(side.process, devices=2 * users)
        costs = list(lab.repeat("end to end", lambda: _window(lab, sides)))
    ours, theirs = zip(*costs, strict=True)
    title = f"CPU end to end, {RATE} calls/s, {2 * users:,} devices, scrape every {lab.scale.long_window:.0f} s"
    yield Figure(
        title,
        "ms per call, scrapes included",
        samples(one.milliseconds_per_call for one in ours),
        samples(one.milliseconds_per_call for one in theirs),
        targets=(Target(2.4, Comparison.UNDER_NAIVE, stretch=4),),
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
    """Return the cost of each side over one scrape interval, with a scrape in the middle."""
    seconds = lab.scale.long_window
    used = [side.process.child.cpu_seconds for side in sides]
    started = time.monotonic()
    with lab.count_calls(sides[0].loopback) as first, lab.count_calls(sides[1].loopback) as second:
        time.sleep(seconds / 2)
        for side in sides:
            side.scraper.metrics()
        time.sleep(max(0.0, seconds - (time.monotonic() - started)))
        elapsed = time.monotonic() - started
        spent = [side.process.child.cpu_seconds - before for side, before in zip(sides, used, strict=True)]
    costs = [
        _Cost(1000 * cpu / elapsed, 1000 * cpu / max(1, window.calls), window.calls / window.seconds / RATE)
        for cpu, window in zip(spent, (first, second), strict=True)
    ]
    if not lab.tolerant and min(cost.share for cost in costs) < LEAST_SHARE:
        ours, theirs = (f"{cost.share:.0%}" for cost in costs)
        raise NotMeasured(f"of {RATE} calls/s the exporter made {ours}, the naive peer {theirs}")
    return costs
