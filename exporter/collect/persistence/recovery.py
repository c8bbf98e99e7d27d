"""What a restart brings back: the state file opened, or set aside, or gone on without."""

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
from exporter.collect.persistence.writer import NO_JOURNAL, Batch, Failures, Journal, PoolJournal, PoolKey
from exporter.collect.records import verify
from exporter.config.settings import Detail, PoolSettings
from exporter.identity import Identity, read_key
from exporter.shard import WHOLE, Shard

KEY_BYTES = 32

REWRITE_SHARE = 0.01
"""Rewriting the file takes at most this share of the time, however large it is."""

REWRITE_SECONDS = 600.0
"""And it is rewritten no more often than that, however fast the disk is."""

log = structlog.get_logger()


class Recovery(Protocol):
    """What was known of the pools before this start, and where what is learned goes."""

    def restored(self, pools: Sequence[tuple[PoolSettings, Identity]]) -> dict[str, Restored]:
        """What was known of these pools when they were last swept in the same shape, by pool id."""
        ...

    def journal(self, pool: PoolSettings, identity: Identity) -> PoolJournal:
        """Where what is learned of a pool goes."""
        ...

    def retain(self, pool_ids: Collection[str]) -> None:
        """Nothing needs to be known of other pools than these."""
        ...

    def start(self) -> None:
        """Begin to write."""
        ...

    def stop(self) -> None:
        """Write what is left."""
        ...


class NoRecovery:
    """Without a state file: every start begins from nothing."""

    def restored(self, pools: Sequence[tuple[PoolSettings, Identity]]) -> dict[str, Restored]:  # noqa: ARG002 - nothing is known
        """Nothing."""
        return {}

    def journal(self, pool: PoolSettings, identity: Identity) -> PoolJournal:  # noqa: ARG002 - nothing is kept
        """A journal that keeps nothing."""
        return NO_JOURNAL

    def retain(self, pool_ids: Collection[str]) -> None:
        """Nothing is kept."""

    def start(self) -> None:
        """Nothing is written."""

    def stop(self) -> None:
        """Nothing is written."""


NO_RECOVERY = NoRecovery()


class FileRecovery:
    """What a state file knows; also the `exporter.collect.persistence.writer.StateFile` of its own journal."""

    def __init__(self, path: Path, failures: Failures, clock: Clock, shard: Shard = WHOLE) -> None:
        """Open the file, in which `shard` is looked for and kept; one that is damaged is set aside.

        Raises `StateUnusable` when no file can be had.
        """
        self._path = path
        self._failures = failures
        self._clock = clock
        self._shard = shard
        self._lock = threading.Lock()  # a reload reads while the journal writes
        self._state = self._opened()
        self._retained: frozenset[str] | None = None
        """The pools beside which all others are still to be taken out of the file."""
        self._next_rewrite = clock.monotonic()
        self._journal = Journal(self, failures)

    def restored(self, pools: Sequence[tuple[PoolSettings, Identity]]) -> dict[str, Restored]:
        """What the file knows of these pools.

        A file that turns out to be damaged anywhere is set aside, and nothing restored: half of what it knew,
        written on in a new file, would look like all of it.
        """
        for pool, identity in pools:
            self.journal(pool, identity)  # first: what is pending in another shape could undo what is read here
        with self._lock:
            if self._retained is not None:
                self._retained = self._retained.union(pool.id for pool, _ in pools)
            try:
                return {pool.id: found for pool, identity in pools if (found := self._loaded(pool, identity))}
            except StateDamaged as error:
                self._begin_anew(str(error))
            except StateUnusable as error:
                self._go_on_without(error)
        return {}

    def journal(self, pool: PoolSettings, identity: Identity) -> PoolJournal:
        """The pool's journal in the file; what was still to be written of it in another shape is dropped."""
        return self._journal.of(key_of(pool, identity, self._shard))

    def retain(self, pool_ids: Collection[str]) -> None:
        """Take other pools out of the file, and what was still to be written of them."""
        self._journal.retain(pool_ids)
        with self._lock, contextlib.suppress(OSError):  # tried again, and told, with the next batch
            self._retained = frozenset(pool_ids)
            self._let_go()

    def write(self, batches: Mapping[PoolKey, Batch]) -> None:
        """As `SqliteState.write`; a file that was removed is begun again with all that was known."""
        with self._lock:
            if not self._state.is_in_place():
                self._begin_again()
            self._let_go()
            self._state.write(batches)

    def tidy(self) -> bool:
        """Rewrite the file when somebody was erased, unless that was not long ago; whether it was rewritten.

        Raises `OSError` when it cannot be.
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

    def hurry(self) -> None:
        """End a rewriting under way."""
        self._state.hurry()

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._state.close()

    def start(self) -> None:
        """Begin to write."""
        self._journal.start()

    def stop(self) -> None:
        """Write what is left, and close the file."""
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

    def _begin_again(self) -> None:
        self._state.begin_again()
        self._state.close()
        try:
            self._state = SqliteState(self._path)
        except (StateUnusable, StateDamaged) as error:
            raise OSError(str(error)) from error
        self._failures.state_failed()
        log.error("the state file was removed; a new one is begun with all that was known", file=self._path.name)

    def _begin_anew(self, reason: str) -> None:
        self._state.close()
        try:
            self._set_aside(reason)
            self._state = SqliteState(self._path)
        except (StateUnusable, StateDamaged) as error:
            self._go_on_without(error)

    def _go_on_without(self, error: Exception) -> None:
        """The closed file fails every write, which is counted and told."""
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
                verify([record for _, record in restored.records], whole=pool.detail is not Detail.POOL)
            except ValueError as error:
                raise StateDamaged(str(error)) from error
        return restored


def recover(path: Path | None, failures: Failures, clock: Clock, shard: Shard = WHOLE) -> Recovery:
    """Open the state file; whatever is wrong with it, there is a recovery to go on with."""
    if path is None:
        return NoRecovery()
    try:
        return FileRecovery(path, failures, clock, shard)
    except StateUnusable as error:
        failures.state_failed()
        log.error("the state file cannot be had; going on without", file=path.name, error=str(error))
        return NoRecovery()


def key_of(pool: PoolSettings, identity: Identity, shard: Shard = WHOLE) -> PoolKey:
    """Under which key a pool is kept.

    Users of another selection, shard, key or detail are no answer to what is asked now.
    """
    attributes = sorted(pool.device_attributes)
    shape = json.dumps([identity.fingerprint, pool.detail.value, attributes, _selection(pool, identity), str(shard)])
    return PoolKey(pool.id, hashlib.sha256(shape.encode()).hexdigest()[:16])


def _selection(pool: PoolSettings, identity: Identity) -> str:
    """Stands for which users are read; the order of names plays no part.

    Made as an identity is: a plain digest would let anybody with the file try names against it.
    """
    users = pool.users
    chosen = [sorted(users.usernames or ()), sorted(users.groups or ()), users.filter, pool.skip_federated_users]
    return identity.of(pool.id, json.dumps(chosen)).hex()


def kept_identity_key(state_path: Path) -> bytes:
    """The key of the user labels that stands beside the state file; made where there is none.

    Raises `OSError` or `ValueError` when it cannot be made or read.
    """
    path = state_path.with_name(state_path.name + ".key")
    if not path.exists():
        _make_key(path)
    return read_key(path)


def _make_key(path: Path) -> None:
    """Write a new key whole or not at all; where another process was faster, its key stays."""
    # Made under a name that nobody could know, never through a file or link that somebody put there before.
    number, draft = tempfile.mkstemp(dir=path.parent, prefix=f"{path.name}.")
    try:
        with open(number, "wb") as file:  # noqa: PTH123 - of the descriptor
            file.write(secrets.token_hex(KEY_BYTES).encode())
            file.flush()
            os.fsync(number)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        Path(draft).unlink()
