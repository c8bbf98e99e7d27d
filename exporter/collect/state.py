"""The state file: SQLite in WAL mode, one row per user.

Whatever is wrong with the file, the daemon starts: a file that is damaged, or not this program's, is set
aside under another name and a new one begun.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import structlog

from exporter.collect.journal import Batch, PoolHeader, PoolKey
from exporter.errors import ExporterError

APPLICATION_ID = 0x43444558
"""Stands in the header of every file of ours: "CDEX"."""

SCHEMA_VERSION = 1

BUSY_SECONDS = 5.0
"""So long a start waits for another process to let go of the file, such as the one it replaces."""

_SCHEMA = (
    """
    CREATE TABLE pools (
        number INTEGER PRIMARY KEY,
        pool_id TEXT NOT NULL,
        shape TEXT NOT NULL,
        header BLOB NOT NULL,
        UNIQUE (pool_id, shape)
    )
    """,
    """
    CREATE TABLE users (
        pool INTEGER NOT NULL REFERENCES pools (number) ON DELETE CASCADE,
        identity BLOB NOT NULL,
        record BLOB NOT NULL,
        PRIMARY KEY (pool, identity)
    ) WITHOUT ROWID
    """,
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

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
    """`exporter.collect.journal.StateFile` in SQLite; after opening, used by one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open the file, or begin it, and keep every other process out.

        Raises `StateUnusable` when another process holds it or the directory cannot be written,
        `StateDamaged` when it is no file of ours.
        """
        try:
            path.touch(mode=0o600)
            self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, check_same_thread=False, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            raise StateUnusable(str(error)) from error
        try:
            self._prepare()
        except sqlite3.OperationalError as error:
            self._db.close()
            raise StateUnusable(str(error)) from error
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise StateDamaged(str(error)) from error
        except StateDamaged:
            self._db.close()
            raise

    def load(self, key: PoolKey) -> Restored | None:
        """What is known of a pool; None where nothing is.

        Raises `StateDamaged` when the file holds what it should not, `StateUnusable` when it cannot be read at
        the moment.
        """
        try:
            return self._load(key)
        except sqlite3.OperationalError as error:
            raise StateUnusable(str(error)) from error
        except (sqlite3.Error, msgspec.MsgspecError) as error:
            raise StateDamaged(str(error)) from error

    def write(self, batches: Mapping[PoolKey, Batch]) -> None:
        """Write all batches in one transaction.

        Raises `OSError` when the disk is full, read-only, or fails.
        """
        with self._transaction():
            for key, batch in batches.items():
                self._write(key, batch)

    def retain(self, pool_ids: Iterable[str]) -> None:
        """Forget every pool but these.

        Raises `OSError` as `write` does.
        """
        with self._transaction():
            known = {pool_id for (pool_id,) in self._db.execute("SELECT DISTINCT pool_id FROM pools")}
            gone = [(pool_id,) for pool_id in known.difference(pool_ids)]
            self._db.executemany("DELETE FROM pools WHERE pool_id = ?", gone)

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
        except sqlite3.Error as error:
            raise OSError(f"SQLite: {error}") from error

    def _prepare(self) -> None:
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA foreign_keys = ON")
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

    def _load(self, key: PoolKey) -> Restored | None:
        row = self._db.execute(
            "SELECT number, header FROM pools WHERE pool_id = ? AND shape = ?", (key.pool_id, key.shape)
        ).fetchone()
        if row is None:
            return None
        number, header = row
        users = self._db.execute("SELECT identity, record FROM users WHERE pool = ?", (number,)).fetchall()
        if not all(type(identity) is bytes and type(record) is bytes for identity, record in users):
            raise StateDamaged("a user has an identity or a record that is no blob")
        return Restored(msgspec.json.decode(header, type=PoolHeader), users)

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
            self._db.execute("DELETE FROM users WHERE pool = ?", (number,))
        known = [(number, identity, record) for identity, record in batch.records.items() if record is not None]
        gone = [(number, identity) for identity, record in batch.records.items() if record is None]
        self._db.executemany("INSERT OR REPLACE INTO users VALUES (?, ?, ?)", known)
        self._db.executemany("DELETE FROM users WHERE pool = ? AND identity = ?", gone)

    def _write_header(self, key: PoolKey, header: PoolHeader) -> None:
        self._db.execute(
            "INSERT INTO pools (pool_id, shape, header) VALUES (?, ?, ?)"
            " ON CONFLICT (pool_id, shape) DO UPDATE SET header = excluded.header",
            (key.pool_id, key.shape, msgspec.json.encode(header)),
        )
        if header.complete_once:
            # What another key or detail had left is kept until something complete takes its place.
            self._db.execute("DELETE FROM pools WHERE pool_id = ? AND shape <> ?", (key.pool_id, key.shape))


def set_aside(path: Path, reason: str, now: float) -> None:
    """Rename the file, and what SQLite keeps beside it, to a name that tells `now`, in seconds of wall time.

    Raises `StateUnusable` when that is not possible.
    """
    suffix = datetime.fromtimestamp(now, UTC).strftime(".set-aside-%Y%m%dT%H%M%SZ")
    try:
        for companion in ("", "-wal", "-shm"):
            file = path.with_name(path.name + companion)
            if file.exists():
                file.rename(file.with_name(path.name + suffix + companion))
    except OSError as error:
        raise StateUnusable(f"{reason}, and it cannot be set aside: {error}") from error
    log.error(
        "the state file cannot be used; it is set aside and a new one begun",
        file=path.name,
        moved_to=path.name + suffix,
        reason=reason,
    )
