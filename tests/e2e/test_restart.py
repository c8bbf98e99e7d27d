"""What was learned survives: kill -9 at random moments, a clean stop, a file that cannot be written."""

from __future__ import annotations

import random
import signal
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from exporter.collect.records import STAMP_SIZE, devices_of
from exporter.emulator import Emulator
from exporter.identity import HmacIdentity, read_key
from exporter.model import Device
from tests.fakes import eventually
from tests.harness import Program, config, serving, serving_program
from tests.truth import assert_true

KILLS = 20
USERS = 500
FLUSHED_WITHIN = 4
"""Seconds: the flush interval, and room for a busy machine."""


def in_file(path: Path) -> dict[bytes, tuple[Device, ...]]:
    """Every user in the state file, by identity."""
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute("SELECT identity, record FROM users").fetchall()
    return {identity: devices_of(record[STAMP_SIZE:]) for identity, record in rows}


def expected(emulator: Emulator, pool_id: str, key: Path) -> Mapping[bytes, tuple[Device, ...]]:
    identity = HmacIdentity(read_key(key))
    return {identity.of(pool_id, name): devices for name, devices in emulator.truth(pool_id).users.items()}


def asked(emulator: Emulator) -> int:
    return sum(request.operation == "AdminListDevices" for request in emulator.requests())


def wait_briefly(running: Program, seconds: float) -> None:
    eventually(lambda: running.process.poll() is not None, within=seconds)


def test_killed_at_twenty_random_moments_it_loses_nothing_and_invents_nothing(
    emulator: Emulator, tmp_path: Path
) -> None:
    pool_id = emulator.seed_pool("pool", users=USERS)
    state = tmp_path / "state.db"
    rate = 50
    text = config(
        emulator.url, pool_id, rate={"UserResourceRead": rate}, state="state.db", detail="device", refresh_interval="1h"
    )
    moments = random.Random(3)
    known: dict[bytes, tuple[Device, ...]] = {}
    for _ in range(KILLS):
        with serving_program(text, tmp_path, emulator.url) as running:
            wait_briefly(running, moments.uniform(0.1, 2.5))
            running.process.kill()
            running.process.wait()
        after = in_file(state)
        truth = expected(emulator, pool_id, tmp_path / "state.db.key")
        assert after.items() >= known.items()
        assert after.items() <= truth.items()
        known = after
    assert len(known) > USERS / 10
    with serving_program(text, tmp_path, emulator.url) as running:
        page = running.after_sweep(pool_id, within=60)
        assert_true(page, pool_id, emulator.truth(pool_id))
        assert running.end(signal.SIGTERM) == 0
    assert in_file(state) == truth
    assert asked(emulator) <= USERS + KILLS * rate * FLUSHED_WITHIN


def test_a_clean_stop_in_mid_sweep_loses_not_one_answer(emulator: Emulator, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("pool", users=300)
    text = config(
        emulator.url, pool_id, rate={"UserResourceRead": 50}, state="state.db", detail="device", refresh_interval="1h"
    )
    with serving_program(text, tmp_path, emulator.url) as running:
        assert eventually(lambda: asked(emulator) > 40)
        assert running.end(signal.SIGTERM) == 0
    before = asked(emulator)
    assert abs(before - len(in_file(tmp_path / "state.db"))) <= 5  # those in flight
    with serving_program(text, tmp_path, emulator.url) as running:
        page = running.after_sweep(pool_id, within=30)
    assert_true(page, pool_id, emulator.truth(pool_id))
    assert asked(emulator) <= 300 + 5


def test_after_a_restart_the_page_is_true_before_anything_was_asked(emulator: Emulator, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("pool", users=50)
    text = config(emulator.url, pool_id, state="state.db", refresh_interval="1h")
    with serving(text, tmp_path, emulator.url) as exporter:
        exporter.after_sweep(pool_id)
    emulator.clear_requests()
    with serving(text, tmp_path, emulator.url) as exporter:
        assert exporter.is_ready()
        page = exporter.scrape()
    assert_true(page, pool_id, emulator.truth(pool_id))
    assert page.state(pool_id) == "ok"
    assert not emulator.requests()


def test_without_a_place_for_its_state_it_goes_on_and_says_so(emulator: Emulator, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("pool", users=20)
    (tmp_path / "state.db").write_bytes(b"")
    with closing(sqlite3.connect(tmp_path / "state.db")) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("CREATE TABLE held (by_another INTEGER)")
        other.execute("BEGIN EXCLUSIVE")
        text = config(emulator.url, pool_id, state="state.db")
        with serving(text, tmp_path, emulator.url) as exporter:
            page = exporter.after_sweep(pool_id)
    assert_true(page, pool_id, emulator.truth(pool_id))
    assert page.value("cognito_exporter_state_errors_total") == 1
