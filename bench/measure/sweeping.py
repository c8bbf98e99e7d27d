"""Measurement of scrape durations during a sweep."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from bench.figures import Comparison, Figure, Row, Target
from bench.lab import Lab
from bench.measure.wait import wait_for_sweep
from bench.numbers import percentile, samples
from bench.processes_under_test import ProcessUnderTest, SweepSettings

RATE = 250
USERS = 5_000
SCRAPES = 30
LEAST_SCRAPES = 10
BLOCK_SECONDS = 9.0
PAUSE_SECONDS = (0.1, 0.3)


def measure(lab: Lab) -> Iterator[Row]:
    """Compare an exporter in a sweep with one at rest and with the naive peer, in turns."""
    users = lab.scale.size(USERS)
    with (
        lab.launcher.start_cognito(users=users) as loopback,
        lab.launcher.start_exporter(loopback, SweepSettings(RATE)) as sweeping,
        lab.launcher.start_exporter(loopback, SweepSettings(RATE, refresh_interval="1h")) as resting,
        lab.launcher.start_naive(loopback, SweepSettings(RATE), "--every-series") as naive,
    ):
        everyone = (sweeping, resting, naive)
        for process in everyone:
            wait_for_sweep(process, devices=2 * users)
        turns = [[_block(lab, one, everyone) for one in (sweeping, resting)] for _ in range(lab.scale.repetitions)]
        yield Figure(
            f"a scrape while a sweep of {2 * users:,} devices runs at {RATE} calls/s, p90",
            "× the same scrape at rest",
            samples(percentile(in_sweep, 90) / percentile(at_rest, 90) for in_sweep, at_rest in turns),
            targets=(Target(1.5),),
        )
        yield Figure("… at rest, p90", "ms", samples(percentile(at_rest, 90) for _, at_rest in turns))
        of_naive = _block(lab, naive, everyone)  # once: its scrapes take seconds and differ by a few percent
        for percent, targets in ((90, (Target(10, Comparison.UNDER_NAIVE),)), (50, ())):
            yield Figure(
                f"… in a sweep, p{percent}",
                "ms",
                samples(percentile(in_sweep, percent) for in_sweep, _ in turns),
                samples([percentile(of_naive, percent)]),
                targets=targets,
            )


def _block(lab: Lab, process: ProcessUnderTest, everyone: Sequence[ProcessUnderTest]) -> list[float]:
    """Return the milliseconds of each of several scrapes, with the other processes paused."""
    with ExitStack() as stack:
        for other in everyone:
            if other is not process:
                stack.enter_context(other.child.paused())
        time.sleep(1.0)  # responses to calls from before the pause arrive first
        return lab.measure_undisturbed(f"scrapes of {process.child.name}", lambda: list(_scrapes(process)))


def _scrapes(process: ProcessUnderTest) -> Iterator[float]:
    end = time.monotonic() + BLOCK_SECONDS
    with process.scraper() as scraper:
        for number in range(SCRAPES):
            if number >= LEAST_SCRAPES and time.monotonic() > end:
                return
            yield 1000 * scraper.metrics().seconds
            time.sleep(random.uniform(*PAUSE_SECONDS))  # noqa: S311 - out of step with what the subject does regularly
