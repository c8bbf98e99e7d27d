"""kill -9 and SIGTERM during a sweep: a restart restores the data."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from exporter.emulator import Emulator, PoolTruth
from exporter.emulator.demo import PoolActivity
from exporter.model import Device
from tests.acceptance.faults.rows import LONG, Row
from tests.acceptance.faults.watch import Watch, becomes, wait_for_new_sweep, watching
from tests.fakes import eventually
from tests.harness import Page, Program, config, serving_program
from tests.statefile import expected, in_file
from tests.truth import assert_correct

USERS = 300
KILLS = 20 if LONG else 5
"""Kills during first sweeps, and as many during later ones, in each round."""

RATE = 50
IN_FLIGHT = 5
"""Calls in flight that a clean stop may abort."""


@dataclass(frozen=True, slots=True)
class Lab:
    """A pool, and the directory of a program that is restarted repeatedly."""

    emulator: Emulator
    pool_id: str
    directory: Path
    row: Row

    @contextmanager
    def running(self, refresh_interval: str) -> Iterator[Program]:
        text = config(
            self.emulator.url,
            self.pool_id,
            rate={"UserResourceRead": RATE},
            state="state.db",
            detail="device",
            refresh_interval=refresh_interval,
        )
        with serving_program(text, self.directory, self.emulator.url) as running:
            yield running

    @property
    def asked(self) -> int:
        return sum(request.operation == "AdminListDevices" for request in self.emulator.requests())

    @property
    def state(self) -> Path:
        return self.directory / "state.db"

    @property
    def key(self) -> Path:
        return self.directory / "state.db.key"

    def is_true(self, page: Page) -> bool:
        try:
            assert_correct(page, self.pool_id, self.truth())
        except AssertionError:
            return False
        return page.state(self.pool_id) == "ok"

    def truth(self) -> PoolTruth:
        return self.emulator.truth(self.pool_id)

    def is_true_again(self, refresh_interval: str = "1h") -> None:
        """Start the program, record the time until a page is correct, and stop it."""
        began = time.monotonic()
        with self.running(refresh_interval) as running:
            assert becomes(lambda: self.is_true(running.scrape()), within=30)
            self.row.recovered(time.monotonic() - began)
            assert running.end(signal.SIGTERM) == 0

    def stop_after(self, calls: int, running: Program) -> None:
        """Send SIGTERM after this many further requests."""
        wanted = self.asked + calls
        assert eventually(lambda: self.asked > wanted, within=30)
        assert running.end(signal.SIGTERM) == 0

    def nothing_is_lost(self) -> None:
        """Assert that the file has exactly the data of the emulator."""
        found, wanted = in_file(self.state), expected(self.emulator, self.pool_id, self.key)
        self.row.data_lost += len(wanted.items() - found.items())
        self.row.values_wrong += len(found.items() - wanted.items())


def labs(emulator: Emulator, directory: Path, row: Row) -> Iterator[tuple[Lab, Random]]:
    """Yield a lab for each round."""
    for number, random in enumerate(row.each_round()):
        here = Lab(emulator, emulator.seed_pool(f"pool-{number}", users=USERS), directory / str(number), row)
        here.directory.mkdir()
        emulator.clear_requests()
        yield here, random


def pause(running: Program, seconds: float) -> None:
    """Wait for the given time, or until the program ends."""
    eventually(lambda: running.process.poll() is not None, within=seconds)


@pytest.mark.timeout(900 if LONG else 240)
def test_kill_9_at_random_times(emulator: Emulator, tmp_path: Path, row: Row) -> None:
    row.describe(
        f"kill -9 at random times, {KILLS} during a first sweep and {KILLS} during later ones",
        "Only the last seconds are lost, and nothing wrong is restored; pages of a pool that was read are correct from"
        " the first one.",
    )
    for here, random in labs(emulator, tmp_path, row):
        killed_in_first_sweep(here, random)
        killed_in_later_sweeps(here, random)
        here.nothing_is_lost()
    row.assert_kept()


def killed_in_first_sweep(here: Lab, random: Random) -> None:
    """After each kill, the file has all previous data, and only correct data."""
    known: dict[bytes, tuple[Device, ...]] = {}
    for _ in range(KILLS):
        with here.running("1h") as running:  # and killed at the end of the context
            pause(running, random.uniform(0.1, 2.5))
        found = in_file(here.state)
        here.row.data_lost += len(known.items() - found.items())
        here.row.values_wrong += len(found.items() - expected(here.emulator, here.pool_id, here.key).items())
        known = found
    assert len(known) > USERS / 10
    asked = here.asked
    here.is_true_again()
    assert here.asked - asked <= USERS - len(known) + IN_FLIGHT  # a user in the file was read again


def killed_in_later_sweeps(here: Lab, random: Random) -> None:
    """The pool changes meanwhile; each page is between the old and the new state."""
    activity = PoolActivity(here.emulator, here.pool_id, random)
    watch = Watch(here.row, {here.pool_id: here.truth()})
    for _ in range(KILLS):
        with here.running("1s") as running, watch.over(running):
            with watch.changing(here.pool_id, here.truth):
                activity.run_random_event()
            pause(running, random.uniform(0.1, 2.5))
    here.is_true_again("1s")


@pytest.mark.timeout(900 if LONG else 240)
def test_sigterm_during_a_sweep(emulator: Emulator, tmp_path: Path, row: Row) -> None:
    row.describe(
        "SIGTERM during a sweep",
        f"Exit 0 within 5 s. Only calls in flight (at most {IN_FLIGHT}) are repeated; pages of a pool that was read"
        " are correct from the first one.",
    )
    for here, random in labs(emulator, tmp_path, row):
        stopped_in_first_sweep(here, random)
        stopped_in_later_sweep(here, random)
        here.is_true_again()
        here.nothing_is_lost()
    row.assert_kept()


def stopped_in_first_sweep(here: Lab, random: Random) -> None:
    """Every response is in the file and is not requested again."""
    with here.running("1h") as running:
        here.stop_after(random.randrange(20, USERS - 50), running)
    here.row.data_lost += max(0, here.asked - IN_FLIGHT - len(in_file(here.state)))
    here.is_true_again()
    assert here.asked <= USERS + IN_FLIGHT


def stopped_in_later_sweep(here: Lab, random: Random) -> None:
    """Pages are correct until the stop."""
    with here.running("1s") as running:
        with watching(running, here.row, {here.pool_id: here.truth()}):
            wait_for_new_sweep(running, here.pool_id)
        here.stop_after(random.randrange(20, USERS - 50), running)
