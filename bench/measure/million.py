"""Measurement of a million devices: memory, CPU per scrape, and time to restore them after a restart."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from bench.errors import NotMeasured
from bench.figures import Figure, Row, Target
from bench.lab import Lab
from bench.numbers import samples
from bench.processes_under_test import LoopbackCognito, SweepSettings
from bench.scraping import POLL_CLOSELY_SECONDS, value_of, wait_until

USERS = 500_000

PLAN = SweepSettings(rate=10, detail="pool", refresh_interval="30d")

EMPTY_USERS = 60


@dataclass(frozen=True, slots=True)
class _State:
    """State file and the configuration that uses it."""

    path: Path
    config: Path

    @classmethod
    def new(cls, lab: Lab, loopback: LoopbackCognito) -> Self:
        path = lab.launcher.unique_path("state.sqlite")
        return cls(path, lab.launcher.config(loopback.url, PLAN, path))

    def remove(self) -> None:
        """Remove the state file, so that a repeated measurement starts from scratch."""
        for companion in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + companion).unlink(missing_ok=True)


def measure(lab: Lab) -> Iterator[Row]:
    """Fill a store and a state file, then measure restarts from that file."""
    users = lab.scale.size(USERS)
    with lab.launcher.start_cognito(users=EMPTY_USERS) as loopback:
        full, empty = (_State.new(lab, loopback) for _ in range(2))
        result = lab.measure_undisturbed("a million devices", lambda: _filled(lab, full, users))
        _filled(lab, empty, EMPTY_USERS)
        yield Figure(
            f"sums of a pool per scrape, all thresholds and buckets, {2 * users:,} devices",
            "CPU ms",
            samples(result["sums_ms"]),
            samples(result["naive_sums_ms"]),
            targets=(Target(0.1),),
        )
        yield Figure(
            f"memory per device kept, {2 * users:,} devices",
            "bytes",
            samples(result["bytes_per_device"]),
            targets=(Target(300, stretch=100),),
        )
        yield from _restarts(lab, loopback, full, empty, devices=2 * users)


def _restarts(lab: Lab, loopback: LoopbackCognito, full: _State, empty: _State, *, devices: int) -> Iterator[Row]:
    what = f"restart with {devices:,} devices in state until /-/ready"
    starts = list(lab.repeat("restart", lambda: _restart(lab, loopback, full, devices)))
    nothing = _restart(lab, loopback, empty, 2 * EMPTY_USERS)
    yield Figure(what, "s", samples(seconds for seconds, _ in starts), targets=(Target(3, stretch=1),))
    yield Figure(
        "… resident memory per device restored, over that of a process without any",
        "bytes",
        samples((resident - nothing[1]) / devices for _, resident in starts),
    )


def _filled(lab: Lab, state: _State, users: int) -> dict[str, list[float]]:
    state.remove()
    arguments = ["bench.million", str(state.config), str(users)]
    with lab.launcher.start_script("the filled store", arguments) as child:
        line = child.first_line()
        if not line:
            child.wait()
            child.require_alive()
    result: dict[str, list[float]] = json.loads(line)
    return result


def _restart(lab: Lab, loopback: LoopbackCognito, state: _State, devices: int) -> tuple[float, int]:
    """Return the seconds until the exporter is ready, and its resident bytes at that time."""
    with lab.launcher.start_exporter(loopback, PLAN, state.config) as process, process.scraper() as scraper:
        wait_until(
            lambda: scraper.get("/-/ready"),
            alive=process.child.require_alive,
            every=POLL_CLOSELY_SECONDS,
        )
        seconds = time.monotonic() - process.child.started
        shown = value_of(scraper.metrics().page, "cognito_user_pool_devices")
        if shown != devices:
            raise NotMeasured(f"after the restart {shown:,.0f} of {devices:,} devices are there")
        return seconds, process.child.resident_bytes
