"""Jumps of the wall clock while the exporter runs."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import pytest
from apscheduler.schedulers import base

from exporter.aws.sessions import AwsApis
from exporter.clock import SystemClock
from exporter.collect import scheduler
from exporter.config.load import parse_settings
from exporter.daemon.app import App
from exporter.emulator import Emulator
from exporter.options import ListenAddress, ServeOptions
from tests.acceptance.faults.rows import Row
from tests.acceptance.faults.watch import becomes, watching
from tests.harness import FAST_RETRIES, Exporter, config, session
from tests.truth import DAY, active_ms, assert_correct

JUMPS = (DAY, -2 * DAY, 40 * 365 * DAY, -40 * 365 * DAY, DAY)
"""Seconds by which the clock is set; at the end it is correct again."""


class JumpingClock(SystemClock):
    """System clock with a settable error of the wall clock in seconds."""

    wrong_by = 0.0

    def wall(self) -> float:
        return super().wall() + self.wrong_by


def set_clock_of_scheduler(clock: JumpingClock, monkeypatch: pytest.MonkeyPatch) -> None:
    class JumpingDatetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return super().now(tz) + timedelta(seconds=clock.wrong_by)

    for module in (base, scheduler):
        monkeypatch.setattr(module, "datetime", JumpingDatetime)


def test_wall_clock_jumps(emulator: Emulator, tmp_path: Path, row: Row, monkeypatch: pytest.MonkeyPatch) -> None:
    row.describe(
        "wall clock set forward and back, by a day and by 40 years",
        "Sweeps keep their intervals and counts are correct; ages follow the clock.",
    )
    for number, random in enumerate(row.each_round()):
        pool_id = emulator.seed_pool(f"clock-{number}", users=30)
        truth = emulator.truth(pool_id)
        clock = JumpingClock()
        set_clock_of_scheduler(clock, monkeypatch)
        text = config(emulator.url, pool_id, refresh_interval="1s", max_staleness="1h", state=f"state-{number}.db")
        settings = parse_settings(text, str(tmp_path / "config.yaml"))
        options = ServeOptions(tmp_path / "config.yaml", (ListenAddress("127.0.0.1", 0),))
        app = App(
            settings,
            options,
            make_api=AwsApis(lambda: session(tmp_path, emulator.url), clock),
            clock=clock,
            retry_policy=FAST_RETRIES,
        )
        app.start()
        try:
            exporter = Exporter(f"http://{app.addresses[0]}")
            exporter.after_first_sweep(pool_id)
            with watching(exporter, row, {pool_id: truth}):
                for jump in random.sample(JUMPS, len(JUMPS)):
                    sweeps, jumped = exporter.sweeps(pool_id), time.monotonic()
                    clock.wrong_by += jump
                    assert becomes(lambda: exporter.sweeps(pool_id) >= sweeps + 2, within=6)  # noqa: B023 - called at once
                    row.recovered(time.monotonic() - jumped)
                    page = exporter.scrape()
                    assert page.state(pool_id) == "ok"
                    name = "cognito_user_pool_stale_devices"
                    stale = page.series(name, "remembered_status", user_pool_id=pool_id, threshold="30d")
                    before = (clock.wall() - 30 * DAY) * 1000
                    assert sum(stale.values()) == sum(moment < before for moment in active_ms(truth))
                    assert exporter.get("/-/healthy").status == 200
            assert clock.wrong_by == 0
            assert_correct(exporter.scrape(), pool_id, truth)
        finally:
            app.stop()
    row.assert_kept()
