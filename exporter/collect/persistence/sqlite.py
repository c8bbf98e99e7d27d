"""SQLite-backed state file in WAL mode, one row per user.

A bad file never prevents a start: a corrupt file, or one of another program, is renamed and a new one is created.
SQLite does not detect changed bytes in row data. Each row therefore has a checksum (column `seal`), which is verified
when the row is loaded.

Rows contain personal data. Deleted rows are overwritten in the file, and the write-ahead log, which still contains
them, is truncated immediately.
"""

from __future__ import annotations

import contextlib
import heapq
import os
import sqlite3
import stat
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path

import msgspec
import structlog

from exporter.collect.persistence.writer import Batch, PoolHeader, PoolKey
from exporter.errors import ExporterError
from exporter.model import PoolState

APPLICATION_ID = 0x43444558
"""Application ID in the file header: "CDEX"."""

SCHEMA_VERSION = 2
"""Version of the tables, of `PoolHeader` and of the records. Each incompatible change increases it."""

BUSY_SECONDS = 5.0
"""Timeout in seconds at start for another process, such as the previous instance, to release the file."""

OWNER_ONLY = 0o600
_GROUP_AND_OTHERS = 0o077

COMPANIONS = ("", "-wal", "-shm")
"""Suffixes of the state file and of the files that SQLite keeps next to it."""

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

DELETE_CHUNK = 5_000
"""Number of users deleted per statement. For larger statements SQLite would write a temporary file elsewhere."""

SORT_CHUNK = 50_000
"""Number of identities sorted in one call, which blocks all other threads for some hundredths of a second."""

_WITHOUT_USERS = frozenset({PoolState.MISSING, PoolState.TRACKING_OFF})
"""States in which all stored user data of a pool is invalid."""

log = structlog.get_logger()


class StateError(ExporterError):
    """State file that cannot be used."""


class StateUnusable(StateError):
    """State file that cannot be opened or read at the moment. The file is left unchanged."""


class StateDamaged(StateError):
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
            path.touch(mode=OWNER_ONLY)
            opened = path.stat()
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
        self._file_id = (opened.st_dev, opened.st_ino)
        self.needs_vacuum = True
        """True if users were deleted after the last `vacuum`, also by an earlier process that was killed."""
        self._wal_has_old_rows = True
        self._vacuuming = False
        for companion in COMPANIONS:
            with contextlib.suppress(FileNotFoundError):
                _restrict_to_owner(self._path.with_name(self._path.name + companion))

    def is_in_place(self) -> bool:
        """Return True if the path still refers to the file that was opened.

        Raises `OSError` if that cannot be determined at the moment.
        """
        try:
            found = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return self._file_id == (found.st_dev, found.st_ino)

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
        if self._wal_has_old_rows:
            self._truncate_wal()

    def retain(self, pool_ids: Iterable[str]) -> None:
        """Delete all other pools.

        Raises `OSError` under the same conditions as `write`.
        """
        with self._transaction():
            kept = frozenset(pool_ids)
            known = self._db.execute("SELECT number, pool_id FROM pools").fetchall()
            self._delete_pools(number for number, pool_id in known if pool_id not in kept)
        if self._wal_has_old_rows:
            self._truncate_wal()

    def vacuum(self) -> None:
        """Vacuum the file, which takes half a second for 300,000 users.

        Secure deletion overwrites a row, but not the copies that SQLite leaves in the free space of a page when it
        moves rows to other pages: of some thousand deleted users, one was still readable.

        Raises `OSError` under the same conditions as `write`. The file is then unchanged.
        """
        self._wal_has_old_rows = self._vacuuming = True
        directory = str(self._path.parent.absolute()).replace("'", "''")
        try:
            # SQLite's temporary files contain user data: write them next to the file, not to a shared directory.
            self._db.execute(f"PRAGMA temp_store_directory = '{directory}'")
            self._db.execute("VACUUM")
        except (sqlite3.Error, UnicodeError) as error:
            raise OSError(f"SQLite: {error}") from error
        finally:
            self._vacuuming = False
        self._truncate_wal()
        self.needs_vacuum = False

    def interrupt(self) -> None:
        """Interrupt a `vacuum` in progress in another thread. It raises `OSError`, and the file is unchanged."""
        if self._vacuuming:
            self._db.interrupt()

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

    def _truncate_wal(self) -> None:
        """Checkpoint and truncate the write-ahead log, which contains earlier versions of rows."""
        try:
            (busy, *_), *_ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            raise OSError(f"SQLite: {error}") from error
        if busy:
            raise OSError("SQLite: cannot truncate the write-ahead log while it is being read")
        self._wal_has_old_rows = False

    def _prepare(self) -> None:
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA foreign_keys = ON")
        self._db.execute("PRAGMA secure_delete = ON")  # overwrites deleted rows
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._check_or_create()
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _check_or_create(self) -> None:
        application, version, tables = (
            self._db.execute(query).fetchone()[0]
            for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT count(*) FROM sqlite_master")
        )
        if not (application or version or tables):
            for statement in _SCHEMA:
                self._db.execute(statement)
        elif application != APPLICATION_ID:
            raise StateDamaged("database of another program")
        elif version != SCHEMA_VERSION:
            raise StateDamaged(f"schema version {version}, expected {SCHEMA_VERSION}")
        elif (problem := self._first_problem()) != "ok":
            raise StateDamaged(problem)
        elif self._db.execute("PRAGMA foreign_key_check").fetchone() is not None:
            raise StateDamaged("user row without a pool")

    def _first_problem(self) -> str:
        """Return the first error that SQLite finds, else "ok". Indexes are checked for the small table `pools` only."""
        checks = ("PRAGMA quick_check(1)", "PRAGMA integrity_check(pools)")
        found = (str(self._db.execute(check).fetchone()[0]) for check in checks)
        return next((problem for problem in found if problem != "ok"), "ok")

    def _load(self, key: PoolKey) -> Restored | None:
        row = self._db.execute(
            "SELECT number, header, seal FROM pools WHERE pool_id = ? AND shape = ?", (key.pool_id, key.shape)
        ).fetchone()
        if row is None:
            return None
        number, header, seal = row
        if type(header) is not bytes or seal != _checksum(_key_bytes(key), header):
            raise StateDamaged("checksum mismatch in a pool")
        rows = self._db.execute("SELECT identity, record, seal FROM users WHERE pool = ?", (number,)).fetchall()
        if not all(
            type(identity) is bytes and type(record) is bytes and seal == _checksum(identity, record)
            for identity, record, seal in rows
        ):
            raise StateDamaged("checksum mismatch in a user")
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
        if batch.clear:
            self._delete_users(number)
        known = {identity: record for identity, record in batch.records.items() if record is not None}
        gone = [(number, identity) for identity, record in batch.records.items() if record is None]
        self._db.executemany(
            "INSERT OR REPLACE INTO users VALUES (?, ?, ?, ?)",
            (
                (number, identity, record, _checksum(identity, record))
                for identity in _sorted([*known])
                for record in (known[identity],)
            ),
        )
        if gone:
            self._db.executemany("DELETE FROM users WHERE pool = ? AND identity = ?", gone)
            self.needs_vacuum = self._wal_has_old_rows = True

    def _write_header(self, key: PoolKey, header: PoolHeader) -> None:
        encoded = msgspec.json.encode(header)
        self._db.execute(
            "INSERT INTO pools (pool_id, shape, header, seal) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (pool_id, shape) DO UPDATE SET header = excluded.header, seal = excluded.seal",
            (key.pool_id, key.shape, encoded, _checksum(_key_bytes(key), encoded)),
        )
        if not header.sweeping:
            self._wal_has_old_rows = True
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
            self._wal_has_old_rows = True

    def _delete_users(self, number: int) -> None:
        some = "SELECT identity FROM users WHERE pool = ? LIMIT ?"
        while self._db.execute(
            f"DELETE FROM users WHERE pool = ? AND identity IN ({some})",  # noqa: S608 - constants only
            (number, number, DELETE_CHUNK),
        ).rowcount:
            self.needs_vacuum = self._wal_has_old_rows = True


def _sorted(identities: Sequence[bytes]) -> Iterator[bytes]:
    """Sort identities by their order in the file. Neighbors share a page, which halves the time of a large batch."""
    starts = range(0, len(identities), SORT_CHUNK)
    return heapq.merge(*(sorted(identities[start : start + SORT_CHUNK]) for start in starts))


def _key_bytes(key: PoolKey) -> bytes:
    return f"{key.pool_id} {key.shape}".encode()


def _checksum(name: bytes, content: bytes) -> int:
    """Return a CRC-32 checksum. It detects corruption, not manipulation."""
    return zlib.crc32(content, zlib.crc32(name))


def _restrict_to_owner(file: Path) -> None:
    """Remove all permissions of other users. Log a warning if that fails."""
    mode = stat.S_IMODE(file.stat().st_mode)
    if not mode & _GROUP_AND_OTHERS:
        return
    with contextlib.suppress(OSError):
        # By name, not by descriptor: closing any descriptor of the file would release SQLite's POSIX locks.
        file.chmod(OWNER_ONLY)
    if file.stat().st_mode & _GROUP_AND_OTHERS:
        log.warning("state file is accessible to others; cannot change its mode", file=file.name, mode=f"{mode:04o}")
    else:
        log.info("tightened state file permissions to owner-only", file=file.name, mode=f"{mode:04o}")


def move_aside(path: Path, reason: str, now: float) -> None:
    """Rename the file and its companions to a name that contains the time `now` (seconds of wall time).

    An existing file is never replaced. Raises `StateUnusable` if the files cannot be renamed.
    """
    try:
        moved_to = _free_name(path, datetime.fromtimestamp(now, UTC).strftime(".corrupt-%Y%m%dT%H%M%SZ"))
        for companion in COMPANIONS:
            file = path.with_name(path.name + companion)
            if file.exists():
                file.rename(path.with_name(moved_to + companion))
    except OSError as error:
        raise StateUnusable(f"{reason}, and the file cannot be moved aside: {error}") from error
    log.error("state file is corrupt; moved aside, starting empty", file=path.name, moved_to=moved_to, reason=reason)


def _free_name(path: Path, suffix: str) -> str:
    """Return an unused name for the file and its companions. If the name is taken, `-2`, `-3` … is appended."""
    names = (path.name + suffix + ending for ending in chain([""], (f"-{number}" for number in count(2))))
    return next(
        name for name in names if not any(path.with_name(name + companion).exists() for companion in COMPANIONS)
    )
