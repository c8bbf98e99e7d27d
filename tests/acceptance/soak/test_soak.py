"""The soak itself, for a few seconds, and its detection of problems."""

from __future__ import annotations

from pathlib import Path

from tests.acceptance.soak.findings import MIB, Scrapes, SoakResults, markdown
from tests.acceptance.soak.process import Reading
from tests.acceptance.soak.run import Plan, soak


def test_soak_of_seconds_serves_correct_values(tmp_path: Path) -> None:
    plan = Plan(duration=12, sweep_every=5, users=30)
    found = SoakResults(plan.warm_up, plan.sweep_every, plan.duration)
    told: list[str] = []
    soak(plan, tmp_path, found, told.append)
    assert found.drift == []
    assert found.scrapes.answered == found.scrapes.asked >= 12
    assert found.events > 10
    assert found.call_failures
    assert told
    assert "| truth at the end | equal |" in markdown(found)


def run(growth: int = 0, descriptors: int = 0, threads: int = 0) -> SoakResults:
    """Return the measurements of an hour with this growth per minute."""
    found = SoakResults(warm_up=300, sweep_seconds=60, wanted_seconds=3600)
    found.scrapes = Scrapes(asked=3600, answered=3600)
    found.drift = []
    found.readings = [
        Reading(
            at=minute * 60,
            rss=100 * MIB + (minute % 3) * 4096 + growth * minute,
            descriptors=12 + descriptors * minute,
            threads=20 + minute % 5 + threads * minute,
            cpu_seconds=minute,
        )
        for minute in range(61)
    ]
    return found


def test_run_without_growth_passes() -> None:
    assert run().faults() == []


def test_growth_is_detected() -> None:
    assert run(growth=100_000).faults() == ["memory grows"]
    assert run(descriptors=1).faults() == ["descriptors grow"]
    assert run(threads=1).faults() == ["threads grow"]


def test_failed_or_wrong_scrape_is_detected() -> None:
    lossy, wrong, short = run(), run(), run()
    lossy.scrapes.answered -= 1
    wrong.drift = ["pool: 3 devices, not 4"]
    short.wanted_seconds = 7200
    assert lossy.faults() == ["1 scrapes without an answer"]
    assert wrong.faults() == ["the last page is not the truth: ['pool: 3 devices, not 4']"]
    assert short.faults() == ["ended after 3600 of 7200 s"]
