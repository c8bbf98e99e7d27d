"""Measurement of resident memory."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.figures import Comparison, Figure, Row, Target
from bench.lab import Lab
from bench.measure.wait import wait_for_sweep
from bench.numbers import samples
from bench.processes_under_test import ProcessUnderTest, SweepSettings

RATE = 1000
USERS = 20_000
LATENCY = 0.01
"""Latency in seconds. Memory does not depend on it, and sweeps finish sooner."""

READINGS = 3
MEBIBYTE = 1 << 20


def measure(lab: Lab) -> Iterator[Row]:
    """Measure both after a sweep and a scrape."""
    users = lab.scale.size(USERS)
    plan = SweepSettings(RATE)
    with (
        lab.launcher.start_cognito(users=users, latency=LATENCY) as loopback,
        lab.launcher.start_exporter(loopback, plan) as exporter,
        lab.launcher.start_naive(loopback, plan, "--every-series") as naive,
    ):
        for process in (exporter, naive):
            wait_for_sweep(process, devices=2 * users)
        ours, theirs = [], []
        for _ in range(READINGS):
            ours.append(_resident(exporter))
            theirs.append(_resident(naive))
    yield Figure(
        f"resident memory, {2 * users:,} devices, swept again and scraped",
        "MiB",
        samples(ours),
        samples(theirs),
        targets=(Target(2, Comparison.UNDER_NAIVE),),
    )


def _resident(process: ProcessUnderTest) -> float:
    with process.scraper() as scraper:
        scraper.metrics()
    time.sleep(1.0)
    return process.child.resident_bytes / MEBIBYTE
