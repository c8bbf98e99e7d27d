"""Random damage to the state file: a start survives it, and restores all data of a pool or none."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from exporter.collect.persistence.recovery import Persistence, key_of
from exporter.collect.persistence.sqlite import APPLICATION_ID, SCHEMA_VERSION, Restored, SqliteState
from exporter.collect.persistence.writer import Batch, PoolHeader
from exporter.collect.records import encode_devices, make_record
from exporter.collect.store.pool_store import PoolStore
from exporter.config.settings import Detail
from exporter.identity import HmacIdentity
from exporter.model import Mfa, PoolDescription, PoolState, Tracking
from exporter.observers import NullObserver
from tests.fakes import ManualClock
from tests.unit.collect.listed_pools import device, settings

IDENTITY = HmacIdentity(b"0123456789abcdef")
POOLS = tuple(settings(id=f"eu-west-1_Pool{n}", detail=Detail.DEVICE) for n in range(3))
USERS = 120
PAGE = 4096


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """Silence the log, which would have thousands of lines about damaged files."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    yield
    structlog.reset_defaults()


@dataclass(frozen=True, slots=True)
class Kept:
    """Files of a killed process, with a part of the data still in the WAL."""

    file: bytes
    log: bytes
    known: Mapping[str, Restored]
    """Data by pool id."""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    directory = tmp_path_factory.mktemp("state")
    path, copy = directory / "state.db", directory / "copy.db"
    state = SqliteState(path)
    state.write({key_of(pool, IDENTITY): batch(pool.id, range(USERS)) for pool in POOLS})
    state.close()
    state = SqliteState(path)
    state.write({})  # a start and the end of a sweep checkpoint the WAL: what is written now stays in it
    for pool in POOLS[:2]:
        state.write({key_of(pool, IDENTITY): batch(pool.id, range(USERS, USERS + 20))})
    for name in ("", "-wal"):
        shutil.copy(f"{path}{name}", f"{copy}{name}")
    state.close()
    files = copy.read_bytes(), Path(f"{copy}-wal").read_bytes()
    found = restart(copy)
    assert {pool_id: len(restored.records) for pool_id, restored in found.items()} == {
        POOLS[0].id: USERS + 20,
        POOLS[1].id: USERS + 20,
        POOLS[2].id: USERS,
    }
    return Kept(*files, found)


def batch(pool_id: str, users: range) -> Batch:
    description = PoolDescription(
        pool_id, "shop", "123456789012", "eu-west-1", Tracking.ALWAYS, Mfa.ON, mfa_bypass=True, estimated_users=9
    )
    header = PoolHeader(
        state=PoolState.OK,
        description=description,
        sweep=1,
        first_sweep=1,
        sweep_started=1_700_000_000.0,
        sweeping=True,
        complete_once=True,
        last_sweep_seconds=1.0,
        last_success=1_700_000_001.0,
        failing_since=None,
    )
    payload = encode_devices([device()], with_details=True)
    records: dict[bytes, bytes | None] = {
        IDENTITY.of(pool_id, str(user)): make_record(payload, 1_700_000_000, 1) for user in users
    }
    return Batch(header, clear=False, records=records)


def restart(path: Path) -> dict[str, Restored]:
    """Return what the next process restores; assert that it can show the data and write."""
    persistence = Persistence(path, NullObserver(), ManualClock())
    try:
        found = persistence.restored([(pool, IDENTITY) for pool in POOLS])
        for pool in POOLS:
            if pool.id in found:
                store = PoolStore(pool, IDENTITY, ManualClock(), persistence.writer(pool, IDENTITY))
                store.restore(found[pool.id])
                assert store.view().data is not None
        persistence.writer(POOLS[0], IDENTITY).put(
            b"somebody", make_record(encode_devices([], with_details=True), 1, 1)
        )
        return found
    finally:
        persistence.start()
        persistence.stop()


def put(directory: Path, file: bytes, log: bytes = b"") -> Path:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    path = directory / "state.db"
    path.write_bytes(file)
    if log:
        Path(f"{path}-wal").write_bytes(log)
    return path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("damaged") / "state"


# Most control data of SQLite is at the start of a page.
OFFSETS = st.tuples(st.integers(0, 60), st.integers(0, 120) | st.integers(0, PAGE - 1)).map(
    lambda pair: pair[0] * PAGE + pair[1]
)
DAMAGE = st.lists(st.tuples(OFFSETS, st.binary(min_size=1, max_size=4)), min_size=1, max_size=4)


def damaged(content: bytes, damage: list[tuple[int, bytes]]) -> bytes:
    changed = bytearray(content)
    for offset, put_there in damage:
        start = offset % len(content)
        changed[start : start + len(put_there)] = put_there
    return bytes(changed[: len(content)])


def assert_all_or_nothing(found: Mapping[str, Restored], kept: Kept) -> None:
    assert found in ({}, kept.known)


def same(found: Restored, known: Restored) -> bool:
    return (found.header, sorted(found.records)) == (known.header, sorted(known.records))


@given(damage=DAMAGE)
def test_changed_bytes_in_the_file_restore_all_or_nothing(
    place: Path, kept: Kept, damage: list[tuple[int, bytes]]
) -> None:
    intact = restarted_once(place, kept)
    assert_all_or_nothing(restart(put(place, damaged(intact, damage))), kept)


def restarted_once(place: Path, kept: Kept) -> bytes:
    """Return the file after a checkpoint of the WAL."""
    if not place.with_suffix(".whole").exists():
        path = put(place, kept.file, kept.log)
        SqliteState(path).close()
        place.with_suffix(".whole").write_bytes(path.read_bytes())
    return place.with_suffix(".whole").read_bytes()


@given(damage=DAMAGE)
def test_changed_bytes_in_the_wal_lose_only_the_last_writes(
    place: Path, kept: Kept, damage: list[tuple[int, bytes]]
) -> None:
    found = restart(put(place, kept.file, damaged(kept.log, damage)))
    for pool_id, restored in found.items():
        known = dict(kept.known[pool_id].records)
        assert restored.records
        assert all(known[identity] == record for identity, record in restored.records)
        assert len(restored.records) in {USERS, USERS + 20}
    assert len(found) in {0, 3}


@given(digit=st.integers(0, 50), other=st.sampled_from("0123456789"), number=st.integers(1, 3))
def test_changed_digit_in_pool_data_is_detected(place: Path, kept: Kept, digit: int, other: str, number: int) -> None:
    path = put(place, restarted_once(place, kept))
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        ((header,),) = db.execute("SELECT header FROM pools WHERE number = ?", (number,)).fetchall()
        digits = [index for index, code in enumerate(header) if chr(code).isdigit()]
        index = digits[digit % len(digits)]
        changed = header[:index] + other.encode() + header[index + 1 :]
        db.execute("UPDATE pools SET header = ? WHERE number = ?", (changed, number))
    assert restart(path) == (kept.known if changed == header else {})


@given(cut=st.integers(0, 400_000))
def test_truncated_file_restores_all_or_nothing(place: Path, kept: Kept, cut: int) -> None:
    intact = restarted_once(place, kept)
    assert_all_or_nothing(restart(put(place, intact[: cut % len(intact)])), kept)


@given(file=st.binary(max_size=6000), log=st.binary(max_size=200), is_named=st.booleans())
def test_file_of_any_bytes_restores_nothing(place: Path, file: bytes, log: bytes, is_named: bool) -> None:
    assert restart(put(place, (b"SQLite format 3\x00" if is_named else b"") + file, log)) == {}


COLUMNS = ["number", "pool_id", "shape", "header", "seal", "pool", "identity", "record"]
VALUES = st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.text(max_size=5) | st.binary(max_size=20)
TYPES = st.sampled_from(["", " INTEGER", " TEXT", " BLOB", " INTEGER PRIMARY KEY", " UNIQUE", " NOT NULL"])


@st.composite
def schemas(draw: st.DrawFn) -> list[str]:
    """Return statements that create a database with our schema version but other tables."""
    statements = []
    for table in draw(st.lists(st.sampled_from(["pools", "users", "others"]), max_size=3, unique=True)):
        columns = draw(st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=5, unique=True))
        types = [draw(TYPES) for _ in columns]
        statements.append(
            f"CREATE TABLE {table} ("
            + ", ".join(name + type_ for name, type_ in zip(columns, types, strict=True))
            + ")"
        )
    more = [
        "CREATE VIEW pools AS SELECT 1 AS number, 'x' AS pool_id, 'y' AS shape, x'00' AS header, 0 AS seal",
        "CREATE VIEW users AS SELECT 1 AS pool, x'00' AS identity, x'00' AS record, 0 AS seal",
        "CREATE TRIGGER t AFTER INSERT ON pools BEGIN SELECT RAISE(ABORT, 'no'); END",
        "CREATE TRIGGER u BEFORE DELETE ON users BEGIN DELETE FROM pools; END",
    ]
    return statements + draw(st.lists(st.sampled_from(more), max_size=2, unique=True))


@given(statements=schemas(), version=st.sampled_from([SCHEMA_VERSION, SCHEMA_VERSION + 1, 0, -1]))
def test_database_of_another_schema_restores_nothing(place: Path, statements: list[str], version: int) -> None:
    path = put(place, b"")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        for statement in statements:
            with contextlib.suppress(sqlite3.Error):  # a statement that conflicts with the others
                db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {version}")
    assert restart(path) == {}


@given(
    changes=st.lists(
        st.tuples(
            st.sampled_from(
                [("pools", name) for name in COLUMNS[:5]] + [("users", name) for name in (*COLUMNS[5:], "seal")]
            ),
            VALUES,
        ),
        min_size=1,
        max_size=2,
    )
)
def test_row_with_changed_values_is_rejected(
    place: Path, kept: Kept, changes: list[tuple[tuple[str, str], object]]
) -> None:
    path = put(place, restarted_once(place, kept))
    changed = False
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        for (table, column), value in changes:
            where = "number = 1" if table == "pools" else "pool = 1 AND identity = (SELECT min(identity) FROM users)"
            with contextlib.suppress(sqlite3.Error):  # a value that the schema rejects
                cursor = db.execute(f"UPDATE {table} SET {column} = ? WHERE {where}", (value,))  # noqa: S608 - names from above
                changed = changed or bool(cursor.rowcount)
    found = restart(path)
    if not changed:
        assert_all_or_nothing(found, kept)
    for pool_id, restored in found.items():
        assert same(restored, kept.known[pool_id])
