from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from exporter.collect.journal import Batch, PoolHeader, PoolKey
from exporter.collect.state import SCHEMA_VERSION, SqliteState, StateDamaged, StateUnusable, set_aside
from exporter.model import Mfa, PoolDescription, PoolState, Tracking

KEY = PoolKey("eu-west-1_AbCdEfGhI", "shape")
DESCRIPTION = PoolDescription(
    KEY.pool_id, "shop", "123456789012", "eu-west-1", Tracking.OPT_IN, Mfa.ON, mfa_bypass=True, estimated_users=3
)


def header(*, complete: bool = True) -> PoolHeader:
    return PoolHeader(
        shard="0/1",
        state=PoolState.OK,
        description=DESCRIPTION,
        sweep=4,
        first_sweep=4,
        sweep_started=1_700_000_000.5,
        sweeping=True,
        complete_once=complete,
        last_sweep_seconds=12.5,
        last_success=None,
        failing_since=None,
    )


def batch(records: dict[bytes, bytes | None], *, forget: bool = False, complete: bool = True) -> Batch:
    return Batch(header(complete=complete), forget, records)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def known(path: Path, key: PoolKey = KEY) -> dict[bytes, bytes] | None:
    state = SqliteState(path)
    restored = state.load(key)
    state.close()
    return None if restored is None else dict(restored.records)


def test_a_new_file_is_readable_by_its_owner_alone(path: Path) -> None:
    SqliteState(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_was_written_is_there_after_reopening(path: Path) -> None:
    state = SqliteState(path)
    state.write({KEY: batch({b"ann": b"1", b"bob": b"2"})})
    state.close()
    again = SqliteState(path)
    restored = again.load(KEY)
    again.close()
    assert restored is not None
    assert restored.header == header()
    assert dict(restored.records) == {b"ann": b"1", b"bob": b"2"}


def test_what_was_written_survives_a_process_that_never_closed(path: Path) -> None:
    child = os.fork()
    if child == 0:
        SqliteState(path).write({KEY: batch({b"ann": b"1"})})
        os._exit(0)
    os.waitpid(child, 0)
    assert known(path) == {b"ann": b"1"}


def test_users_are_replaced_and_deleted(path: Path) -> None:
    state = SqliteState(path)
    state.write({KEY: batch({b"ann": b"1", b"bob": b"2"})})
    state.write({KEY: Batch(None, forget=False, records={b"ann": b"3", b"bob": None, b"nobody": None})})
    state.close()
    assert known(path) == {b"ann": b"3"}


def test_a_pool_can_be_forgotten_and_begun_anew_in_one_batch(path: Path) -> None:
    state = SqliteState(path)
    state.write({KEY: batch({b"ann": b"1"})})
    state.write({KEY: batch({b"bob": b"2"}, forget=True)})
    state.close()
    assert known(path) == {b"bob": b"2"}


def test_another_shape_is_kept_until_this_one_is_complete(path: Path) -> None:
    other = PoolKey(KEY.pool_id, "another key")
    state = SqliteState(path)
    state.write({other: batch({b"ann": b"1"})})
    state.write({KEY: batch({b"ann": b"2"}, complete=False)})
    assert state.load(other) is not None
    state.write({KEY: batch({}, complete=True)})
    assert state.load(other) is None
    state.close()


def test_only_retained_pools_stay(path: Path) -> None:
    other = PoolKey("us-east-1_Other", "shape")
    state = SqliteState(path)
    state.write({KEY: batch({b"ann": b"1"}), other: batch({b"bob": b"2"})})
    state.retain([KEY.pool_id])
    state.close()
    assert known(path) == {b"ann": b"1"}
    assert known(path, other) is None


def test_all_batches_are_written_or_none(path: Path) -> None:
    state = SqliteState(path)
    bad = Batch(header(), forget=False, records={b"x": object()})  # type: ignore[dict-item] # a fault in the middle
    with pytest.raises(OSError, match="SQLite"):
        state.write({KEY: batch({b"ann": b"1"}), PoolKey("other", ""): bad})
    assert state.load(KEY) is None
    state.close()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no database at all, but quite some text" * 50, "not a database"),
        (b"SQLite format 3\x00" + b"\xff" * 5000, "."),
    ],
)
def test_a_damaged_file_is_told_from_one_that_cannot_be_had(path: Path, content: bytes, reason: str) -> None:
    path.write_bytes(content)
    with pytest.raises(StateDamaged, match=reason):
        SqliteState(path)
    assert path.read_bytes() == content


def test_a_database_of_another_program_is_not_touched(path: Path) -> None:
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE users (name TEXT)")
    foreign.commit()
    foreign.close()
    with pytest.raises(StateDamaged, match="another program"):
        SqliteState(path)


def test_a_newer_schema_is_refused_with_both_versions(path: Path) -> None:
    SqliteState(path).close()
    newer = sqlite3.connect(path)
    newer.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    newer.close()
    with pytest.raises(StateDamaged, match=f"schema {SCHEMA_VERSION + 1}, this version reads schema {SCHEMA_VERSION}"):
        SqliteState(path)


def test_pages_damaged_in_the_middle_are_noticed_when_they_are_read(path: Path) -> None:
    state = SqliteState(path)
    state.write({KEY: batch({b"%06d" % i: b"x" * 200 for i in range(2000)})})
    state.close()
    content = bytearray(path.read_bytes())
    content[40_000:200_000] = b"\xff" * 160_000
    path.write_bytes(bytes(content))
    state = SqliteState(path)
    with pytest.raises(StateDamaged):
        state.load(KEY)
    state.close()


def test_a_second_process_is_kept_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.collect.state.BUSY_SECONDS", 0.05)
    first = SqliteState(path)
    with pytest.raises(StateUnusable, match="locked"):
        SqliteState(path)
    first.close()
    SqliteState(path).close()


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(StateUnusable):
        SqliteState(tmp_path / "nowhere" / "state.db")


def test_a_full_disk_is_an_error_that_leaves_the_file_whole(path: Path) -> None:
    state = SqliteState(path)
    state.write({KEY: batch({b"ann": b"1"})})
    pages = state._db.execute("PRAGMA page_count").fetchone()[0]
    state._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(OSError, match="full"):
        state.write({KEY: batch({b"%06d" % i: b"x" * 500 for i in range(1000)})})
    state._db.execute("PRAGMA max_page_count = 100000")
    state.write({KEY: batch({b"bob": b"2"})})
    state.close()
    assert known(path) == {b"ann": b"1", b"bob": b"2"}


def test_setting_aside_moves_the_file_with_its_companions(path: Path) -> None:
    for companion in ("", "-wal", "-shm"):
        path.with_name(path.name + companion).write_text(companion)
    set_aside(path, "because", 1_700_000_000)
    assert not path.exists()
    assert sorted(p.read_text() for p in path.parent.iterdir()) == ["", "-shm", "-wal"]
    assert all(".set-aside-20231114T221320Z" in p.name for p in path.parent.iterdir())
