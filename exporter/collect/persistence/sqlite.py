"""SQLite-backed state file in WAL mode, one row per user.

A bad file never prevents a start: a corrupt file, or one of another program, is renamed and a new one is created.
SQLite does not detect changed bytes in row data. Each row therefore has a checksum, its seal, which is verified when
the row is loaded.

Rows contain personal data. Deleted rows are overwritten in the file, and the write-ahead log, which still contains
them, is truncated immediately.
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
"""Application ID in the file header: "CDEX"."""

SCHEMA_VERSION = 2

BUSY_SECONDS = 5.0
"""Timeout in seconds at start for another process, such as the previous instance, to release the file."""

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
"""Number of users deleted per statement. For larger statements SQLite would write a temporary file elsewhere."""

RUN = 50_000
"""Number of identities sorted in one call, which blocks all other threads for some hundredths of a second."""

_WITHOUT_USERS = frozenset({PoolState.MISSING, PoolState.TRACKING_OFF})
"""States in which all stored user data of a pool is invalid."""

log = structlog.get_logger()


class StateUnusable(ExporterError):
    """State file that cannot be opened or read at the moment. The file is left unchanged."""


class StateDamaged(ExporterError):
    """State file with content that this program does not write."""


@dataclass(frozen=True, slots=True)
class Restored:
    """Stored data of one pool."""

    header: PoolHeader
    records: list[tuple[bytes, bytes]]
    """(identity, record) pairs."""


class SqliteState:
    """SQLite database with the data of all pools. Not thread-safe, except for `interrupt`."""

    def __init__(self, path: Path) -> None:
        """Open or create the file and lock it against other processes.

        Raises `StateUnusable` if another process has locked it or the directory is not writable, and `StateDamaged`
        if it is corrupt or belongs to another program.
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
        except (sqlite3.DatabaseError, UnicodeError) as error:  # SQLite's message may quote invalid UTF-8
            self._db.close()
            raise StateDamaged(str(error)) from error
        except StateDamaged:
            self._db.close()
            raise
        self._path = Path(os.path.realpath(path))  # SQLite keeps its log next to it
        self._place = place_of(path)
        self._erased = True  # an earlier process may have been killed before it rewrote the file
        self._log_is_full = True
        self._rewriting = False
        close_to_others(self._path)

    @property
    def has_erased(self) -> bool:
        """True if users were deleted after the file was last rewritten."""
        return self._erased

    def is_in_place(self) -> bool:
        """Return True if the path still refers to the file that was opened."""
        return self._place is not None and self._place == place_of(self._path)

    def load(self, key: PoolKey) -> Restored | None:
        """Return the data of a pool, or None if there is none.

        Raises `StateDamaged` if the file is corrupt and `StateUnusable` if it cannot be read at the moment.
        """
        try:
            return self._load(key)
        except sqlite3.OperationalError as error:
            raise StateUnusable(str(error)) from error
        except (sqlite3.Error, msgspec.MsgspecError, UnicodeError) as error:
            raise StateDamaged(str(error)) from error

    def write(self, batches: Mapping[PoolKey, Batch]) -> None:
        """Write all batches in one transaction.

        The write-ahead log is truncated after a batch that deletes users or completes a sweep. Therefore it does not
        keep deleted records, and it keeps replaced records only until the end of the sweep.

        Raises `OSError` if the disk is full, read-only or failing. The same batches can then be written again, even if
        they have been committed.
        """
        if batches:
            with self._transaction():
                for key, batch in batches.items():
                    self._write(key, batch)
        if self._log_is_full:
            self._empty_log()

    def retain(self, pool_ids: Iterable[str]) -> None:
        """Delete all other pools.

        Raises `OSError` under the same conditions as `write`.
        """
        with self._transaction():
            kept = frozenset(pool_ids)
            known = self._db.execute("SELECT number, pool_id FROM pools").fetchall()
            self._delete_pools(number for number, pool_id in known if pool_id not in kept)
        if self._log_is_full:
            self._empty_log()

    def rewrite(self) -> None:
        """Vacuum the file, which takes half a second for 300,000 users.

        Secure deletion overwrites a row, but not the copies that SQLite leaves in the free space of a page when it
        moves rows to other pages: of some thousand deleted users, one was still readable.

        Raises `OSError` under the same conditions as `write`. The file is then unchanged.
        """
        self._log_is_full = self._rewriting = True
        beside = str(self._path.parent.absolute()).replace("'", "''")
        try:
            # SQLite's temporary files contain user data: write them next to the file, not to a shared directory.
            self._db.execute(f"PRAGMA temp_store_directory = '{beside}'")
            self._db.execute("VACUUM")
        except (sqlite3.Error, UnicodeError) as error:
            raise OSError(f"SQLite: {error}") from error
        finally:
            self._rewriting = False
        self._empty_log()
        self._erased = False

    def interrupt(self) -> None:
        """Interrupt a `rewrite` in progress in another thread. It raises `OSError`, and the file is unchanged."""
        if self._rewriting:
            self._db.interrupt()

    def begin_again(self) -> None:
        """Write the content of this file, which was removed from its path, to a new file at the path.

        Raises `OSError` if that is not possible. An existing file at the path is an error and is left unchanged.
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
        """Checkpoint the write-ahead log and close the file."""
        with contextlib.suppress(sqlite3.Error):  # committed data is safe even if the checkpoint fails
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
        """Checkpoint and truncate the write-ahead log, which contains earlier versions of rows."""
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
        self._db.execute("PRAGMA secure_delete = ON")  # overwrites deleted rows
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
        """Return the first error that SQLite finds, else "ok". Indexes are checked for the small table `pools` only."""
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
        if row is None:  # the pool was deleted after the batch was collected
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
            # Data of another shape is kept until a complete sweep replaces it.
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
            f"DELETE FROM users WHERE pool = ? AND identity IN ({some})",  # noqa: S608 - constants only
            (number, number, DELETED_AT_ONCE),
        ).rowcount:
            self._erased = self._log_is_full = True


def _in_order(identities: Sequence[bytes]) -> Iterator[bytes]:
    """Return identities in the order of the file. Neighbors share a page, which halves the time of a large batch."""
    runs = range(0, len(identities), RUN)
    return heapq.merge(*(sorted(identities[first : first + RUN]) for first in runs))


def _sealed_with(key: PoolKey) -> bytes:
    return f"{key.pool_id} {key.shape}".encode()


def _seal(name: bytes, content: bytes) -> int:
    """Return a CRC-32 checksum. It detects corruption, not manipulation."""
    return zlib.crc32(content, zlib.crc32(name))


def set_aside(path: Path, reason: str, now: float) -> None:
    """Rename the file and its companions to a name that contains the time `now` (seconds of wall time).

    An existing file is never replaced. Raises `StateUnusable` if the files cannot be renamed.
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
    """Return an unused name for the file and its companions. If the name is taken, `-2`, `-3` … is appended."""
    names = (path.name + suffix + ending for ending in chain([""], (f"-{number}" for number in count(2))))
    return next(
        name for name in names if not any(path.with_name(name + companion).exists() for companion in COMPANIONS)
    )
