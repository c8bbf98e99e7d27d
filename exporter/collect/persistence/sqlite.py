"""The state file: SQLite in WAL mode, one row per user.

Whatever is wrong with the file, the daemon starts: a file that is damaged, or not this program's, is set
aside under another name and a new one begun. SQLite would hand out a changed byte as if nothing were; each row
carries a checksum, its seal, so that what is restored is what was kept.

Rows are about persons: what is deleted is overwritten in the file, and the write-ahead log, which has it still, is
emptied at once.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path

import msgspec
import structlog

from exporter.collect.persistence.placement import COMPANIONS, OWNERS_ALONE, close_to_others, place_of
from exporter.collect.persistence.writer import Batch, PoolHeader, PoolKey
from exporter.errors import ExporterError
from exporter.model import PoolState

APPLICATION_ID = 0x43444558
"""Stands in the header of every file of ours: "CDEX"."""

SCHEMA_VERSION = 2

BUSY_SECONDS = 5.0
"""So long a start waits for another process to let go of the file, such as the one it replaces."""

_SCHEMA = (
    """
    CREATE TABLE pools (
        number INTEGER PRIMARY KEY,
        pool_id TEXT NOT NULL,
        shape TEXT NOT NULL,
        header BLOB NOT NULL,
        seal INTEGER NOT NULL,
        UNIQUE (pool_id, shape)
    )
    """,
    """
    CREATE TABLE users (
        pool INTEGER NOT NULL REFERENCES pools (number) ON DELETE CASCADE,
        identity BLOB NOT NULL,
        record BLOB NOT NULL,
        seal INTEGER NOT NULL,
        PRIMARY KEY (pool, identity)
    ) WITHOUT ROWID
    """,
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

DELETED_AT_ONCE = 5_000
"""So many users are deleted in one statement: of more SQLite would keep a list in a file of its own elsewhere."""

RUN = 50_000
"""So many identities are sorted in one go, which holds up every other thread for some hundredths of a second."""

_WITHOUT_USERS = frozenset({PoolState.MISSING, PoolState.TRACKING_OFF})
"""States in which nothing that was ever read of a pool is true."""

log = structlog.get_logger()


class StateUnusable(ExporterError):
    """The file cannot be had at the moment, and is left as it is."""


class StateDamaged(ExporterError):
    """The file holds something else than what this program writes."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What the file knew of one pool."""

    header: PoolHeader
    records: list[tuple[bytes, bytes]]
    """Records by identity."""


class SqliteState:
    """`exporter.collect.persistence.writer.StateFile` in SQLite; after opening, used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open the file, or begin it, and keep every other process out.

        Raises `StateUnusable` when another process holds it or the directory cannot be written,
        `StateDamaged` when it is no file of ours.
        """
        try:
            path.touch(mode=OWNERS_ALONE)
            self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise StateUnusable(str(error)) from error
        try:
            self._prepare()
        except sqlite3.OperationalError as error:
            self._db.close()
            raise StateUnusable(str(error)) from error
        except (sqlite3.DatabaseError, UnicodeError) as error:  # what SQLite quotes of a damaged file may be no text
            self._db.close()
            raise StateDamaged(str(error)) from error
        except StateDamaged:
            self._db.close()
            raise
        self._path = Path(os.path.realpath(path))  # beside which SQLite keeps its log
        self._place = place_of(path)
        self._erased = True  # by a process before this one, which may have been killed before it came to overwriting
        self._log_is_full = True
        self._rewriting = False
        close_to_others(self._path)

    @property
    def has_erased(self) -> bool:
        """Whether somebody was deleted since the file was last rewritten."""
        return self._erased

    def is_in_place(self) -> bool:
        """Whether the file that was opened is the one that stands at its path."""
        return self._place is not None and self._place == place_of(self._path)

    def load(self, key: PoolKey) -> Restored | None:
        """What is known of a pool; None where nothing is.

        Raises `StateDamaged` when the file holds what it should not, `StateUnusable` when it cannot be read at
        the moment.
        """
        try:
            return self._load(key)
        except sqlite3.OperationalError as error:
            raise StateUnusable(str(error)) from error
        except (sqlite3.Error, msgspec.MsgspecError, UnicodeError) as error:
            raise StateDamaged(str(error)) from error

    def write(self, batches: Mapping[PoolKey, Batch]) -> None:
        """Write all batches in one transaction; what they delete or replace is not left in the write-ahead log.

        A batch that ends a sweep empties the log as well, so that no record outlives the one that replaced it for
        longer than a sweep. Raises `OSError` when the disk is full, read-only, or fails; all batches can then be
        written again, whether they were written or not.
        """
        if batches:
            with self._transaction():
                for key, batch in batches.items():
                    self._write(key, batch)
        if self._log_is_full:
            self._empty_log()

    def retain(self, pool_ids: Iterable[str]) -> None:
        """Forget every pool but these.

        Raises `OSError` as `write` does.
        """
        with self._transaction():
            kept = frozenset(pool_ids)
            known = self._db.execute("SELECT number, pool_id FROM pools").fetchall()
            self._delete_pools(number for number, pool_id in known if pool_id not in kept)
        if self._log_is_full:
            self._empty_log()

    def rewrite(self) -> None:
        """Write the file anew, in place: half a second for 300,000 users.

        Deleting overwrites a row, but not the copies that SQLite leaves in the free space of a page when it moves
        rows to its neighbours: of some thousand deleted users one was still to be read. Raises `OSError` as `write`
        does; the file is then as it was.
        """
        self._log_is_full = self._rewriting = True
        beside = str(self._path.parent.absolute()).replace("'", "''")
        try:
            # What SQLite cannot hold in memory meanwhile shall lie beside the file, never in a directory for all.
            self._db.execute(f"PRAGMA temp_store_directory = '{beside}'")
            self._db.execute("VACUUM")
        except (sqlite3.Error, UnicodeError) as error:
            raise OSError(f"SQLite: {error}") from error
        finally:
            self._rewriting = False
        self._empty_log()
        self._erased = False

    def hurry(self) -> None:
        """End a rewriting under way in another thread; it raises, and the file is as it was."""
        if self._rewriting:
            self._db.interrupt()

    def begin_again(self) -> None:
        """Write all that this file holds to a new one at its path, from which it was removed.

        Raises `OSError` when that is not possible, as when another file stands there, which is left as it is.
        """
        try:
            self._path.touch(mode=OWNERS_ALONE, exist_ok=False)
        except OSError as error:
            raise OSError(f"the file was removed, and no new one can be begun: {error}") from error
        try:
            for companion in COMPANIONS[1:]:
                self._path.with_name(self._path.name + companion).unlink(missing_ok=True)
            self._db.execute("VACUUM INTO ?", (str(self._path),))
        except (OSError, sqlite3.Error, UnicodeError) as error:
            self._path.unlink(missing_ok=True)
            raise OSError(f"the file was removed, and its content cannot be written again: {error}") from error

    def close(self) -> None:
        """Fold the write-ahead log into the file, and let go of it."""
        with contextlib.suppress(sqlite3.Error):  # what was committed is safe either way
            self._db.close()

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
        except (sqlite3.Error, UnicodeError) as error:
            raise OSError(f"SQLite: {error}") from error

    def _empty_log(self) -> None:
        """Fold the write-ahead log into the file and cut it to nothing: it has every row as it was before."""
        try:
            (busy, *_), *_ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            raise OSError(f"SQLite: {error}") from error
        if busy:
            raise OSError("SQLite: the write-ahead log cannot be emptied: it is being read")
        self._log_is_full = False

    def _prepare(self) -> None:
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.execute("PRAGMA secure_delete = ON")  # who is gone is overwritten
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._check_or_begin()
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _check_or_begin(self) -> None:
        application, version, tables = (
            self._db.execute(query).fetchone()[0]
            for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
        )
        if not (application or version or tables):
            for statement in _SCHEMA:
                self._db.execute(statement)
        elif application != APPLICATION_ID:
            raise StateDamaged("it is a database of another program")
        elif version != SCHEMA_VERSION:
            raise StateDamaged(f"it has schema {version}, this version reads schema {SCHEMA_VERSION}")
        elif (found := self._first_fault()) != "ok":
            raise StateDamaged(found)
        elif self._db.execute("PRAGMA foreign_key_check").fetchone() is not None:
            raise StateDamaged("a user belongs to no pool")

    def _first_fault(self) -> str:
        """What SQLite finds wrong, else "ok"; only of the few pools also whether their index finds them all."""
        checks = ("PRAGMA quick_check(1)", "PRAGMA integrity_check(pools)")
        found = (str(self._db.execute(check).fetchone()[0]) for check in checks)
        return next((fault for fault in found if fault != "ok"), "ok")

    def _load(self, key: PoolKey) -> Restored | None:
        row = self._db.execute(
            "SELECT number, header, seal FROM pools WHERE pool_id = ? AND shape = ?", (key.pool_id, key.shape)
        ).fetchone()
        if row is None:
            return None
        number, header, seal = row
        if type(header) is not bytes or seal != _seal(_sealed_with(key), header):
            raise StateDamaged("a pool is not as it was written")
        rows = self._db.execute("SELECT identity, record, seal FROM users WHERE pool = ?", (number,)).fetchall()
        if not all(type(identity) is bytes and type(record) is bytes for identity, record, _ in rows):
            raise StateDamaged("a user has an identity or a record that is no blob")
        if not all(seal == _seal(identity, record) for identity, record, seal in rows):
            raise StateDamaged("a user is not as it was written")
        return Restored(
            msgspec.json.decode(header, type=PoolHeader), [(identity, record) for identity, record, _ in rows]
        )

    def _write(self, key: PoolKey, batch: Batch) -> None:
        if batch.header is not None:
            self._write_header(key, batch.header)
        row = self._db.execute(
            "SELECT number FROM pools WHERE pool_id = ? AND shape = ?", (key.pool_id, key.shape)
        ).fetchone()
        if row is None:  # forgotten in the meantime
            return
        (number,) = row
        if batch.forget:
            self._delete_users(number)
        known = {identity: record for identity, record in batch.records.items() if record is not None}
        gone = [(number, identity) for identity, record in batch.records.items() if record is None]
        self._db.executemany(
            "INSERT OR REPLACE INTO users VALUES (?, ?, ?, ?)",
            ((number, identity, known[identity], _seal(identity, known[identity])) for identity in _in_order([*known])),
        )
        if gone:
            self._db.executemany("DELETE FROM users WHERE pool = ? AND identity = ?", gone)
            self._erased = self._log_is_full = True

    def _write_header(self, key: PoolKey, header: PoolHeader) -> None:
        encoded = msgspec.json.encode(header)
        self._db.execute(
            "INSERT INTO pools (pool_id, shape, header, seal) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (pool_id, shape) DO UPDATE SET header = excluded.header, seal = excluded.seal",
            (key.pool_id, key.shape, encoded, _seal(_sealed_with(key), encoded)),
        )
        if not header.sweeping:
            self._log_is_full = True
        if header.complete_once or header.state in _WITHOUT_USERS:
            # What another shard, key or detail had left is kept until something complete takes its place.
            others = self._db.execute(
                "SELECT number FROM pools WHERE pool_id = ? AND shape <> ?", (key.pool_id, key.shape)
            ).fetchall()
            self._delete_pools(number for (number,) in others)

    def _delete_pools(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self._delete_users(number)
            self._db.execute("DELETE FROM pools WHERE number = ?", (number,))
            self._log_is_full = True

    def _delete_users(self, number: int) -> None:
        some = "SELECT identity FROM users WHERE pool = ? LIMIT ?"
        while self._db.execute(
            f"DELETE FROM users WHERE pool = ? AND identity IN ({some})",  # noqa: S608 - of constants
            (number, number, DELETED_AT_ONCE),
        ).rowcount:
            self._erased = self._log_is_full = True


def _in_order(identities: Sequence[bytes]) -> Iterator[bytes]:
    """As they stand in the file: a large batch takes half the time where neighbours lie on the same page."""
    runs = range(0, len(identities), RUN)
    return heapq.merge(*(sorted(identities[first : first + RUN]) for first in runs))


def _sealed_with(key: PoolKey) -> bytes:
    return f"{key.pool_id} {key.shape}".encode()


def _seal(name: bytes, content: bytes) -> int:
    """A checksum against damage, not against forgery: who can write the file can write anything."""
    return zlib.crc32(content, zlib.crc32(name))


def set_aside(path: Path, reason: str, now: float) -> None:
    """Rename the file, and what SQLite keeps beside it, to a name that tells `now`, in seconds of wall time.

    What was set aside before is never replaced. Raises `StateUnusable` when that is not possible.
    """
    try:
        moved_to = _free_name(path, datetime.fromtimestamp(now, UTC).strftime(".set-aside-%Y%m%dT%H%M%SZ"))
        for companion in COMPANIONS:
            file = path.with_name(path.name + companion)
            if file.exists():
                file.rename(path.with_name(moved_to + companion))
    except OSError as error:
        raise StateUnusable(f"{reason}, and it cannot be set aside: {error}") from error
    log.error(
        "the state file cannot be used; it is set aside and a new one begun",
        file=path.name,
        moved_to=moved_to,
        reason=reason,
    )


def _free_name(path: Path, suffix: str) -> str:
    """A name that neither a file nor a companion has; the second of the same second ends in `-2`."""
    names = (path.name + suffix + ending for ending in chain([""], (f"-{number}" for number in count(2))))
    return next(
        name for name in names if not any(path.with_name(name + companion).exists() for companion in COMPANIONS)
    )
