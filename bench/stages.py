"""Stages of the benchmark, each with a time limit."""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from bench.errors import NotMeasured
from bench.figures import Missing, Row
from bench.lab import Lab
from bench.measure import accounts, end_to_end, memory, million, pacing, rendering, startup, sweeping
from bench.report import line


@dataclass(frozen=True, slots=True)
class Stage:
    """Measurement of some rows of the table."""

    measure: Callable[[Lab], Iterator[Row]]
    seconds: float
    """Time limit, extended by the unused time of the previous stages."""


STAGES = {
    "pacing": Stage(pacing.measure, 150),
    "rendering": Stage(rendering.measure, 140),
    "sweeping": Stage(sweeping.measure, 130),
    "end_to_end": Stage(end_to_end.measure, 80),
    "memory": Stage(memory.measure, 110),
    "startup": Stage(startup.measure, 50),
    "accounts": Stage(accounts.measure, 60),
    "million": Stage(million.measure, 130),
}
"""Stages, most important first. The sum of the limits is less than the 15 minutes of the benchmark."""


def run(stages: Mapping[str, Stage], lab: Lab) -> list[Row]:
    """Return the rows of all stages. A stage that fails or exceeds its time limit ends with a `Missing` row."""
    rows: list[Row] = []
    deadline = time.monotonic()
    for name, stage in stages.items():
        deadline += stage.seconds
        rows += _run_one(name, stage, lab, deadline - time.monotonic())
    return rows


def _run_one(name: str, stage: Stage, lab: Lab, seconds: float) -> list[Row]:
    started = time.monotonic()
    rows: list[Row] = []
    try:
        with lab.launcher.children, time_limit(seconds):
            for row in stage.measure(lab):
                lab.log(line(row))
                rows.append(row)
    except NotMeasured as error:
        lab.log(f"{name}: NOT MEASURED: {error} {error.detail}")
        rows.append(Missing(name, str(error)))
    lab.log(f"{name}: {time.monotonic() - started:.0f} s of {seconds:.0f} s")
    return rows


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `NotMeasured` in the main thread if the context takes longer.

    The signal interrupts any wait, so no wait in the context needs its own timeout.
    """

    def stop(_number: int, frame: FrameType | None) -> None:
        raise NotMeasured(f"not finished within {seconds:.0f} s", "\n" + "".join(traceback.format_stack(frame, 6)))

    previous = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(0.001, seconds))  # 0 would mean no limit
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
