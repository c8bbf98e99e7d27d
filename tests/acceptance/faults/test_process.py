"""The process ends in mid-sweep, by kill -9 or by SIGTERM: what it knew, it knows when it is started again."""

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
from tests.acceptance.faults.watch import Watch, becomes, swept_anew, watching
from tests.fakes import eventually
from tests.harness import Page, Program, config, serving_program
from tests.statefile import expected, in_file
from tests.truth import assert_true

USERS = 300
KILLS = 20 if LONG else 5
"""Of first sweeps, and as many of later ones, in each round."""

RATE = 50
IN_FLIGHT = 5
"""Calls that a clean stop may give up."""


@dataclass(frozen=True, slots=True)
class Lab:
    """A pool, and the directory of the program that is started over and over."""

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
            assert_true(page, self.pool_id, self.truth())
        except AssertionError:
            return False
        return page.state(self.pool_id) == "ok"

    def truth(self) -> PoolTruth:
        return self.emulator.truth(self.pool_id)

    def is_true_again(self, refresh_interval: str = "1h") -> None:
        """Start it, note how long it takes until a page is true, and stop it."""
        began = time.monotonic()
        with self.running(refresh_interval) as running:
            assert becomes(lambda: self.is_true(running.scrape()), within=30)
            self.row.recovered(time.monotonic() - began)
            assert running.end(signal.SIGTERM) == 0

    def stop_after(self, calls: int, running: Program) -> None:
        """Tell it to stop when it has asked so many times more."""
        wanted = self.asked + calls
        assert eventually(lambda: self.asked > wanted, within=30)
        assert running.end(signal.SIGTERM) == 0

    def nothing_is_lost(self) -> None:
        """The file has exactly what the emulator has."""
        found, wanted = in_file(self.state), expected(self.emulator, self.pool_id, self.key)
        self.row.data_lost += len(wanted.items() - found.items())
        self.row.values_wrong += len(found.items() - wanted.items())


def labs(emulator: Emulator, directory: Path, row: Row) -> Iterator[tuple[Lab, Random]]:
    """One for each round."""
    for number, random in enumerate(row.each_round()):
        here = Lab(emulator, emulator.seed_pool(f"pool-{number}", users=USERS), directory / str(number), row)
        here.directory.mkdir()
        emulator.clear_requests()
        yield here, random


def pause(running: Program, seconds: float) -> None:
    """Let it run for so long, or until it ends."""
    eventually(lambda: running.process.poll() is not None, within=seconds)


@pytest.mark.timeout(900 if LONG else 240)
def test_kill_9_at_random_times(emulator: Emulator, tmp_path: Path, row: Row) -> None:
    row.is_about(
        f"kill -9 at random moments, {KILLS} of a first sweep and {KILLS} of later ones",
        "What was read stays read but for the last seconds, and nothing false is restored; pages of a pool that was"
        " read are as true as before from the first on.",
    )
    for here, random in labs(emulator, tmp_path, row):
        killed_in_first_sweep(here, random)
        killed_in_later_sweeps(here, random)
        here.nothing_is_lost()
    row.assert_kept()


def killed_in_first_sweep(here: Lab, random: Random) -> None:
    """After each kill the file has all that it had, and nothing but the truth."""
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
    assert here.asked - asked <= USERS - len(known) + IN_FLIGHT  # nobody who is in the file


def killed_in_later_sweeps(here: Lab, random: Random) -> None:
    """The pool changes meanwhile; each page lies between what it was and what it is."""
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
    row.is_about(
        "SIGTERM in mid-sweep",
        f"Exit 0 within 5 s. Only what was in flight (at most {IN_FLIGHT} calls) is asked for again; pages of a pool"
        " that was read are true from the first on.",
    )
    for here, random in labs(emulator, tmp_path, row):
        stopped_in_first_sweep(here, random)
        stopped_in_later_sweep(here, random)
        here.is_true_again()
        here.nothing_is_lost()
    row.assert_kept()


def stopped_in_first_sweep(here: Lab, random: Random) -> None:
    """Every answer is in the file, and is not asked for again."""
    with here.running("1h") as running:
        here.stop_after(random.randrange(20, USERS - 50), running)
    here.row.data_lost += max(0, here.asked - IN_FLIGHT - len(in_file(here.state)))
    here.is_true_again()
    assert here.asked <= USERS + IN_FLIGHT


def stopped_in_later_sweep(here: Lab, random: Random) -> None:
    """Pages are true until the stop."""
    with here.running("1s") as running:
        with watching(running, here.row, {here.pool_id: here.truth()}):
            swept_anew(running, here.pool_id)
        here.stop_after(random.randrange(20, USERS - 50), running)
