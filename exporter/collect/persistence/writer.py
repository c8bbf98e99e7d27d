"""Asynchronous writer of the state file. It collects changes of all pools and writes them in batches in one thread.

A sweep never waits for the disk. If a write fails, the daemon continues, and the writer keeps the changes and retries.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
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
    forget: bool
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

    def forget(self, header: PoolHeader) -> None:
        """Record the deletion of all users, and a new header."""
        ...


class NullWriter:
    """Journal that discards all changes. Used without `state.path`."""

    def header(self, header: PoolHeader) -> None:
        """Do nothing."""

    def put(self, identity: bytes, record: bytes) -> None:
        """Do nothing."""

    def drop(self, identity: bytes) -> None:
        """Do nothing."""

    def forget(self, header: PoolHeader) -> None:
        """Do nothing."""


NULL_WRITER = NullWriter()


class StateWriter:
    """Pending changes of all pools, and the thread that writes them."""

    def __init__(self, file: StateFile, failures: Failures) -> None:
        self._file = file
        self._failures = failures
        self._writing = threading.Lock()
        """Held while a batch is written, so that a dropped pool is not written after `of` or `retain` returns."""
        self._lock = threading.Lock()
        self._pools: dict[PoolKey, _Pending] = {}
        self._stopping = threading.Event()
        self._failing = False
        self._untidy = False
        self._thread = threading.Thread(target=self._write_until_stopped, name="state", daemon=True)

    def of(self, key: PoolKey) -> PoolWriter:
        """Return the journal of one pool. Pending changes of the pool in other shapes are dropped."""
        with self._writing, self._lock:
            others = [other for other in self._pools if other.pool_id == key.pool_id and other != key]
            for other in others:
                del self._pools[other]
            return self._pools.setdefault(key, _Pending(self._lock))

    def retain(self, pool_ids: Collection[str]) -> None:
        """Drop the journals of all other pools. Later changes to those journals are not written."""
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

    def _write_until_stopped(self) -> None:
        while not self._stopping.wait(RETRY_SECONDS if self._failing else FLUSH_SECONDS):
            self._flush()
        self._flush()
        self._file.close()

    def _flush(self) -> None:
        with self._writing:
            self._write_batches()

    def _write_batches(self) -> None:
        with self._lock:
            batches = {key: batch for key, pool in self._pools.items() if (batch := pool.take()) is not None}
        try:
            self._file.write(batches)
        except OSError as error:
            self._failed(batches, str(error))
        except Exception as error:
            # An error here must not end the thread: nothing would be written from then on, without any notice.
            if not self._failing:
                log.exception("state failed unexpectedly")
            self._failed(batches, type(error).__name__)
        else:
            if self._failing:
                log.info("state is written again")
            self._failing = False
            if not self._stopping.is_set():
                self._vacuum()

    def _vacuum(self) -> None:
        """Run maintenance after a successful write. Errors are reported and do not affect the data."""
        try:
            if self._file.vacuum():
                self._untidy = False
        except OSError as error:
            self._stays_untidy(str(error))
        except Exception as error:
            if not self._untidy:
                log.exception("state failed unexpectedly")
            self._stays_untidy(type(error).__name__)

    def _stays_untidy(self, error: str) -> None:
        if self._stopping.is_set():
            return  # `stop` has interrupted it; the next start repeats it
        self._failures.state_failed()
        if not self._untidy:
            log.error("state cannot be rewritten; traces of who was erased stay until it can", error=error)
        self._untidy = True

    def _failed(self, batches: Mapping[PoolKey, Batch], error: str) -> None:
        with self._lock:
            for key, batch in batches.items():
                self._pools[key].give_back(batch)
        self._failures.state_failed()
        if not self._failing:
            log.error("state cannot be written; going on without, and trying again", error=error)
        self._failing = True


class _Pending:
    """Pending changes of one pool."""

    # The methods of `PoolWriter` take the lock; the writer calls the others while it holds the lock.

    def __init__(self, lock: threading.Lock) -> None:
        self._lock = lock
        self._header: PoolHeader | None = None
        self._forget = False
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

    def forget(self, header: PoolHeader) -> None:
        with self._lock:
            self._header = header
            self._forget = True
            self._records = {}

    def take(self) -> Batch | None:
        """Return and clear the pending changes. The caller holds the lock."""
        if self._header is None and not self._forget and not self._records:
            return None
        batch = Batch(self._header, self._forget, self._records)
        self._header, self._forget, self._records = None, False, {}
        return batch

    def give_back(self, batch: Batch) -> None:
        """Restore changes that could not be written. Newer changes take precedence. The caller holds the lock."""
        self._header = self._header or batch.header
        if not self._forget:
            self._forget = batch.forget
            self._records = {**batch.records, **self._records}
