"""Measurement of startup time and idle CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from bench.figures import Figure, Row, Target
from bench.lab import Lab, cpu_during
from bench.measure.wait import wait_for_sweep
from bench.numbers import samples
from bench.processes_under_test import ProcessUnderTest, SweepSettings
from bench.scraping import POLL_CLOSELY_SECONDS, wait_until

STARTS = 5
USERS = 100

Start = Callable[[], AbstractContextManager[ProcessUnderTest]]


def measure(lab: Lab) -> Iterator[Row]:
    """Measure several starts in turns, then both programs idle at the same time."""
    plan = SweepSettings(rate=100, refresh_interval="1h")
    with lab.launcher.start_cognito(users=USERS) as loopback:
        starts: tuple[Start, Start] = (
            lambda: lab.launcher.start_exporter(loopback, plan),
            lambda: lab.launcher.start_naive(loopback, plan, "--interval=3600"),
        )
        ours, theirs = [], []
        for _ in range(STARTS):
            ours.append(lab.measure_undisturbed("start", lambda: _seconds_to_first_scrape(starts[0])))
            theirs.append(
                lab.measure_undisturbed("start of the naive peer", lambda: _seconds_to_first_scrape(starts[1]))
            )
        yield Figure(
            "from the start of the process to the first served scrape",
            "s",
            samples(ours),
            samples(theirs),
            targets=(Target(1.0),),
        )
        with starts[0]() as exporter, starts[1]() as naive:
            for process in (exporter, naive):
                wait_for_sweep(process, devices=2 * USERS)
            time.sleep(2.0)
            idle = lab.measure_undisturbed("idle", lambda: _idle(lab, exporter, naive))
        yield Figure(
            "idle, between two sweeps", "millicores", samples([idle[0]]), samples([idle[1]]), targets=(Target(5),)
        )


def _seconds_to_first_scrape(start: Start) -> float:
    with start() as process, process.scraper() as scraper:
        wait_until(
            lambda: scraper.get("/metrics", gzipped=True),
            alive=process.child.require_alive,
            every=POLL_CLOSELY_SECONDS,
        )
        return time.monotonic() - process.child.started


def _idle(lab: Lab, exporter: ProcessUnderTest, naive: ProcessUnderTest) -> tuple[float, float]:
    seconds = lab.scale.long_window
    theirs = naive.child.cpu_seconds
    ours = cpu_during(exporter, lambda: time.sleep(seconds))
    return 1000 * ours / seconds, 1000 * (naive.child.cpu_seconds - theirs) / seconds
