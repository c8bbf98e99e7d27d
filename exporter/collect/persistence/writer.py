"""Asynchronous writer of the state file. It collects changes of all pools and writes them in batches in one thread.

A sweep never waits for the disk. If a write fails, the daemon continues, and the writer keeps the changes and retries.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import structlog

from exporter.model import PoolDescription, PoolState

FLUSH_SECONDS = 1.0
"""Seconds between batches, which is also the time span that a kill -9 loses."""

RETRY_SECONDS = 30.0
"""Delay in seconds before a failed write is retried."""

STOP_SECONDS = 2.5
"""Timeout in seconds for the last batch when the daemon stops. Changes not written within it may be lost."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PoolKey:
    """Pool ID and shape of its stored users.

    The shape is a digest of the settings that determine which users are stored and how. Data of one shape cannot be
    used in another.
    """

    pool_id: str
    shape: str


@dataclass(frozen=True, slots=True)
class PoolHeader:
    """Stored data of a pool apart from its users. All times are wall times in seconds."""

    state: PoolState
    description: PoolDescription | None
    sweep: int
    """Number of the last started sweep."""
    first_sweep: int
    """Number of the sweep that the last one resumes. Equal to `sweep` if it resumes none."""
    sweep_started: float | None
    """Start of sweep `first_sweep`."""
    sweeping: bool
    """True if the last sweep is in progress or was interrupted, so that it can be resumed."""
    complete_once: bool
    """True if a sweep has completed, so that the aggregates cover every user."""
    last_sweep_seconds: float | None
    last_success: float | None
    failing_since: float | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Pending changes of one pool."""

    header: PoolHeader | None
    """New header; None if unchanged."""
    clear: bool
    """True if all users stored before this batch are deleted first."""
    records: Mapping[bytes, bytes | None]
    """Records by identity; None deletes the user."""


class StateFile(Protocol):
    """Destination of batches."""

    def write(self, batches: Mapping[PoolKey, Batch]) -> None:
        """Write the batches of some pools atomically. Also called without batches, to retry unfinished work.

        Raises `OSError` if writing is not possible at the moment. The caller then passes the same batches again.
        """
        ...

    def vacuum(self) -> bool:
        """Do slow maintenance, such as overwriting deleted data. Return True if there was anything to do.

        Raises `OSError` if that is not possible at the moment.
        """
        ...

    def interrupt(self) -> None:
        """Interrupt a `vacuum` in progress in another thread. It raises `OSError`."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class Failures(Protocol):
    """Observer of state file errors."""

    def state_failed(self) -> None:
        """Record that the state file could not be read or written."""
        ...


class PoolWriter(Protocol):
    """Receiver of the changes of one pool."""

    def header(self, header: PoolHeader) -> None:
        """Record a new header."""
        ...

    def put(self, identity: bytes, record: bytes) -> None:
        """Record a new or changed user."""
        ...

    def drop(self, identity: bytes) -> None:
        """Record the deletion of a user."""
        ...

    def clear(self, header: PoolHeader) -> None:
        """Record the deletion of all users, and a new header."""
        ...


class NullWriter:
    """Discards all changes. Used without `state.path`."""

    def header(self, header: PoolHeader) -> None:
        """Do nothing."""

    def put(self, identity: bytes, record: bytes) -> None:
        """Do nothing."""

    def drop(self, identity: bytes) -> None:
        """Do nothing."""

    def clear(self, header: PoolHeader) -> None:
        """Do nothing."""


NULL_WRITER = NullWriter()


class StateWriter:
    """Pending changes of all pools, and the thread that writes them."""

    def __init__(self, file: StateFile, failures: Failures) -> None:
        self._file = file
        self._failures = failures
        self._writing = threading.RLock()
        """Held while the file is used, so that a dropped pool is not written after `for_pool` or `retain` returns."""
        self._lock = threading.Lock()
        self._pools: dict[PoolKey, _Pending] = {}
        self._stopping = threading.Event()
        self._write_failing = False
        self._vacuum_failing = False
        self._thread = threading.Thread(target=self._write_until_stopped, name="state", daemon=True)

    def paused(self) -> AbstractContextManager[object]:
        """Return a context in which the writer thread does not use the file."""
        return self._writing

    def for_pool(self, key: PoolKey) -> PoolWriter:
        """Return the writer of one pool. Pending changes of the pool in other shapes are dropped."""
        with self._writing, self._lock:
            others = [other for other in self._pools if other.pool_id == key.pool_id and other != key]
            for other in others:
                del self._pools[other]
            return self._pools.setdefault(key, _Pending(self._lock))

    def retain(self, pool_ids: Collection[str]) -> None:
        """Drop the writers of all other pools. Later changes passed to those are not written."""
        with self._writing, self._lock:
            self._pools = {key: pending for key, pending in self._pools.items() if key.pool_id in pool_ids}

    def start(self) -> None:
        """Start the writer thread."""
        self._thread.start()

    def stop(self) -> None:
        """Write all pending changes and close the file. Return after `STOP_SECONDS` even if the disk hangs."""
        self._stopping.set()
        self._file.interrupt()
        self._thread.join(STOP_SECONDS)

    def flush(self) -> None:
        """Write the pending changes, then run maintenance. Errors are reported; failed changes stay pending."""
        with self._writing:
            if self._write() and not self._stopping.is_set():
                self._vacuum()

    def _write_until_stopped(self) -> None:
        while not self._stopping.wait(RETRY_SECONDS if self._write_failing else FLUSH_SECONDS):
            self.flush()
        self.flush()
        with self._writing:
            self._file.close()

    def _write(self) -> bool:
        with self._lock:
            batches = {key: batch for key, pool in self._pools.items() if (batch := pool.take()) is not None}
        try:
            self._file.write(batches)
        except Exception as error:  # noqa: BLE001 - the thread must not end: nothing would be written from then on
            with self._lock:
                for key, batch in batches.items():
                    self._pools[key].restore(batch)
            if not self._write_failing:
                _log_failure("cannot write state file; changes stay in memory until a retry succeeds", error)
            self._failures.state_failed()
            self._write_failing = True
            return False
        if self._write_failing:
            log.info("writing the state file succeeds again")
        self._write_failing = False
        return True

    def _vacuum(self) -> None:
        try:
            if self._file.vacuum():
                self._vacuum_failing = False
        except Exception as error:  # noqa: BLE001 - as above
            if self._stopping.is_set():
                return  # `stop` has interrupted it; the next start repeats it
            if not self._vacuum_failing:
                _log_failure("cannot vacuum state file; deleted users may remain in free pages", error)
            self._failures.state_failed()
            self._vacuum_failing = True


def _log_failure(event: str, error: Exception) -> None:
    """Log an error, with its traceback if it is unexpected."""
    if isinstance(error, OSError):
        log.error(event, error=str(error))
    else:
        log.error(event, error=type(error).__name__, exc_info=error)


class _Pending:
    """Pending changes of one pool."""

    # The methods of `PoolWriter` take the lock; the writer calls the others while it holds the lock.

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._header: PoolHeader | None = None
        self._clear = False
        self._records: dict[bytes, bytes | None] = {}

    def header(self, header: PoolHeader) -> None:
        with self._lock:
            self._header = header

    def put(self, identity: bytes, record: bytes) -> None:
        with self._lock:
            self._records[identity] = record

    def drop(self, identity: bytes) -> None:
        with self._lock:
            self._records[identity] = None

    def clear(self, header: PoolHeader) -> None:
        with self._lock:
            self._header = header
            self._clear = True
            self._records = {}

    def take(self) -> Batch | None:
        """Return and clear the pending changes. The caller holds the lock."""
        if self._header is None and not self._clear and not self._records:
            return None
        batch = Batch(self._header, self._clear, self._records)
        self._header, self._clear, self._records = None, False, {}
        return batch

    def restore(self, batch: Batch) -> None:
        """Restore changes that could not be written. Newer changes take precedence. The caller holds the lock."""
        self._header = self._header or batch.header
        if not self._clear:
            self._clear = batch.clear
            self._records = {**batch.records, **self._records}
