"""All configured pools: their stores, their sweeps, and whether all of it is alive."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from exporter.aws.api import PoolReader
from exporter.clock import Clock
from exporter.collect.journal import PoolJournal
from exporter.collect.readers import PATIENCE, Patience
from exporter.collect.recovery import Recovery, kept_identity_key, recover
from exporter.collect.schedule import Schedule
from exporter.collect.snapshot import PoolView
from exporter.collect.state import Restored
from exporter.collect.store import PoolStore
from exporter.collect.sweep import Sweep
from exporter.config.settings import Detail, IdentityMode, PoolSettings
from exporter.errors import AwsError, Cancelled, Reason
from exporter.hooks import SweepObserver
from exporter.identity import HmacIdentity, Identity, RawIdentity, read_key
from exporter.model import PoolState
from exporter.shard import WHOLE, Shard

SILENCE_SECONDS = 300.0
"""Without a sign of life for so long, scheduler or workers are taken for dead."""

FIRST_RETRY = 30.0
"""Seconds until a failed sweep is tried again; doubling with each failure, up to the interval."""

log = structlog.get_logger()


class Connect(Protocol):
    """Makes a reader for one sweep of a pool; raises `AwsError` when that is not possible."""

    def __call__(self, pool: PoolSettings, cancelled: Callable[[], bool]) -> PoolReader:
        """The reader; it asks `cancelled` while it waits."""
        ...


class Fleet:
    """The pools of one configuration; another can be applied while it runs."""

    def __init__(
        self,
        connect: Connect,
        observer: SweepObserver,
        clock: Clock,
        *,
        state_path: Path | None = None,
        shard: Shard = WHOLE,
        patience: Patience = PATIENCE,
    ) -> None:
        self._parts = _Parts(connect, observer, clock, shard, patience, most_series=self._most_series)
        self._observer = observer
        self._state_path = state_path
        self._recovery: Recovery = recover(state_path, observer, clock)
        self._series = 0
        self._schedule = Schedule(observer, clock)
        self._pools: dict[str, _Pool] = {}

    def start(self) -> None:
        """Begin to sweep."""
        self._recovery.start()
        self._schedule.start()

    def stop(self) -> None:
        """Take no more work; what is under way ends at its next step."""
        self._schedule.stop()
        for pool in self._pools.values():
            pool.cancel()
        self._recovery.stop()

    def apply(self, pools: tuple[PoolSettings, ...], most_series: int) -> None:
        """Sweep these pools from now on; those whose settings did not change keep data and schedule.

        No more than `most_series` user and device series will be shown. Raises `OSError` or `ValueError` before
        anything has changed when an identity key cannot be read.
        """
        wanted = {pool.id: pool for pool in pools}
        kept = {id_: pool for id_, pool in self._pools.items() if wanted.get(id_) == pool.settings}
        identities = {
            id_: identity_of(settings, self._state_path) for id_, settings in wanted.items() if id_ not in kept
        }
        self._series = most_series
        restored = self._recovery.restored([(wanted[id_], identity) for id_, identity in identities.items()])
        made = {id_: self._made(wanted[id_], identity, restored.get(id_)) for id_, identity in identities.items()}
        for id_, pool in self._pools.items():
            if id_ not in kept:
                self._remove(pool, forget=id_ not in wanted)
        self._recovery.retain(wanted)
        for id_, pool in made.items():
            self._observer.pool_added(id_)
            self._schedule.add(id_, pool.settings.refresh_interval, pool.sweep, delay=pool.store.first_delay())
        self._pools = {id_: kept.get(id_) or made[id_] for id_ in wanted}

    def views(self) -> tuple[PoolView, ...]:
        """What is known of each pool now."""
        return tuple(pool.store.view() for pool in self._pools.values())

    def is_ready(self) -> bool:
        """Whether every pool was contacted once, with whatever result."""
        return all(_was_contacted(view) for view in self.views())

    def silence(self) -> str | None:
        """Who has shown no life for five minutes; None when all is well."""
        if self._schedule.silent_seconds() > SILENCE_SECONDS:
            return "the scheduler has shown no life for 5 minutes"
        for pool in self._pools.values():
            if pool.silent_seconds() > SILENCE_SECONDS:
                return f"the sweep of {pool.settings.id} has shown no life for 5 minutes"
        return None

    def _most_series(self) -> int:
        return self._series

    def _made(self, settings: PoolSettings, identity: Identity, restored: Restored | None) -> _Pool:
        pool = _Pool(settings, identity, self._recovery.journal(settings, identity), self._parts)
        if restored is not None:
            pool.store.restore(restored)
            log.info("restored from state", user_pool_id=settings.id, users=len(restored.records))
        return pool

    def _remove(self, pool: _Pool, *, forget: bool) -> None:
        self._schedule.remove(pool.settings.id)
        pool.cancel()
        if forget:
            self._observer.pool_removed(pool.settings.id)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What all pools share."""

    connect: Connect
    observer: SweepObserver
    clock: Clock
    shard: Shard
    patience: Patience
    most_series: Callable[[], int]


class _Pool:
    """One pool with its store, swept again and again."""

    def __init__(self, settings: PoolSettings, identity: Identity, journal: PoolJournal, parts: _Parts) -> None:
        self.settings = settings
        self.store = PoolStore(
            settings, identity, parts.clock, journal, most_series=parts.most_series, shard=parts.shard
        )
        self._identity = identity
        self._parts = parts
        self._clock = parts.clock
        self._observer = parts.observer
        self._cancelled = threading.Event()
        self._sweeping = False
        self._beat = parts.clock.monotonic()
        self._failures = 0

    def cancel(self) -> None:
        """End the sweep under way at its next step."""
        self._cancelled.set()

    def silent_seconds(self) -> float:
        """How long ago the sweep under way last did something; 0 without one."""
        return self._clock.monotonic() - self._beat if self._sweeping else 0.0

    def sweep(self) -> float | None:
        """One sweep; the seconds after which to try again when it failed as a whole."""
        self._show_life()
        self._sweeping = True
        try:
            complete = self._sweep()
        except Cancelled:
            return None
        finally:
            self._sweeping = False
        self._failures = 0 if complete else self._failures + 1
        return None if complete else FIRST_RETRY * 2 ** min(self._failures - 1, 20)

    def _sweep(self) -> bool:
        try:
            return self._over(self._parts.connect(self.settings, self._show_life)).run().complete
        except Cancelled:
            raise
        except AwsError as error:  # in connecting: a sweep deals with its own
            self.store.sweep_started()
            self._failed(error.reason)
            log.warning("cannot reach AWS", user_pool_id=self.settings.id, reason=error.reason.value, error=str(error))
            return False
        except Exception:
            self._failed(Reason.OTHER)
            self._observer.failed_unexpectedly("sweep")
            log.exception("sweep failed unexpectedly", user_pool_id=self.settings.id)
            return False

    def _over(self, reader: PoolReader) -> Sweep:
        return Sweep(
            self.store,
            reader,
            self._identity,
            self._observer,
            self._clock,
            cancelled=self._cancelled.is_set,
            sleep=self._sleep,
            patience=self._parts.patience,
        )

    def _failed(self, reason: Reason) -> None:
        self.store.sweep_failed(reason)
        self._observer.sweep_finished(self.settings.id, reason)

    def _show_life(self) -> bool:
        """Note that something still moves, and say whether it should stop."""
        self._beat = self._clock.monotonic()
        return self._cancelled.is_set()

    def _sleep(self, seconds: float) -> None:
        self._cancelled.wait(seconds)


def identity_of(settings: PoolSettings, state_path: Path | None) -> Identity:
    """The identity that a pool's settings ask for.

    Without a key file the key is kept beside the state file; without that it lives as long as the process, and
    no user label shows it. Raises `OSError` or `ValueError` when the key cannot be read or kept.
    """
    if settings.identity is IdentityMode.RAW:
        return RawIdentity()
    if settings.identity_key_file is not None:
        return HmacIdentity(read_key(settings.identity_key_file))
    if state_path is None:
        return HmacIdentity(secrets.token_bytes(32))
    try:
        return HmacIdentity(kept_identity_key(state_path))
    except (OSError, ValueError) as error:
        if settings.detail is not Detail.POOL:
            raise
        log.error("the identity key cannot be kept; the next start will not know this one's users", error=str(error))
        return HmacIdentity(secrets.token_bytes(32))


def _was_contacted(view: PoolView) -> bool:
    return view.description is not None or view.state is not PoolState.UNREAD
