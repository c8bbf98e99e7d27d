from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from random import Random

import pytest
from structlog.testing import capture_logs

from exporter.collect.persistence.sqlite import (
    DELETE_CHUNK,
    SCHEMA_VERSION,
    SORT_CHUNK,
    SqliteState,
    StateDamaged,
    StateUnusable,
    move_aside,
)
from exporter.collect.persistence.writer import Batch, PoolHeader, PoolKey
from exporter.model import Mfa, PoolDescription, PoolState, Tracking

KEY = PoolKey("eu-west-1_AbCdEfGhI", "shape")
DESCRIPTION = PoolDescription(
    KEY.pool_id, "shop", "123456789012", "eu-west-1", Tracking.OPT_IN, Mfa.ON, mfa_bypass=True, estimated_users=3
)


def header(*, complete: bool = True, sweeping: bool = True) -> PoolHeader:
    return PoolHeader(
        state=PoolState.OK,
        description=DESCRIPTION,
        sweep=4,
        first_sweep=4,
        sweep_started=1_700_000_000.5,
        sweeping=sweeping,
        complete_once=complete,
        last_sweep_seconds=12.5,
        last_success=None,
        failing_since=None,
    )


def batch(records: dict[bytes, bytes | None], *, clear: bool = False, complete: bool = True) -> Batch:
    return Batch(header(complete=complete), clear, records)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def in_a_process_that_is_killed(path: Path, use: Callable[[SqliteState], None]) -> None:
    """Open the file and use it in a process that never closes it."""
    child = os.fork()
    if child == 0:
        try:
            state = SqliteState(path)
            state.write({})
            use(state)
            os._exit(0)
        finally:
            os._exit(1)  # never back into pytest
    assert os.waitpid(child, 0)[1] == 0


def known(path: Path, key: PoolKey = KEY) -> dict[bytes, bytes] | None:
    state = SqliteState(path)
    restored = state.load(key)
    state.close()
    return None if restored is None else dict(restored.records)


def test_new_file_has_mode_0600(path: Path) -> None:
    SqliteState(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_load_after_reopening_returns_what_was_written(path: Path) -> None:
    state = SqliteState(path)
    state.write({KEY: batch({b"ann": b"1", b"bob": b"2"})})
    state.close()
    again = SqliteState(path)
    restored = again.load(KEY)
    again.close()
    assert restored is not None
    assert restored.header == header()
    assert dict(restored.records) == {b"ann": b"1", b"bob": b"2"}


def test_load_after_kill_returns_what_was_written(path: Path) -> None:
    in_a_process_that_is_killed(path, lambda state: state.write({KEY: batch({b"ann": b"1"})}))
    assert (path.parent / "state.db-wal").stat().st_size
    assert known(path) == {b"ann": b"1"}


def test_write_replaces_and_deletes_users(path: Path) -> None:
    state = SqliteState(path)
    state.write({KEY: batch({b"ann": b"1", b"bob": b"2"})})
    state.write({KEY: Batch(None, clear=False, records={b"ann": b"3", b"bob": None, b"nobody": None})})
    state.close()
    assert known(path) == {b"ann": b"3"}


def test_write_of_several_sort_chunks_writes_every_user(path: Path) -> None:
    users = {sha256(str(number).encode()).digest()[:16]: b"%d" % number for number in range(SORT_CHUNK * 2 + 1)}
    state = SqliteState(path)
    state.write({KEY: batch({**users})})
    state.close()
    assert known(path) == users


def test_clear_deletes_earlier_users_of_the_pool(path: Path) -> None:
    state = SqliteState(path)
    state.write({KEY: batch({b"ann": b"1"})})
    state.write({KEY: batch({b"bob": b"2"}, clear=True)})
    state.close()
    assert known(path) == {b"bob": b"2"}


def test_deleted_users_are_overwritten_in_the_file(path: Path) -> None:
    state = SqliteState(path)
    everybody = {b"somebody-%03d" % user: b"x" * 50 for user in range(500)}
    state.write({KEY: batch(dict(everybody))})
    state.write({KEY: batch(dict.fromkeys(everybody))})
    assert state._db.execute("PRAGMA secure_delete").fetchone() == (1,)
    state.close()
    assert [file.name for file in path.parent.iterdir()] == ["state.db"]
    assert b"somebody" not in path.read_bytes()


ANN = b"canary-ann-5f1c"
OTHER_SHAPE = PoolKey(KEY.pool_id, "under other names")
ERASURES: dict[str, Callable[[SqliteState], None]] = {
    "deleted": lambda state: state.write({KEY: Batch(None, clear=False, records={ANN: None})}),
    "forgotten": lambda state: state.write({KEY: Batch(None, clear=True, records={})}),
    "pool removed": lambda state: state.retain(()),
    "shape replaced": lambda state: state.write({OTHER_SHAPE: batch({})}),
}


def in_files(path: Path) -> bytes:
    """Return the content of the file and of the files that SQLite keeps next to it."""
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


@pytest.mark.parametrize("erase", ERASURES.values(), ids=list(ERASURES))
def test_deleted_user_is_at_once_in_no_file(path: Path, erase: Callable[[SqliteState], None]) -> None:
    state = SqliteState(path)
    state.write({})
    state.write({KEY: batch({ANN: b"1", b"bob": b"2"})})
    state.write({KEY: batch({ANN: b"3"})})
    assert ANN in in_files(path)
    erase(state)
    assert ANN not in in_files(path)
    assert state.needs_vacuum
    state.close()


@pytest.mark.parametrize("erase", ERASURES.values(), ids=list(ERASURES))
def test_needs_vacuum_from_deletion_until_vacuum(path: Path, erase: Callable[[SqliteState], None]) -> None:
    state = SqliteState(path)
    state.write({KEY: batch({ANN: b"1"})})
    state.vacuum()
    state.write({KEY: batch({b"bob": b"2"})})
    state.write({KEY: Batch(header(sweeping=False), clear=False, records={})})
    assert not state.needs_vacuum
    erase(state)
    assert state.needs_vacuum
    state.vacuum()
    assert not state.needs_vacuum
    state.close()


def test_start_truncates_the_wal_of_a_killed_process(
    path: Path,
) -> None:
    def erase(state: SqliteState) -> None:
        state.write({KEY: batch({ANN: b"1"})})
        with state._transaction():
            state._write(KEY, Batch(None, clear=False, records={ANN: None}))

    in_a_process_that_is_killed(path, erase)
    assert ANN in in_files(path)
    state = SqliteState(path)
    assert state.needs_vacuum
    state.write({})
    assert ANN not in in_files(path)
    state.close()


def test_replaced_record_is_in_no_file_after_the_sweep(path: Path) -> None:
    state = SqliteState(path)
    state.write({})
    state.write({KEY: batch({b"bob": b"seen from 203.0.113.77"})})
    state.write({KEY: batch({b"bob": b"seen from elsewhere"})})
    assert b"203.0.113.77" in in_files(path)
    state.write({KEY: Batch(header(sweeping=False), clear=False, records={})})
    assert b"203.0.113.77" not in in_files(path)
    state.close()


def test_wal_that_is_being_read_is_truncated_later(path: Path) -> None:
    state = SqliteState(path)
    state.write({KEY: batch({ANN: b"1", b"bob": b"2"})})
    reading = state._db.execute("SELECT identity FROM users")
    reading.fetchone()
    with pytest.raises(OSError, match="SQLite"):
        state.write({KEY: batch({ANN: None})})
    reading.close()
    state.write({})
    assert ANN not in in_files(path)
    state.close()


@pytest.mark.parametrize("seed", range(4))
def test_vacuum_removes_copies_in_free_space(path: Path, seed: int) -> None:
    random, alive = Random(seed), dict[bytes, bytes]()
    state = SqliteState(path)
    for _ in range(40):
        new = {b"canary-%08x@" % random.getrandbits(32): random.randbytes(random.randrange(10, 800)) for _ in range(60)}
        alive |= new
        state.write({KEY: batch({**new})})
        gone = random.sample(sorted(alive), 20)
        state.write({KEY: batch(dict.fromkeys(gone))})
        for name in gone:
            del alive[name]
    state.vacuum()
    assert set(re.findall(rb"canary-[0-9a-f]{8}@", in_files(path))) == alive.keys()
    state.close()
    assert known(path) == alive


def test_temporary_files_stay_in_the_state_directory(path: Path) -> None:
    users = {b"%06d" % number + b"@example.com" * 9: b"x" for number in range(DELETE_CHUNK * 10)}
    state = SqliteState(path)
    state.write({KEY: batch({**users}), PoolKey("eu-west-1_Other", ""): batch({**users})})
    seen: set[str] = set()

    def record_files() -> int:
        """Record open temporary files. SQLite unlinks them at once, so that a listing would not show them."""
        opened = [file.readlink() for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
        seen.update(str(file.parent) for file in opened if "etilqs" in file.name)
        return 0

    state._db.set_progress_handler(record_files, 10_000)
    state.write({KEY: batch({}, clear=True)})
    state.retain(())
    assert not seen
    state.write({KEY: batch({**users})})
    state.vacuum()
    assert seen <= {str(path.parent)}
    state.close()


@pytest.mark.parametrize("companion", ["", "-wal"])
def test_open_restricts_permissions_to_the_owner(path: Path, companion: str) -> None:
    in_a_process_that_is_killed(path, lambda state: state.write({KEY: batch({ANN: b"1"})}))
    path.with_name(path.name + companion).chmod(0o644)
    with capture_logs() as logs:
        state = SqliteState(path)
    state.write({KEY: batch({b"bob": b"1"})})
    assert {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {
        "state.db": 0o600,
        "state.db-wal": 0o600,
    }
    state.close()
    assert [(entry["log_level"], entry["file"], entry["mode"]) for entry in logs] == [
        ("info", f"state.db{companion}", "0644")
    ]


def test_mode_that_cannot_be_changed_logs_a_warning(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.touch(mode=0o640)

    def not_ours(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", not_ours)
    with capture_logs() as logs:
        state = SqliteState(path)
    state.write({KEY: batch({b"ann": b"1"})})
    state.close()
    assert {(entry["log_level"], entry["mode"]) for entry in logs} == {("warning", "0640")}
    assert known(path) == {b"ann": b"1"}


def test_foreign_file_keeps_its_mode(path: Path) -> None:
    path.write_bytes(b"no database at all, but quite some text" * 50)
    path.chmod(0o644)
    with pytest.raises(StateDamaged):
        SqliteState(path)
    assert path.stat().st_mode & 0o777 == 0o644


def test_other_shape_is_kept_until_this_one_is_complete(path: Path) -> None:
    other = PoolKey(KEY.pool_id, "another key")
    state = SqliteState(path)
    state.write({other: batch({b"ann": b"1"})})
    state.write({KEY: batch({b"ann": b"2"}, complete=False)})
    assert state.load(other) is not None
    state.write({KEY: batch({}, complete=True)})
    assert state.load(other) is None
    state.close()


@pytest.mark.parametrize("state", [PoolState.MISSING, PoolState.TRACKING_OFF])
def test_other_shapes_of_a_pool_without_data_are_deleted(path: Path, state: PoolState) -> None:
    other = PoolKey(KEY.pool_id, "another shard")
    file = SqliteState(path)
    file.write({other: batch({b"ann": b"1"})})
    file.write({KEY: Batch(replace(header(complete=False), state=state), clear=True, records={})})
    assert file.load(other) is None
    file.close()


def test_retain_deletes_other_pools(path: Path) -> None:
    other = PoolKey("us-east-1_Other", "shape")
    state = SqliteState(path)
    state.write({KEY: batch({b"ann": b"1"}), other: batch({b"bob": b"2"})})
    state.retain([KEY.pool_id])
    state.close()
    assert known(path) == {b"ann": b"1"}
    assert known(path, other) is None


def test_write_is_atomic_over_all_batches(path: Path) -> None:
    state = SqliteState(path)
    no_text = PoolKey("\ud800", "")  # a fault in the middle: SQLite takes no lone surrogate
    with pytest.raises(OSError, match="SQLite"):
        state.write({KEY: batch({b"ann": b"1"}), no_text: batch({b"bob": b"2"})})
    assert state.load(KEY) is None
    state.close()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"no database at all, but quite some text" * 50, "not a database"),
        (b"SQLite format 3\x00" + b"\xff" * 5000, "."),
    ],
)
def test_open_corrupt_file_raises_damaged(path: Path, content: bytes, reason: str) -> None:
    path.write_bytes(content)
    with pytest.raises(StateDamaged, match=reason):
        SqliteState(path)
    assert path.read_bytes() == content


def test_open_foreign_database_raises_damaged(path: Path) -> None:
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE users (name TEXT)")
    foreign.commit()
    foreign.close()
    with pytest.raises(StateDamaged, match="another program"):
        SqliteState(path)


def test_open_newer_schema_raises_with_both_versions(path: Path) -> None:
    SqliteState(path).close()
    newer = sqlite3.connect(path)
    newer.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    newer.close()
    with pytest.raises(StateDamaged, match=f"schema version {SCHEMA_VERSION + 1}, expected {SCHEMA_VERSION}"):
        SqliteState(path)


def test_open_with_corrupt_pages_raises_damaged(path: Path) -> None:
    state = SqliteState(path)
    state.write({KEY: batch({b"%06d" % i: b"x" * 200 for i in range(2000)})})
    state.close()
    content = bytearray(path.read_bytes())
    content[40_000:200_000] = b"\xff" * 160_000
    path.write_bytes(bytes(content))
    with pytest.raises(StateDamaged):
        SqliteState(path)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE users SET record = x'0102030405'",
        "UPDATE users SET identity = x'0102030405'",
        "UPDATE pools SET header = replace(header, '1', '2')",
        "UPDATE pools SET pool_id = 'eu-west-1_Other', shape = shape",
    ],
)
def test_load_changed_row_raises_damaged(path: Path, damage: str) -> None:
    state = SqliteState(path)
    state.write({KEY: batch({b"ann": b"1"})})
    state.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(damage)
        ((pool_id, shape),) = db.execute("SELECT pool_id, shape FROM pools").fetchall()
    state = SqliteState(path)
    with pytest.raises(StateDamaged, match="checksum mismatch"):
        state.load(PoolKey(pool_id, shape))
    state.close()


def test_open_with_users_without_pool_raises_damaged(path: Path) -> None:
    state = SqliteState(path)
    state.write({KEY: batch({b"ann": b"1"})})
    state.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE users SET pool = 9")
    with pytest.raises(StateDamaged, match="without a pool"):
        SqliteState(path)


def test_open_with_corrupt_index_raises_damaged(path: Path) -> None:
    state = SqliteState(path)
    state.write({KEY: batch({b"ann": b"1"})})
    state.close()
    content = path.read_bytes()
    place = content.rindex(KEY.pool_id.encode())  # the pages of the index come last
    assert content.count(KEY.pool_id.encode()) == 3  # one is in the description in the pool's header
    path.write_bytes(content[:place] + b"E" + content[place + 1 :])
    with pytest.raises(StateDamaged, match="missing from index"):
        SqliteState(path)


def test_open_with_error_in_invalid_utf8_raises_damaged(path: Path) -> None:
    state = SqliteState(path)
    state.write({KEY: batch({b"ann": b"1"})})
    state.close()
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE users", b"CREATE TABLE \xad\xad\xad\xad\xad"))
    with pytest.raises(StateDamaged):
        SqliteState(path)


def test_open_locked_file_raises_unusable(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.collect.persistence.sqlite.BUSY_SECONDS", 0.05)
    first = SqliteState(path)
    with pytest.raises(StateUnusable, match="locked"):
        SqliteState(path)
    first.close()
    SqliteState(path).close()


def test_open_in_missing_directory_raises_unusable(tmp_path: Path) -> None:
    with pytest.raises(StateUnusable):
        SqliteState(tmp_path / "nowhere" / "state.db")


def test_write_to_full_disk_raises_and_keeps_the_file(path: Path) -> None:
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


def test_move_aside_moves_companions(path: Path) -> None:
    for companion in ("", "-wal", "-shm"):
        path.with_name(path.name + companion).write_text(companion)
    move_aside(path, "reason", 1_700_000_000)
    assert not path.exists()
    assert sorted(p.read_text() for p in path.parent.iterdir()) == ["", "-shm", "-wal"]
    assert all(".corrupt-20231114T221320Z" in p.name for p in path.parent.iterdir())


def test_move_aside_in_the_same_second_appends_a_number(path: Path) -> None:
    with capture_logs() as logs:
        for content in ("first", "second", "third"):
            path.write_text(content)
            move_aside(path, "reason", 1_700_000_000)
    names = [f"{path.name}.corrupt-20231114T221320Z{ending}" for ending in ("", "-2", "-3")]
    assert [path.with_name(name).read_text() for name in names] == ["first", "second", "third"]
    assert [entry["moved_to"] for entry in logs] == names


@pytest.mark.parametrize("companion", ["-wal", "-shm"])
def test_move_aside_never_replaces_a_companion(path: Path, companion: str) -> None:
    alone = path.with_name(f"{path.name}.corrupt-20231114T221320Z{companion}")
    alone.write_text("alone")
    for end in ("", companion):
        path.with_name(path.name + end).write_text("new")
    move_aside(path, "reason", 1_700_000_000)
    assert alone.read_text() == "alone"
    assert path.with_name(f"{path.name}.corrupt-20231114T221320Z-2{companion}").read_text() == "new"


def test_interrupted_vacuum_leaves_the_file_unchanged(path: Path) -> None:
    state = SqliteState(path)
    records: dict[bytes, bytes | None] = {b"%d" % number: b"1" * 100 for number in range(100_000)}
    state.write({KEY: batch(records)})
    with ThreadPoolExecutor(1) as pool:
        rewriting = pool.submit(state.vacuum)
        while not rewriting.done():
            state.interrupt()
        # SQLite reports an interrupt while it opens its temporary database as a failure to open it.
        with pytest.raises(OSError, match=r"interrupted|unable to open database"):
            rewriting.result()
    assert state.needs_vacuum
    state.interrupt()
    state.write({KEY: batch({ANN: b"2"})})
    restored = state.load(KEY)
    assert restored is not None
    assert len(restored.records) == 100_001
    state.close()


def test_is_in_place_after_removal_or_replacement_is_false(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    state = SqliteState(link)
    assert state.is_in_place()
    path.unlink()
    assert not state.is_in_place()
    path.write_text("other")
    assert not state.is_in_place()
    state.close()
    assert path.read_text() == "other"


def test_is_in_place_of_an_inaccessible_path_raises(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = SqliteState(path)

    def fail(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", fail)
    with pytest.raises(PermissionError):
        state.is_in_place()
    monkeypatch.undo()
    state.close()
