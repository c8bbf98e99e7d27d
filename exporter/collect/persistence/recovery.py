"""Persistence of the collected data, including recovery from a corrupt or unavailable file."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import structlog

from exporter.clock import Clock
from exporter.collect.persistence.sqlite import Restored, SqliteState, StateDamaged, StateError, move_aside
from exporter.collect.persistence.writer import NULL_WRITER, Batch, Failures, PoolKey, PoolWriter, StateWriter
from exporter.collect.records import verify
from exporter.config.settings import Detail, PoolSettings
from exporter.identity import Identity
from exporter.shard import UNSHARDED, Shard

VACUUM_SHARE = 0.01
"""Maximum share of time spent on vacuuming the file."""

VACUUM_SECONDS = 600.0
"""Minimum number of seconds between two runs of `VACUUM`."""

log = structlog.get_logger()


class Persistence:
    """State file of all pools: returns the data of an earlier process and writes new data.

    It is disabled, and all changes are discarded, if there is no path, if the file cannot be used, and after the file
    was removed or replaced while the daemon runs.
    """

    def __init__(
        self,
        path: Path | None,
        failures: Failures,
        clock: Clock,
        shard: Shard = UNSHARDED,
        on_new_file: Callable[[], None] = lambda: None,
    ) -> None:
        """Open the file for the data of `shard`. A corrupt file is moved aside and a new one is created.

        `on_new_file` is called when another file takes the place of the one that has been written to. It must write
        all data again.
        """
        self._path = path
        self._failures = failures
        self._clock = clock
        self._shard = shard
        self._on_new_file = on_new_file
        self._retained: frozenset[str] | None = None
        """Pools to keep in a pending deletion of all other pools; None if no deletion is pending."""
        self._next_vacuum = clock.monotonic()
        self._writer = StateWriter(self, failures)
        self._file: SqliteState | None = None
        if path is not None:
            self._file = self._open(path)

    def restored(self, pools: Sequence[tuple[PoolSettings, Identity]]) -> dict[str, Restored]:
        """Return the stored data of these pools by pool ID. Data of another shape (see `PoolKey`) is left out.

        If any of the data is corrupt, the file is moved aside and nothing is restored: a part of the data, continued
        in a new file, could not be distinguished from all of it.
        """
        for pool, identity in pools:
            self.writer(pool, identity)  # drops pending changes in another shape, which could delete this data
        with self._writer.paused():
            if self._file is None:
                return {}
            if self._retained is not None:
                self._retained = self._retained.union(pool.id for pool, _ in pools)
            try:
                return {pool.id: data for pool, identity in pools if (data := self._load(self._file, pool, identity))}
            except StateError as error:
                self._replace(error)
        return {}

    def writer(self, pool: PoolSettings, identity: Identity) -> PoolWriter:
        """Return the writer of a pool. Pending changes of the pool in another shape are dropped."""
        if self._path is None:
            return NULL_WRITER
        return self._writer.for_pool(key_of(pool, identity, self._shard))

    def retain(self, pool_ids: Collection[str]) -> None:
        """Delete all other pools from the file and drop their pending changes."""
        self._writer.retain(pool_ids)
        with self._writer.paused(), contextlib.suppress(OSError):  # retried with the next batch, which reports errors
            self._retained = frozenset(pool_ids)
            if self._file is not None:
                self._delete_others(self._file)

    def reopen(self) -> None:
        """Enable persistence again if the file could not be used, or was removed."""
        with self._writer.paused():
            if self._path is not None and self._file is None:
                self._file = self._open(self._path)
                if self._file is not None:
                    log.info("opened state file; writing all data", file=self._path.name)
                    self._on_new_file()

    def write(self, batches: Mapping[PoolKey, Batch]) -> None:
        """Write batches as `SqliteState.write` does. Disable persistence if the file was removed or replaced."""
        if self._file is None:
            return
        if not self._file.is_in_place():
            self._disable("state file was removed; continuing without persistence until restart or reload")
            return
        self._delete_others(self._file)
        self._file.write(batches)

    def vacuum(self) -> bool:
        """Vacuum the file if users were deleted and the last vacuum is long enough ago. Return True if it ran.

        Raises `OSError` if the file cannot be rewritten.
        """
        began = self._clock.monotonic()
        if self._file is None or not self._file.needs_vacuum or began < self._next_vacuum:
            return False
        try:
            self._file.vacuum()
        finally:
            took = self._clock.monotonic() - began
            self._next_vacuum = began + max(VACUUM_SECONDS, took / VACUUM_SHARE)
        return True

    def interrupt(self) -> None:
        """Interrupt a vacuum in progress."""
        file = self._file
        if file is not None:
            file.interrupt()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def start(self) -> None:
        """Start writing."""
        if self._path is not None:
            self._writer.start()

    def stop(self) -> None:
        """Write all pending changes and close the file."""
        if self._path is not None:
            self._writer.stop()

    def _open(self, path: Path) -> SqliteState | None:
        """Open the file, or a new one after a corrupt file was moved aside. Return None if that fails."""
        try:
            try:
                return SqliteState(path)
            except StateDamaged as error:
                self._failures.state_failed()
                move_aside(path, str(error), self._clock.wall())
            return SqliteState(path)
        except StateError as error:
            self._disable("cannot open state file; continuing without persistence", error)
            return None

    def _replace(self, error: StateError) -> None:
        """Start a new file after an error that was found in the open one, or disable persistence."""
        if self._path is None or self._file is None or not isinstance(error, StateDamaged):
            self._disable("cannot read state file; continuing without persistence", error)
            return
        self._file.close()
        self._failures.state_failed()
        try:
            move_aside(self._path, str(error), self._clock.wall())
        except StateError as unmovable:
            self._disable("cannot read state file; continuing without persistence", unmovable)
            return
        self._file = self._open(self._path)
        if self._file is not None:
            self._on_new_file()

    def _disable(self, event: str, error: StateError | None = None) -> None:
        self.close()
        self._file = None
        self._failures.state_failed()
        details = {} if error is None else {"error": str(error)}
        log.error(event, file=self._path and self._path.name, **details)

    def _delete_others(self, file: SqliteState) -> None:
        if self._retained is not None:
            file.retain(self._retained)
            self._retained = None

    def _load(self, file: SqliteState, pool: PoolSettings, identity: Identity) -> Restored | None:
        restored = file.load(key_of(pool, identity, self._shard))
        if restored is not None:
            try:
                verify([record for _, record in restored.records], with_details=pool.detail is not Detail.POOL)
            except ValueError as error:
                raise StateDamaged(str(error)) from error
        return restored


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
