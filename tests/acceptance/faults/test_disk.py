"""Full disk, damaged state file, locked state file."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random

from exporter.clock import SystemClock
from exporter.collect.identities import make_identity
from exporter.collect.persistence.recovery import Persistence
from exporter.collect.persistence.sqlite import Restored
from exporter.config.load import parse_settings
from exporter.emulator import Emulator
from exporter.observers import NullObserver
from tests.acceptance.faults.isolation import isolated_program, require_namespaces, within
from tests.acceptance.faults.rows import LONG, Row
from tests.acceptance.faults.watch import becomes, wait_for_new_sweep, watching
from tests.harness import Page, Program, config, serving, serving_program
from tests.statefile import expected, in_file
from tests.truth import assert_correct

USERS = 1500
SMALL, LARGE = "160k", "32m"

DAMAGES = 60
"""Number of damages in each round."""


def state_errors(page: Page) -> float:
    return page.value("cognito_exporter_state_errors_total") or 0


def test_disk_full_temporarily(emulator: Emulator, tmp_path: Path, row: Row) -> None:
    require_namespaces()
    row.describe(
        "disk full under the state file",
        "Sweeps and pages continue and the failure is counted; once there is space, all data is written.",
    )
    disk = tmp_path / "disk"
    disk.mkdir()
    for number, _ in enumerate(row.each_round()):
        pool_id = emulator.seed_pool(f"full-{number}", users=USERS)
        truth = emulator.truth(pool_id)
        text = config(emulator.url, pool_id, refresh_interval="2s", state="disk/state.db", detail="device")
        mount = f"mount -t tmpfs -o size={SMALL} none '{disk}'"
        saved = tmp_path / f"saved-{number}"
        with isolated_program(text, tmp_path, emulator.url, mount) as running:
            running.after_first_sweep(pool_id, within=40)
            with watching(running, row, {pool_id: truth}):
                assert becomes(lambda: state_errors(running.scrape()) > 0)
                wait_for_new_sweep(running, pool_id)
                within(running, f"mount -o remount,size={LARGE} '{disk}'")
                if LONG:  # the next attempt comes 30 seconds after the last
                    ended = time.monotonic()
                    assert becomes(lambda: bool(running.events("writing the state file succeeds again")), within=60)
                    row.recovered(time.monotonic() - ended)
            with kept(running, disk) as still_there:
                assert running.end(signal.SIGTERM) == 0
                shutil.copytree(still_there, saved)
            assert "Traceback" not in running.log_text
        wanted = expected(emulator, pool_id, saved / "state.db.key")
        found = in_file(saved / "state.db")
        row.data_lost += len(wanted.items() - found.items())
    row.assert_kept()


@contextmanager
def kept(running: Program, directory: Path) -> Iterator[Path]:
    """Return a copy of the program's directory, which outlives its namespace."""
    number = os.open(f"/proc/{running.process.pid}/root{directory}", os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield Path(f"/proc/self/fd/{number}")
    finally:
        os.close(number)


def test_state_file_damaged_at_random(emulator: Emulator, tmp_path: Path, row: Row) -> None:
    row.describe(
        "state file damaged at random: bytes changed, cut short, replaced",
        "The exporter starts and restores all data of a pool or none; the next sweep is correct.",
    )
    good = emulator.seed_pool("damaged", users=300)
    truth = emulator.truth(good)
    text = config(emulator.url, good, refresh_interval="5s", state="state.db", detail="device")
    state = tmp_path / "state.db"
    with serving(text, tmp_path, emulator.url) as exporter:
        exporter.after_first_sweep(good)
    content = state.read_bytes()
    whole = restored(text, tmp_path)
    for random in row.each_round():
        for number in range(DAMAGES):
            damage = (_bytes_changed, _cut_short, _replaced)[number % 3]
            damaged = damage(content, random)
            _put(state, damaged)
            found = restored(text, tmp_path)
            if found not in ({}, whole):
                row.values_wrong += 1
                row.wrong.append(f"{damage.__name__}: something else was restored than was kept")
        _put(state, damaged)
        with (
            serving(text, tmp_path, emulator.url) as exporter,
            watching(exporter, row, {good: truth}, known=False),
        ):
            began = time.monotonic()
            page = exporter.after_first_sweep(good)
            row.recovered(time.monotonic() - began)
            assert_correct(page, good, truth)
            assert page.state(good) == "ok"
    row.assert_kept()


def _put(state: Path, content: bytes) -> None:
    for companion in state.parent.glob("state.db-*"):
        companion.unlink()
    for aside in state.parent.glob("state.db.corrupt-*"):
        aside.unlink()
    state.write_bytes(content)


def restored(text: str, directory: Path) -> dict[str, Restored]:
    """Return what a start restores of the configured pools."""
    settings = parse_settings(text, str(directory / "config.yaml"))
    assert settings.state_path is not None
    persistence = Persistence(settings.state_path, NullObserver(), SystemClock())
    try:
        return persistence.restored([(pool, make_identity(pool, settings.state_path)) for pool in settings.pools])
    finally:
        persistence.start()
        persistence.stop()


def _bytes_changed(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    for _ in range(random.choice([1, 20, 2000])):
        changed[random.randrange(len(changed))] = random.randrange(256)
    return bytes(changed)


def _cut_short(content: bytes, random: Random) -> bytes:
    return content[: random.randrange(len(content))]


def _replaced(content: bytes, random: Random) -> bytes:
    return random.randbytes(len(content))


def test_state_file_locked_by_another_process(emulator: Emulator, tmp_path: Path, row: Row) -> None:
    row.describe(
        "state file locked by another process",
        "The exporter starts without the file, logs it, and is correct after a sweep; the file is unchanged.",
    )
    for number, _ in enumerate(row.each_round()):
        directory = tmp_path / str(number)
        directory.mkdir()
        pool_id = emulator.seed_pool(f"held-{number}", users=300)
        truth = emulator.truth(pool_id)
        text = config(emulator.url, pool_id, refresh_interval="5s", state="state.db", detail="device")
        with serving(text, directory, emulator.url) as exporter:
            exporter.after_first_sweep(pool_id)
        with held(directory / "state.db"):
            began = time.monotonic()
            with (
                serving_program(text, directory, emulator.url) as running,
                watching(running, row, {pool_id: truth}, known=False),
            ):
                page = running.after_first_sweep(pool_id)
                row.recovered(time.monotonic() - began)
                assert_correct(page, pool_id, truth)
                assert state_errors(page) == 1
                assert "locked" in running.log_text
        wanted = expected(emulator, pool_id, directory / "state.db.key")
        row.data_lost += len(wanted.items() - in_file(directory / "state.db").items())
    row.assert_kept()


@contextmanager
def held(state: Path) -> Iterator[None]:
    """Hold a lock on the file in another connection."""
    with closing(sqlite3.connect(state)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        yield
