"""How soon it serves, and what it costs when there is nothing to do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from bench.figures import Figure, Row, Target
from bench.lab import Lab, cpu_during
from bench.measure.swept import until_swept
from bench.numbers import samples
from bench.scraping import POLL_CLOSELY_SECONDS, wait_until
from bench.subjects import Plan, Subject

STARTS = 5
USERS = 100

Start = Callable[[], AbstractContextManager[Subject]]


def measure(lab: Lab) -> Iterator[Row]:
    """The start several times, in turns; then both idle at the same time."""
    plan = Plan(rate=100, refresh_interval="1h")
    with lab.subjects.world(users=USERS) as world:
        starts: tuple[Start, Start] = (
            lambda: lab.subjects.exporter(world, plan),
            lambda: lab.subjects.naive(world, plan, "--interval=3600"),
        )
        ours, theirs = [], []
        for _ in range(STARTS):
            ours.append(lab.undisturbed("start", lambda: _seconds_to_first_scrape(starts[0])))
            theirs.append(lab.undisturbed("start of the naive peer", lambda: _seconds_to_first_scrape(starts[1])))
        yield Figure(
            "from the start of the process to the first served scrape",
            "s",
            samples(ours),
            samples(theirs),
            targets=(Target(1.0),),
        )
        with starts[0]() as exporter, starts[1]() as naive:
            for subject in (exporter, naive):
                until_swept(subject, devices=2 * USERS)
            time.sleep(2.0)
            idle = lab.undisturbed("idle", lambda: _idle(lab, exporter, naive))
        yield Figure(
            "idle, between two sweeps", "millicores", samples([idle[0]]), samples([idle[1]]), targets=(Target(5),)
        )


def _seconds_to_first_scrape(start: Start) -> float:
    with start() as subject, subject.scraper() as scraper:
        wait_until(
            lambda: scraper.get("/metrics", gzipped=True),
            alive=subject.child.require_alive,
            every=POLL_CLOSELY_SECONDS,
        )
        return time.monotonic() - subject.child.started


def _idle(lab: Lab, exporter: Subject, naive: Subject) -> tuple[float, float]:
    seconds = lab.scale.long_window
    theirs = naive.child.cpu_seconds
    ours = cpu_during(exporter, lambda: time.sleep(seconds))
    return 1000 * ours / seconds, 1000 * (naive.child.cpu_seconds - theirs) / seconds
