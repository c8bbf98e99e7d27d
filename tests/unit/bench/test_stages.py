"""Order and time limits of the stages."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.errors import NotMeasured
from bench.figures import Figure, Missing, Row
from bench.lab import QUICK, Lab
from bench.numbers import samples
from bench.processes import Child, Children, environment
from bench.processes_under_test import Launcher
from bench.stages import STAGES, Stage, run, time_limit

ROW = Figure("a scrape", "ms", samples([1.0]))
OUT_OF_TIME = "not finished within 0 s"


def measured(_lab: Lab) -> Iterator[Row]:
    yield ROW


def failing(_lab: Lab) -> Iterator[Row]:
    yield ROW
    raise NotMeasured("the machine is too busy")


def endless(_lab: Lab) -> Iterator[Row]:
    yield ROW
    time.sleep(60)


@pytest.fixture
def logged() -> list[str]:
    return []


@pytest.fixture
def lab(tmp_path: Path, logged: list[str]) -> Iterator[Lab]:
    with Children() as children:
        yield Lab(Launcher(children, tmp_path), QUICK, tolerant=True, log=logged.append)


def test_bench_with_every_limit_exhausted_takes_15_minutes() -> None:
    assert sum(stage.seconds for stage in STAGES.values()) <= 850


@pytest.mark.parametrize(
    ("measure", "why"), [(failing, "the machine is too busy"), (endless, OUT_OF_TIME)], ids=["fails", "takes-too-long"]
)
def test_stage_failure_keeps_rows_and_runs_the_next(
    lab: Lab, logged: list[str], measure: Callable[[Lab], Iterator[Row]], why: str
) -> None:
    rows = run({"first": Stage(measure, 0.2), "second": Stage(measured, 5)}, lab)
    assert rows == [ROW, Missing("first", why), ROW]
    assert any(line.startswith(f"first: NOT MEASURED: {why}") for line in logged)


def test_stage_timeout_shows_where_it_waited(lab: Lab, logged: list[str]) -> None:
    run({"first": Stage(endless, 0.2)}, lab)
    assert any("time.sleep(60)" in line for line in logged)


def test_stage_timeout_leaves_no_process(lab: Lab) -> None:
    started: list[Child] = []
    log = lab.launcher.unique_path("log")
    context = lab.launcher.children.running("the program", ["/bin/sleep", "60"], environment(), log)

    def waiting(_lab: Lab) -> Iterator[Row]:
        started.append(context.__enter__())  # never exited: the signal can interrupt an exit, too
        started[0].first_line()
        yield ROW

    run({"first": Stage(waiting, 0.5)}, lab)
    assert [child.is_running() for child in started] == [False]


def test_unused_stage_time_passes_to_the_next(lab: Lab) -> None:
    def slow(_lab: Lab) -> Iterator[Row]:
        time.sleep(0.3)
        yield ROW

    assert run({"first": Stage(measured, 30), "second": Stage(slow, 0)}, lab) == [ROW, ROW]


def test_time_limit_ends_with_its_context() -> None:
    with time_limit(0.2):
        pass
    time.sleep(0.3)
