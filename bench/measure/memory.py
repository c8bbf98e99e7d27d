"""How much memory is used."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.figures import Basis, Figure, Row, Target
from bench.lab import Lab
from bench.measure.swept import until_swept
from bench.numbers import samples
from bench.subjects import Plan, Subject

RATE = 1000
USERS = 20_000
LATENCY = 0.01
"""Seconds; memory does not depend on it, and the pools are full sooner."""

READINGS = 3
MEBIBYTE = 1 << 20


def measure(lab: Lab) -> Iterator[Row]:
    """Both swept and scraped."""
    users = lab.scale.size(USERS)
    plan = Plan(RATE)
    with (
        lab.subjects.world(users=users, latency=LATENCY) as world,
        lab.subjects.exporter(world, plan) as exporter,
        lab.subjects.naive(world, plan, "--every-series") as naive,
    ):
        for subject in (exporter, naive):
            until_swept(subject, devices=2 * users)
        ours, theirs = [], []
        for _ in range(READINGS):
            ours.append(_resident(exporter))
            theirs.append(_resident(naive))
    yield Figure(
        f"resident memory, {2 * users:,} devices, swept again and scraped",
        "MiB",
        samples(ours),
        samples(theirs),
        targets=(Target(2, Basis.UNDER_NAIVE),),
    )


def _resident(subject: Subject) -> float:
    with subject.scraper() as scraper:
        scraper.metrics()
    time.sleep(1.0)
    return subject.child.resident_bytes / MEBIBYTE
