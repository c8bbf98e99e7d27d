"""How long a scrape takes while a sweep runs."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from bench.figures import Basis, Figure, Row, Target
from bench.lab import Lab
from bench.measure.swept import until_swept
from bench.numbers import percentile, samples
from bench.subjects import Plan, Subject

RATE = 250
USERS = 5_000
SCRAPES = 30
LEAST_SCRAPES = 10
BLOCK_SECONDS = 9.0
PAUSE_SECONDS = (0.1, 0.3)


def measure(lab: Lab) -> Iterator[Row]:
    """Exporter and naive peer in turns; the one that is not asked is paused."""
    plan = Plan(RATE)
    users = lab.scale.size(USERS)
    with (
        lab.subjects.world(users=users) as our_world,
        lab.subjects.world(users=users) as naive_world,
        lab.subjects.exporter(our_world, plan) as exporter,
        lab.subjects.naive(naive_world, plan, "--every-series") as naive,
    ):
        for subject in (exporter, naive):
            until_swept(subject, devices=2 * users, seconds=90)
        ours, theirs = [], []
        for _ in range(lab.scale.repetitions):
            ours.append(_block(lab, exporter, other=naive))
            theirs.append(_block(lab, naive, other=exporter))
            lab.say(f"scrapes in a sweep: p90 {percentile(ours[-1], 90):.1f} ms, {percentile(theirs[-1], 90):.1f} ms")
    title = f"a scrape while a sweep of {2 * users:,} devices runs at {RATE} calls/s"
    yield Figure(
        f"{title}, p90",
        "ms",
        samples(percentile(block, 90) for block in ours),
        samples(percentile(block, 90) for block in theirs),
        targets=(Target(20), Target(10, Basis.UNDER_NAIVE)),
    )
    yield Figure(
        "… p50",
        "ms",
        samples(percentile(block, 50) for block in ours),
        samples(percentile(block, 50) for block in theirs),
    )


def _block(lab: Lab, subject: Subject, other: Subject) -> list[float]:
    """Milliseconds of each of some scrapes."""
    with other.child.paused():
        time.sleep(1.0)  # calls that stood still meanwhile are answered first
        return lab.undisturbed("scrapes in a sweep", lambda: list(_scrapes(subject)))


def _scrapes(subject: Subject) -> Iterator[float]:
    end = time.monotonic() + BLOCK_SECONDS
    with subject.scraper() as scraper:
        for number in range(SCRAPES):
            if number >= LEAST_SCRAPES and time.monotonic() > end:
                return
            yield 1000 * scraper.metrics().seconds
            time.sleep(random.uniform(*PAUSE_SECONDS))  # noqa: S311 - out of step with what the subject does regularly
