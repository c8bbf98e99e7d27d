"""Forecast of `plan`, compared with the sweep that follows."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from exporter.emulator import Emulator
from exporter.model import Tracking
from tests.fakes import eventually
from tests.harness import config, pool, serving_program, wait_until
from tests.integration.command_line import CommandLine
from tests.integration.conftest import run
from tests.integration.test_plan import calls, planned

__all__ = ["run"]

pytestmark = pytest.mark.alone


def seconds(emulator: Emulator, pool_id: str) -> float:
    """Seconds between the first and the last call of a pool."""
    moments = [request.arrived for request in emulator.requests() if request.pool_id == pool_id]
    return moments[-1] - moments[0]


@dataclass(frozen=True, slots=True)
class SweepTiming:
    """One sweep of each pool, as seen by the server."""

    calls: dict[str, dict[str, int]]
    seconds: dict[str, float]


def sweep_timings(text: str, directory: Path, emulator: Emulator, pool_ids: list[str], *flags: str) -> SweepTiming:
    emulator.clear_requests()
    with serving_program(text, directory, emulator.url, *flags) as exporter:
        # No scrapes before the last call: they would delay the emulator, which runs in this process.
        assert quiet(lambda: len(emulator.requests()))
        assert wait_until(lambda: all(map(exporter.sweeps, pool_ids)), within=40)
    return SweepTiming(
        {pool_id: calls(emulator, pool_id) for pool_id in pool_ids},
        {pool_id: seconds(emulator, pool_id) for pool_id in pool_ids},
    )


def quiet(requests: Callable[[], int]) -> bool:
    """Return whether requests arrived, followed by two seconds without any."""
    seen, since = 0, time.monotonic()

    def has_ended() -> bool:
        nonlocal seen, since
        if requests() != seen:
            seen, since = requests(), time.monotonic()
        return bool(seen) and time.monotonic() - since > 2

    return eventually(has_ended, within=60)


def assert_forecast(found: Any, sweep: Callable[[], SweepTiming], timed: list[str]) -> None:
    """Assert the forecast of a sweep, in up to three attempts, because threads may wake up late.

    All pools must begin together: their descriptions must not wait for each other, and the second
    over which the daemon spreads its first sweeps must be short compared with their durations.
    """
    told = {one["user_pool_id"]: one for one in found["pools"]}
    expected = {pool_id: pytest.approx(told[pool_id]["sweep_seconds"], rel=0.05) for pool_id in timed}
    for attempts_left in (2, 1, 0):
        real = sweep()
        assert {pool_id: one["calls"] for pool_id, one in told.items()} == real.calls
        taken = {pool_id: real.seconds[pool_id] for pool_id in timed}
        if taken == expected:
            return
        assert attempts_left, (taken, expected)


@pytest.mark.timeout(240)
def test_plan_matches_the_sweep_in_calls_and_duration(emulator: Emulator, run: CommandLine, tmp_path: Path) -> None:
    large = emulator.seed_pool("large", users=560, federated_share=0.5)
    small = emulator.seed_pool("small", users=250)
    off = emulator.seed_pool("off", users=30, tracking=Tracking.OFF)
    named = emulator.seed_pool("names", users=["alice", "bob", "carol"])
    entries = (large, small, off, pool(named, users={"usernames": ["alice", "carol"]}))
    rate = {"UserPoolRead": 100, "UserResourceRead": 20, "UserList": 5}
    text = config(emulator.url, *entries, refresh_interval="1h", rate=rate)
    found = planned(text, run)
    assert_forecast(found, lambda: sweep_timings(text, tmp_path, emulator, [large, small, off, named]), [large, small])


def test_plan_matches_one_of_several_shards(emulator: Emulator, run: CommandLine, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("shared", users=200)
    text = config(emulator.url, pool_id, refresh_interval="1h", rate={"UserResourceRead": 30, "UserList": 15})
    found = planned(text, run, "--shard=1/3")
    assert_forecast(found, lambda: sweep_timings(text, tmp_path, emulator, [pool_id], "--shard=1/3"), [pool_id])
