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
    DELETED_AT_ONCE,
    RUN,
    SCHEMA_VERSION,
    SqliteState,
    StateDamaged,
    StateUnusable,
    set_aside,
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


def batch(records: dict[bytes, bytes | None], *, forget: bool = False, complete: bool = True) -> Batch:
    return Batch(header(complete=complete), forget, records)


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
    in_a_process_that_is_killed(path, lambda state: state.write({KEY: batch({b"ann": b"1"})}))
    assert (path.parent / "state.db-wal").stat().st_size
    assert known(path) == {b"ann": b"1"}


def test_users_are_replaced_and_deleted(path: Path) -> None:
    state = SqliteState(path)
    state.write({KEY: batch({b"ann": b"1", b"bob": b"2"})})
    state.write({KEY: Batch(None, forget=False, records={b"ann": b"3", b"bob": None, b"nobody": None})})
    state.close()
    assert known(path) == {b"ann": b"3"}


def test_a_batch_of_more_users_than_are_sorted_at_once_is_written_whole(path: Path) -> None:
    users = {sha256(str(number).encode()).digest()[:16]: b"%d" % number for number in range(RUN * 2 + 1)}
    state = SqliteState(path)
    state.write({KEY: batch({**users})})
    state.close()
    assert known(path) == users


def test_a_pool_can_be_forgotten_and_begun_anew_in_one_batch(path: Path) -> None:
    state = SqliteState(path)
    state.write({KEY: batch({b"ann": b"1"})})
    state.write({KEY: batch({b"bob": b"2"}, forget=True)})
    state.close()
    assert known(path) == {b"bob": b"2"}


def test_who_is_deleted_is_not_left_in_the_free_space_of_the_file(path: Path) -> None:
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
    "deleted": lambda state: state.write({KEY: Batch(None, forget=False, records={ANN: None})}),
    "forgotten": lambda state: state.write({KEY: Batch(None, forget=True, records={})}),
    "pool removed": lambda state: state.retain(()),
    "shape replaced": lambda state: state.write({OTHER_SHAPE: batch({})}),
}


def in_files(path: Path) -> bytes:
    """All that stands in the file and what SQLite keeps beside it."""
    return b"".join(file.read_bytes() for file in path.parent.iterdir())


@pytest.mark.parametrize("erase", ERASURES.values(), ids=list(ERASURES))
def test_who_is_erased_is_at_once_in_no_file_while_the_program_runs(
    path: Path, erase: Callable[[SqliteState], None]
) -> None:
    state = SqliteState(path)
    state.write({})
    state.write({KEY: batch({ANN: b"1", b"bob": b"2"})})
    state.write({KEY: batch({ANN: b"3"})})
    assert ANN in in_files(path)
    erase(state)
    assert ANN not in in_files(path)
    assert state.has_erased
    state.close()


@pytest.mark.parametrize("erase", ERASURES.values(), ids=list(ERASURES))
def test_that_somebody_was_erased_is_noted_until_the_file_is_rewritten(
    path: Path, erase: Callable[[SqliteState], None]
) -> None:
    state = SqliteState(path)
    state.write({KEY: batch({ANN: b"1"})})
    state.rewrite()
    state.write({KEY: batch({b"bob": b"2"})})
    state.write({KEY: Batch(header(sweeping=False), forget=False, records={})})
    assert not state.has_erased
    erase(state)
    assert state.has_erased
    state.rewrite()
    assert not state.has_erased
    state.close()


def test_what_was_erased_by_a_process_that_was_killed_before_it_emptied_its_log_goes_with_the_next_start(
    path: Path,
) -> None:
    def erase(state: SqliteState) -> None:
        state.write({KEY: batch({ANN: b"1"})})
        with state._transaction():
            state._write(KEY, Batch(None, forget=False, records={ANN: None}))

    in_a_process_that_is_killed(path, erase)
    assert ANN in in_files(path)
    state = SqliteState(path)
    assert state.has_erased
    state.write({})
    assert ANN not in in_files(path)
    state.close()


def test_a_record_that_was_replaced_is_in_no_file_once_a_sweep_has_ended(path: Path) -> None:
    state = SqliteState(path)
    state.write({})
    state.write({KEY: batch({b"bob": b"seen from 203.0.113.77"})})
    state.write({KEY: batch({b"bob": b"seen from elsewhere"})})
    assert b"203.0.113.77" in in_files(path)
    state.write({KEY: Batch(header(sweeping=False), forget=False, records={})})
    assert b"203.0.113.77" not in in_files(path)
    state.close()


def test_a_log_that_is_being_read_is_told_and_emptied_when_it_can_be(path: Path) -> None:
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
def test_rewriting_takes_away_the_copies_that_lie_between_the_rows(path: Path, seed: int) -> None:
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
    state.rewrite()
    assert set(re.findall(rb"canary-[0-9a-f]{8}@", in_files(path))) == alive.keys()
    state.close()
    assert known(path) == alive


def test_who_is_erased_leaves_nothing_in_a_directory_for_all(path: Path) -> None:
    users = {b"%06d" % number + b"@example.com" * 9: b"x" for number in range(DELETED_AT_ONCE * 10)}
    state = SqliteState(path)
    state.write({KEY: batch({**users}), PoolKey("eu-west-1_Other", ""): batch({**users})})
    seen: set[str] = set()

    def look() -> int:
        """What SQLite opens for itself is never seen by name: it has none."""
        opened = [file.readlink() for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
        seen.update(str(file.parent) for file in opened if "etilqs" in file.name)
        return 0

    state._db.set_progress_handler(look, 10_000)
    state.write({KEY: batch({}, forget=True)})
    state.retain(())
    assert not seen
    state.write({KEY: batch({**users})})
    state.rewrite()
    assert seen <= {str(path.parent)}
    state.close()


@pytest.mark.parametrize("companion", ["", "-wal"])
def test_a_file_that_others_can_reach_becomes_its_owners_alone(path: Path, companion: str) -> None:
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


def test_a_mode_that_cannot_be_changed_is_warned_of(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_file_of_another_program_keeps_its_mode(path: Path) -> None:
    path.write_bytes(b"no database at all, but quite some text" * 50)
    path.chmod(0o644)
    with pytest.raises(StateDamaged):
        SqliteState(path)
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("gone", [[""], ["", "-wal"]])
def test_a_file_that_was_removed_can_be_begun_again_with_all_it_held(path: Path, gone: list[str]) -> None:
    state = SqliteState(path)
    state.write({KEY: batch({b"ann": b"1"})})
    assert state.is_in_place()
    for companion in gone:
        path.with_name(path.name + companion).unlink()
    assert not state.is_in_place()
    state.write({KEY: batch({b"bob": b"2"})})
    state.begin_again()
    state.close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert known(path) == {b"ann": b"1", b"bob": b"2"}
    assert [file.name for file in path.parent.iterdir()] == ["state.db"]


def test_a_file_that_somebody_put_in_place_of_the_one_removed_is_left_as_it_is(path: Path) -> None:
    state = SqliteState(path)
    path.unlink()
    path.write_text("somebody else's")
    assert not state.is_in_place()
    with pytest.raises(OSError, match=r"removed, and no new one can be begun: .*exists"):
        state.begin_again()
    assert path.read_text() == "somebody else's"
    state.close()


def test_a_file_that_cannot_be_begun_again_whole_is_not_begun(path: Path) -> None:
    state = SqliteState(path)
    state.write({KEY: batch({b"ann": b"1"})})
    path.unlink()
    state._db.execute("BEGIN")  # in the middle of which SQLite copies no file
    state._db.execute("DELETE FROM users")
    with pytest.raises(OSError, match="cannot be written again"):
        state.begin_again()
    assert not path.exists()
    state._db.execute("ROLLBACK")
    state.begin_again()
    state.close()
    assert known(path) == {b"ann": b"1"}


def test_another_shape_is_kept_until_this_one_is_complete(path: Path) -> None:
    other = PoolKey(KEY.pool_id, "another key")
    state = SqliteState(path)
    state.write({other: batch({b"ann": b"1"})})
    state.write({KEY: batch({b"ann": b"2"}, complete=False)})
    assert state.load(other) is not None
    state.write({KEY: batch({}, complete=True)})
    assert state.load(other) is None
    state.close()


@pytest.mark.parametrize("state", [PoolState.MISSING, PoolState.TRACKING_OFF])
def test_no_shape_is_kept_of_a_pool_of_which_nothing_is_true_any_more(path: Path, state: PoolState) -> None:
    other = PoolKey(KEY.pool_id, "another shard")
    file = SqliteState(path)
    file.write({other: batch({b"ann": b"1"})})
    file.write({KEY: Batch(replace(header(complete=False), state=state), forget=True, records={})})
    assert file.load(other) is None
    file.close()


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


def test_pages_damaged_in_the_middle_are_noticed(path: Path) -> None:
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
def test_a_row_that_is_not_as_it_was_written_is_noticed(path: Path, damage: str) -> None:
    state = SqliteState(path)
    state.write({KEY: batch({b"ann": b"1"})})
    state.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(damage)
        ((pool_id, shape),) = db.execute("SELECT pool_id, shape FROM pools").fetchall()
    state = SqliteState(path)
    with pytest.raises(StateDamaged, match="as it was written"):
        state.load(PoolKey(pool_id, shape))
    state.close()


def test_users_whose_pool_is_gone_are_noticed(path: Path) -> None:
    state = SqliteState(path)
    state.write({KEY: batch({b"ann": b"1"})})
    state.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("UPDATE users SET pool = 9")
    with pytest.raises(StateDamaged, match="no pool"):
        SqliteState(path)


def test_a_pool_that_its_index_does_not_find_is_noticed(path: Path) -> None:
    state = SqliteState(path)
    state.write({KEY: batch({b"ann": b"1"})})
    state.close()
    content = path.read_bytes()
    place = content.rindex(KEY.pool_id.encode())  # the pages of the index come last
    assert content.count(KEY.pool_id.encode()) == 3  # one is in the header of the pool, where the description stands
    path.write_bytes(content[:place] + b"E" + content[place + 1 :])
    with pytest.raises(StateDamaged, match="missing from index"):
        SqliteState(path)


def test_a_fault_that_sqlite_cannot_put_into_words_is_damage_too(path: Path) -> None:
    state = SqliteState(path)
    state.write({KEY: batch({b"ann": b"1"})})
    state.close()
    path.write_bytes(path.read_bytes().replace(b"CREATE TABLE users", b"CREATE TABLE \xad\xad\xad\xad\xad"))
    with pytest.raises(StateDamaged):
        SqliteState(path)


def test_a_second_process_is_kept_out(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.collect.persistence.sqlite.BUSY_SECONDS", 0.05)
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


def test_what_is_set_aside_in_the_same_second_is_kept_as_well(path: Path) -> None:
    with capture_logs() as logs:
        for content in ("first", "second", "third"):
            path.write_text(content)
            set_aside(path, "because", 1_700_000_000)
    names = [f"{path.name}.set-aside-20231114T221320Z{ending}" for ending in ("", "-2", "-3")]
    assert [path.with_name(name).read_text() for name in names] == ["first", "second", "third"]
    assert [entry["moved_to"] for entry in logs] == names


@pytest.mark.parametrize("companion", ["-wal", "-shm"])
def test_a_companion_that_was_set_aside_alone_is_not_replaced(path: Path, companion: str) -> None:
    alone = path.with_name(f"{path.name}.set-aside-20231114T221320Z{companion}")
    alone.write_text("alone")
    for end in ("", companion):
        path.with_name(path.name + end).write_text("new")
    set_aside(path, "because", 1_700_000_000)
    assert alone.read_text() == "alone"
    assert path.with_name(f"{path.name}.set-aside-20231114T221320Z-2{companion}").read_text() == "new"


def test_a_rewriting_that_is_told_to_hurry_ends_and_leaves_the_file_as_it_was(path: Path) -> None:
    state = SqliteState(path)
    records: dict[bytes, bytes | None] = {b"%d" % number: b"1" * 100 for number in range(100_000)}
    state.write({KEY: batch(records)})
    with ThreadPoolExecutor(1) as pool:
        rewriting = pool.submit(state.rewrite)
        while not rewriting.done():
            state.interrupt()
        # SQLite reports an interrupt while it opens its temporary database as a failure to open it.
        with pytest.raises(OSError, match=r"interrupted|unable to open database"):
            rewriting.result()
    assert state.has_erased
    state.interrupt()
    state.write({KEY: batch({ANN: b"2"})})
    restored = state.load(KEY)
    assert restored is not None
    assert len(restored.records) == 100_001
    state.close()


def test_a_file_behind_a_link_is_begun_again_where_the_link_leads(path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    state = SqliteState(link)
    state.write({KEY: batch({ANN: b"1"})})
    path.unlink()
    assert not state.is_in_place()
    state.begin_again()
    state.close()
    assert link.is_symlink()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT identity FROM users").fetchall() == [(ANN,)]
