"""Recovery from the state file after a restart, including a corrupt or unavailable file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import tempfile
import threading
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import structlog

from exporter.clock import Clock
from exporter.collect.persistence.sqlite import Restored, SqliteState, StateDamaged, StateUnusable, set_aside
from exporter.collect.persistence.writer import NULL_WRITER, Batch, Failures, PoolKey, PoolWriter, StateWriter
from exporter.collect.records import verify
from exporter.config.settings import Detail, PoolSettings
from exporter.identity import Identity, read_key
from exporter.shard import UNSHARDED, Shard

KEY_BYTES = 32

REWRITE_SHARE = 0.01
"""Maximum share of time spent on rewriting the file."""

REWRITE_SECONDS = 600.0
"""Minimum number of seconds between two rewrites of the file."""

log = structlog.get_logger()


class Recovery(Protocol):
    """Source of the data of an earlier process, and destination of new data."""

    def restored(self, pools: Sequence[tuple[PoolSettings, Identity]]) -> dict[str, Restored]:
        """Return the stored data of these pools by pool ID. Data of another shape (see `PoolKey`) is left out."""
        ...

    def journal(self, pool: PoolSettings, identity: Identity) -> PoolWriter:
        """Return the journal of a pool."""
        ...

    def retain(self, pool_ids: Collection[str]) -> None:
        """Delete the data of all other pools."""
        ...

    def start(self) -> None:
        """Start writing."""
        ...

    def stop(self) -> None:
        """Write all pending changes."""
        ...


class NoRecovery:
    """Recovery without a state file. Every start is empty."""

    def restored(self, pools: Sequence[tuple[PoolSettings, Identity]]) -> dict[str, Restored]:  # noqa: ARG002 - nothing to restore
        """Return no data."""
        return {}

    def journal(self, pool: PoolSettings, identity: Identity) -> PoolWriter:  # noqa: ARG002 - nothing to write
        """Return a journal that discards all changes."""
        return NULL_WRITER

    def retain(self, pool_ids: Collection[str]) -> None:
        """Do nothing."""

    def start(self) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


NO_RECOVERY = NoRecovery()


class FileRecovery:
    """Recovery from a state file. Implements `writer.StateFile` for its own journal."""

    def __init__(self, path: Path, failures: Failures, clock: Clock, shard: Shard = UNSHARDED) -> None:
        """Open the file for the data of `shard`. A corrupt file is moved aside and a new one is created.

        Raises `StateUnusable` if no file can be opened or created.
        """
        self._path = path
        self._failures = failures
        self._clock = clock
        self._shard = shard
        self._lock = threading.Lock()  # a reload may read while the journal writes
        self._state = self._opened()
        self._retained: frozenset[str] | None = None
        """Pools to keep in a pending deletion of all other pools; None if no deletion is pending."""
        self._next_rewrite = clock.monotonic()
        self._journal = StateWriter(self, failures)

    def restored(self, pools: Sequence[tuple[PoolSettings, Identity]]) -> dict[str, Restored]:
        """Return the stored data of these pools by pool ID.

        If any of the data is corrupt, the file is moved aside and nothing is restored: a part of the data, continued
        in a new file, could not be distinguished from all of it.
        """
        for pool, identity in pools:
            self.journal(pool, identity)  # first: drops pending changes in another shape, which could delete this data
        with self._lock:
            if self._retained is not None:
                self._retained = self._retained.union(pool.id for pool, _ in pools)
            try:
                return {pool.id: found for pool, identity in pools if (found := self._loaded(pool, identity))}
            except StateDamaged as error:
                self._start_empty(str(error))
            except StateUnusable as error:
                self._disable(error)
        return {}

    def journal(self, pool: PoolSettings, identity: Identity) -> PoolWriter:
        """Return the journal of a pool. Pending changes of the pool in another shape are dropped."""
        return self._journal.of(key_of(pool, identity, self._shard))

    def retain(self, pool_ids: Collection[str]) -> None:
        """Delete all other pools from the file and drop their pending changes."""
        self._journal.retain(pool_ids)
        with self._lock, contextlib.suppress(OSError):  # retried with the next batch, which reports errors
            self._retained = frozenset(pool_ids)
            self._let_go()

    def write(self, batches: Mapping[PoolKey, Batch]) -> None:
        """Write batches as `SqliteState.write` does. A file that was removed is first created again with its data."""
        with self._lock:
            if not self._state.is_in_place():
                self._recreate_file()
            self._let_go()
            self._state.write(batches)

    def vacuum(self) -> bool:
        """Rewrite the file if users were deleted and the last rewrite is long enough ago. Return True if rewritten.

        Raises `OSError` if the file cannot be rewritten.
        """
        with self._lock:
            began = self._clock.monotonic()
            if not self._state.has_erased or began < self._next_rewrite:
                return False
            try:
                self._state.rewrite()
            finally:
                took = self._clock.monotonic() - began
                self._next_rewrite = began + max(REWRITE_SECONDS, took / REWRITE_SHARE)
            return True

    def interrupt(self) -> None:
        """Interrupt a rewrite in progress."""
        self._state.interrupt()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._state.close()

    def start(self) -> None:
        """Start writing."""
        self._journal.start()

    def stop(self) -> None:
        """Write all pending changes and close the file."""
        self._journal.stop()

    def _opened(self) -> SqliteState:
        try:
            return SqliteState(self._path)
        except StateDamaged as error:
            self._set_aside(str(error))
        try:
            return SqliteState(self._path)
        except StateDamaged as error:
            raise StateUnusable(str(error)) from error

    def _let_go(self) -> None:
        if self._retained is not None:
            self._state.retain(self._retained)
            self._retained = None

    def _recreate_file(self) -> None:
        self._state.begin_again()
        self._state.close()
        try:
            self._state = SqliteState(self._path)
        except (StateUnusable, StateDamaged) as error:
            raise OSError(str(error)) from error
        self._failures.state_failed()
        log.error("the state file was removed; a new one is begun with all that was known", file=self._path.name)

    def _start_empty(self, reason: str) -> None:
        self._state.close()
        try:
            self._set_aside(reason)
            self._state = SqliteState(self._path)
        except (StateUnusable, StateDamaged) as error:
            self._disable(error)

    def _disable(self, error: Exception) -> None:
        """Close the file and continue without persistence. Every later write fails and is counted and logged."""
        self._state.close()
        self._failures.state_failed()
        log.error("the state file cannot be used; going on without", file=self._path.name, error=str(error))

    def _set_aside(self, reason: str) -> None:
        self._failures.state_failed()
        set_aside(self._path, reason, self._clock.wall())

    def _loaded(self, pool: PoolSettings, identity: Identity) -> Restored | None:
        restored = self._state.load(key_of(pool, identity, self._shard))
        if restored is not None:
            try:
                verify([record for _, record in restored.records], with_details=pool.detail is not Detail.POOL)
            except ValueError as error:
                raise StateDamaged(str(error)) from error
        return restored


def recover(path: Path | None, failures: Failures, clock: Clock, shard: Shard = UNSHARDED) -> Recovery:
    """Open the state file. Return `NoRecovery` if `path` is None or the file cannot be opened."""
    if path is None:
        return NoRecovery()
    try:
        return FileRecovery(path, failures, clock, shard)
    except StateUnusable as error:
        failures.state_failed()
        log.error("the state file cannot be had; going on without", file=path.name, error=str(error))
        return NoRecovery()


def key_of(pool: PoolSettings, identity: Identity, shard: Shard = UNSHARDED) -> PoolKey:
    """Return the key under which the data of a pool is stored.

    Data of another user selection, shard, identity key, detail level or set of device attributes has another key,
    because it is not valid under these settings.
    """
    attributes = sorted(pool.device_attributes)
    shape = json.dumps([identity.fingerprint, pool.detail.value, attributes, _selection(pool, identity), str(shard)])
    return PoolKey(pool.id, hashlib.sha256(shape.encode()).hexdigest()[:16])


def _selection(pool: PoolSettings, identity: Identity) -> str:
    """Return a digest of the user selection, independent of the order of names.

    It is keyed like a user's identity: with a plain digest, anyone with the file could test guessed names.
    """
    users = pool.users
    chosen = [sorted(users.usernames or ()), sorted(users.groups or ()), users.filter, pool.skip_federated_users]
    return identity.of(pool.id, json.dumps(chosen)).hex()


def stored_identity_key(state_path: Path) -> bytes:
    """Return the identity key that is stored next to the state file. Create it if it does not exist.

    Raises `OSError` or `ValueError` if it cannot be created or read.
    """
    path = state_path.with_name(state_path.name + ".key")
    if not path.exists():
        _make_key(path)
    return read_key(path)


def _make_key(path: Path) -> None:
    """Create the key file atomically. A key that another process has just created is kept."""
    # An unpredictable name prevents others from placing a file or link there in advance.
    number, draft = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        with open(number, "wb") as file:  # noqa: PTH123 - opens a descriptor
            file.write(secrets.token_hex(KEY_BYTES).encode())
            file.flush()
            os.fsync(number)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        Path(draft).unlink()
