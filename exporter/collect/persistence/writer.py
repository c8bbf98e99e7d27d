"""What is known of the pools on its way to the state file: collected here, written in batches by one thread.

A sweep never waits for the disk. When writing fails, the daemon goes on without: what was to be written
stays collected and is tried again.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog

from exporter.model import PoolDescription, PoolState

FLUSH_SECONDS = 1.0
"""What was read is on disk at the latest so much later; what a kill -9 loses."""

RETRY_SECONDS = 30.0
"""After a failure to write, the next attempt comes so much later."""

STOP_SECONDS = 2.5
"""So long a stop waits for the last batch; what is then not written was never promised to survive."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PoolKey:
    """Which pool, and in which shape its users are kept: what was kept in one shape says nothing in another."""

    pool_id: str
    shape: str


@dataclass(frozen=True, slots=True)
class PoolHeader:
    """What is kept of a pool beside its users; wall times in seconds."""

    state: PoolState
    description: PoolDescription | None
    sweep: int
    """The number of the last sweep that was started."""
    first_sweep: int
    """The number of the sweep that the last one goes on with; its own where it began anew."""
    sweep_started: float | None
    """When that first one was started."""
    sweeping: bool
    complete_once: bool
    """Whether some sweep has met every user, so that the sums are true."""
    last_sweep_seconds: float | None
    last_success: float | None
    failing_since: float | None


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes of one pool."""

    header: PoolHeader | None
    """None: as it was."""
    forget: bool
    """Whether every user known before this batch is gone."""
    records: Mapping[bytes, bytes | None]
    """Records by identity; None where the user is gone."""


class StateFile(Protocol):
    """Where batches end up."""

    def write(self, batches: Mapping[PoolKey, Batch]) -> None:
        """Write the batches of some pools, all or none; without any, only do what was left undone.

        Raises `OSError` when that is not possible at the moment; the same batches come again.
        """
        ...

    def tidy(self) -> bool:
        """Do what takes longer and may wait, such as to overwrite what was erased; whether there was anything to do.

        Raises `OSError` when that is not possible at the moment.
        """
        ...

    def hurry(self) -> None:
        """Have a `tidy` under way, in another thread, end at once, with `OSError`."""
        ...

    def close(self) -> None:
        """Nothing more is written."""
        ...


class Failures(Protocol):
    """Hears of failures of the state file."""

    def state_failed(self) -> None:
        """The state file could not be read or written."""
        ...


class PoolJournal(Protocol):
    """Takes the changes of one pool."""

    def header(self, header: PoolHeader) -> None:
        """The pool as a whole has changed."""
        ...

    def put(self, identity: bytes, record: bytes) -> None:
        """A user was read or met."""
        ...

    def drop(self, identity: bytes) -> None:
        """A user is gone."""
        ...

    def forget(self, header: PoolHeader) -> None:
        """Every user is gone, and the pool as a whole has changed."""
        ...


class NoJournal:
    """Keeps nothing: without `state.path` all is in memory."""

    def header(self, header: PoolHeader) -> None:
        """Nothing is kept."""

    def put(self, identity: bytes, record: bytes) -> None:
        """Nothing is kept."""

    def drop(self, identity: bytes) -> None:
        """Nothing is kept."""

    def forget(self, header: PoolHeader) -> None:
        """Nothing is kept."""


NO_JOURNAL = NoJournal()


class Journal:
    """The journals of all pools, and the thread that writes them."""

    def __init__(self, file: StateFile, failures: Failures) -> None:
        self._file = file
        self._failures = failures
        self._writing = threading.Lock()
        """Held while a batch is under way, so that nothing of a pool is written after the journal let go of it."""
        self._lock = threading.Lock()
        self._pools: dict[PoolKey, _Pending] = {}
        self._stopping = threading.Event()
        self._failing = False
        self._untidy = False
        self._thread = threading.Thread(target=self._write_until_stopped, name="state", daemon=True)

    def of(self, key: PoolKey) -> PoolJournal:
        """The journal of one pool, which is kept in this shape alone from now on."""
        with self._writing, self._lock:
            others = [other for other in self._pools if other.pool_id == key.pool_id and other != key]
            for other in others:
                del self._pools[other]
            return self._pools.setdefault(key, _Pending(self._lock))

    def retain(self, pool_ids: Collection[str]) -> None:
        """Let go of every pool but these: nothing more is written of them, whoever may still tell."""
        with self._writing, self._lock:
            self._pools = {key: pending for key, pending in self._pools.items() if key.pool_id in pool_ids}

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is left, and close the file; a disk that hangs is not waited for."""
        self._stopping.set()
        self._file.hurry()
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
            # A fault of this program's own: without this thread nothing would ever be written again, unnoticed.
            if not self._failing:
                log.exception("state failed unexpectedly")
            self._failed(batches, type(error).__name__)
        else:
            if self._failing:
                log.info("state is written again")
            self._failing = False
            if not self._stopping.is_set():
                self._tidy()

    def _tidy(self) -> None:
        """What is written stays written, whatever comes of this."""
        try:
            if self._file.tidy():
                self._untidy = False
        except OSError as error:
            self._stays_untidy(str(error))
        except Exception as error:
            if not self._untidy:
                log.exception("state failed unexpectedly")
            self._stays_untidy(type(error).__name__)

    def _stays_untidy(self, error: str) -> None:
        if self._stopping.is_set():
            return  # told to hurry; the next start tidies up
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
    """The changes of one pool since they were last taken."""

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
        """The changes, which are then no longer pending; the caller holds the lock."""
        if self._header is None and not self._forget and not self._records:
            return None
        batch = Batch(self._header, self._forget, self._records)
        self._header, self._forget, self._records = None, False, {}
        return batch

    def give_back(self, batch: Batch) -> None:
        """Changes that could not be written; newer ones win. The caller holds the lock."""
        self._header = self._header or batch.header
        if not self._forget:
            self._forget = batch.forget
            self._records = {**batch.records, **self._records}
