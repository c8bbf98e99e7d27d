"""Manager of all active pools: their stores, scheduled sweeps and health."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

import structlog

from exporter.clock import Clock
from exporter.collect.identities import make_identity
from exporter.collect.persistence.recovery import Persistence, key_of
from exporter.collect.persistence.sqlite import Restored
from exporter.collect.persistence.writer import PoolWriter
from exporter.collect.pool_search import DiscoveryCompleteness
from exporter.collect.records import reduce_details
from exporter.collect.scheduler import STALLED_AFTER_SECONDS, SweepScheduler, retry_delay
from exporter.collect.snapshot import PoolView
from exporter.collect.store.pool_store import PoolStore
from exporter.collect.sweeping.sweep import Connect, Outcome, Sweep
from exporter.config.settings import Detail, PoolSettings
from exporter.errors import AwsError, Cancelled, Reason
from exporter.identity import Identity
from exporter.model import PoolState
from exporter.observers import NULL_TRACER, RequestCounts, SweepObserver, SweepResult, SweepTrace, Tracer
from exporter.retry import DEFAULT_RETRY_POLICY, RetryPolicy
from exporter.shard import UNSHARDED, Shard

log = structlog.get_logger()


class PoolManager:
    """Set of active pools. It can be replaced while sweeps run."""

    def __init__(
        self,
        connect: Connect,
        observer: SweepObserver,
        clock: Clock,
        *,
        state_path: Path | None = None,
        shard: Shard = UNSHARDED,
        retry_policy: RetryPolicy = DEFAULT_RETRY_POLICY,
        tracer: Tracer = NULL_TRACER,
        after_sweep: Callable[[], None] = lambda: None,
    ) -> None:
        """Call `after_sweep` after each sweep, once the sweep's temporary objects are freed."""
        self._shared = _Shared(connect, observer, clock, shard, retry_policy, tracer, after_sweep)
        self._observer = observer
        self._state_path = state_path
        self._pools: dict[str, _Pool] = {}
        self._persistence = Persistence(state_path, observer, clock, shard, on_new_file=self._write_all)
        self._scheduler = SweepScheduler(observer, clock)
        self._completeness = DiscoveryCompleteness.PENDING
        self._was_ready = False

    def start(self) -> None:
        """Start the state file writer and the scheduled sweeps."""
        self._persistence.start()
        self._scheduler.start()

    def stop(self) -> None:
        """Stop scheduling sweeps and cancel those in progress, which stop at their next step."""
        self._scheduler.stop()
        for pool in self._pools.values():
            pool.cancel()
        self._persistence.stop()

    def apply(
        self,
        pools: tuple[PoolSettings, ...],
        series_limit: int,
        completeness: DiscoveryCompleteness = DiscoveryCompleteness.SETTLED,
    ) -> None:
        """Replace the active pools and limit the user and device series to `series_limit`.

        `_Change` lists the effects on pools that are active already. State file entries of other pools are kept until
        discovery is complete, because it may still find those pools.

        Raises `OSError` or `ValueError`, before any change is made, if an identity key cannot be read. Must
        not be called concurrently.
        """
        wanted = {settings.id: (settings, self._identity(settings)) for settings in pools}
        self.is_ready()  # latches readiness of the old pools before new ones join
        limit_changed = series_limit != self._shared.series_limit
        self._shared.series_limit = series_limit
        old = self._pools
        changes = {id_: pool.effect_of(*wanted[id_]) for id_, pool in old.items() if id_ in wanted}
        new = self._create_pools({id_: wanted[id_] for id_ in wanted if changes.get(id_) is not _Change.ADOPT}, changes)
        for id_ in new:
            self._observer.pool_added(id_)
        self._pools = {id_: new.get(id_) or old[id_] for id_ in wanted}
        for id_, pool in old.items():
            if self._pools.get(id_) is not pool:
                self._remove(pool, forget=id_ not in wanted)
            elif limit_changed or pool.settings != wanted[id_][0]:
                self._adopt(pool, wanted[id_][0])
        self._completeness = completeness
        if completeness is DiscoveryCompleteness.SETTLED:
            self._persistence.retain(wanted)
        for id_, pool in new.items():
            self._scheduler.add(id_, pool.settings.refresh_interval, pool.sweep, delay=pool.first_delay)

    def reopen_state(self) -> None:
        """Enable persistence again if the state file could not be used, or was removed."""
        self._persistence.reopen()

    def sweep_now(self, pool_id: str) -> float | None:
        """Run one sweep of a pool in the calling thread. Return the retry delay in seconds if it failed, else None."""
        return self._pools[pool_id].sweep()

    def views(self) -> tuple[PoolView, ...]:
        """Return the current view of each pool."""
        return tuple(pool.store.view() for pool in self._pools.values())

    def next_sweeps(self) -> dict[str, float]:
        """Return the time of each pool's next sweep, in seconds of wall time."""
        return self._scheduler.due()

    def is_ready(self) -> bool:
        """Return True if every discovery search has run once and every pool was contacted once, successfully or not.

        Stays True afterwards, so that a pool that joins later does not remove the exporter from a Kubernetes Service.
        """
        known = self._completeness is not DiscoveryCompleteness.PENDING
        self._was_ready = self._was_ready or (known and all(_was_contacted(view) for view in self.views()))
        return self._was_ready

    def stalled_reason(self) -> str | None:
        """Return a message if the scheduler or a sweep has sent no heartbeat for five minutes, else None."""
        if self._scheduler.is_stalled():
            return "the scheduler has sent no heartbeat for 5 minutes"
        for pool in self._pools.values():
            if pool.is_stalled():
                return f"the sweep of {pool.settings.id} has sent no heartbeat for 5 minutes"
        return None

    def _identity(self, settings: PoolSettings) -> Identity:
        """Return the identity of a pool.

        Keys in `identity_key_file` are read again on each call. Other identities are kept while the pool is active.
        """
        pool = self._pools.get(settings.id)
        if (
            pool is not None
            and pool.settings.identity is settings.identity
            and (pool.settings.identity_key_file, settings.identity_key_file) == (None, None)
        ):
            return pool.identity
        return make_identity(settings, self._state_path)

    def _create_pools(
        self, wanted: dict[str, tuple[PoolSettings, Identity]], changes: dict[str, _Change]
    ) -> dict[str, _Pool]:
        """Create pools with the data of the pools that they replace, else with the data of the state file."""
        handed_over = {id_ for id_, change in changes.items() if change is _Change.HAND_OVER}
        restored = self._persistence.restored([wanted[id_] for id_ in wanted if id_ not in handed_over])
        pools = {}
        for id_, (settings, identity) in wanted.items():
            pool = pools[id_] = _Pool(settings, identity, self._persistence.writer(settings, identity), self._shared)
            if id_ in handed_over:
                pool.take_over_from(self._pools[id_])
            elif id_ in restored:
                pool.restore(restored[id_])
        return pools

    def _write_all(self) -> None:
        """Write all data of the active pools to the state file."""
        for pool in self._pools.values():
            pool.store.write_all()

    def _adopt(self, pool: _Pool, settings: PoolSettings) -> None:
        before = pool.settings
        pool.adopt(settings)
        if settings.refresh_interval != before.refresh_interval:
            self._scheduler.set_interval(settings.id, settings.refresh_interval)

    def _remove(self, pool: _Pool, *, forget: bool) -> None:
        self._scheduler.remove(pool.settings.id)
        pool.cancel()
        pool.store.retire()
        if forget:
            self._observer.pool_removed(pool.settings.id)


@dataclass(slots=True)
class _Shared:
    """Dependencies and limits shared by all pools."""

    connect: Connect
    observer: SweepObserver
    clock: Clock
    shard: Shard
    retry_policy: RetryPolicy
    tracer: Tracer
    after_sweep: Callable[[], None]
    series_limit: int = 0


class _Change(Enum):
    """Effect of new settings on an active pool.

    | Changed settings                                                      | Effect    |
    |-----------------------------------------------------------------------|-----------|
    | refresh_interval, max_staleness, stale_after, device_age_series       | ADOPT     |
    | target, identity_key_file with the same key, less detail              | HAND_OVER |
    | users, skip_federated_users, identity or its key, more detail         | RESTART   |

    Less detail means that `detail` is `pool` now, or that it was not `pool` before and no device attribute was added.
    """

    ADOPT = "the sweeps stay the same: keep the pool with its data, its schedule and the sweep in progress"
    HAND_OVER = "the data stays valid: a new pool starts with it and resumes the interrupted sweep"
    RESTART = "the data becomes invalid: a new pool starts with the data of the state file, if any"


class _Pool:
    """One pool with its store and its sweeps."""

    def __init__(self, settings: PoolSettings, identity: Identity, writer: PoolWriter, shared: _Shared) -> None:
        self.settings = settings
        self.store = PoolStore(
            settings, identity, shared.clock, writer, series_limit=lambda: shared.series_limit, shard=shared.shard
        )
        self.identity = identity
        self.first_delay = 0.0
        """Delay of the first sweep in seconds."""
        self._shared = shared
        self._clock = shared.clock
        self._observer = shared.observer
        self._cancelled = threading.Event()
        self._sweeping = False
        self._last_heartbeat = shared.clock.monotonic()
        self._failures = 0

    def effect_of(self, settings: PoolSettings, identity: Identity) -> _Change:
        """Return the effect of new settings on this pool."""
        old = self.settings
        if (old.users, old.skip_federated_users) != (settings.users, settings.skip_federated_users):
            return _Change.RESTART
        if self.identity.fingerprint != identity.fingerprint:
            return _Change.RESTART
        adopted = replace(
            old,
            refresh_interval=settings.refresh_interval,
            max_staleness=settings.max_staleness,
            stale_after=settings.stale_after,
            device_age_series=settings.device_age_series,
        )
        if adopted == settings:
            return _Change.ADOPT
        has_details = old.detail is not Detail.POOL and {*old.device_attributes} >= {*settings.device_attributes}
        return _Change.HAND_OVER if has_details or settings.detail is Detail.POOL else _Change.RESTART

    def adopt(self, settings: PoolSettings) -> None:
        """Apply settings that do not change the sweeps (see `_Change.ADOPT`)."""
        self.settings = settings
        self.store.adopt(settings)

    def take_over_from(self, pool: _Pool) -> None:
        """Start with the data of another pool. Later results of that pool's sweep are dropped."""
        data = pool.store.hand_over()
        shard = self._shared.shard
        if key_of(pool.settings, pool.identity, shard) == key_of(self.settings, self.identity, shard):
            self.store.restore(data)
        else:
            self.store.take_over(_reduced(data, pool.settings, self.settings))
        # With another role or endpoint, sweep at once: the change may be the fix for a failing pool.
        self.first_delay = self.store.first_delay() if pool.settings.target == self.settings.target else 0.0

    def restore(self, restored: Restored) -> None:
        """Start with the data of the state file."""
        self.store.restore(restored)
        self.first_delay = self.store.first_delay()
        log.info("pool restored from state file", user_pool_id=self.settings.id, users=len(restored.records))

    def cancel(self) -> None:
        """Cancel the sweep in progress, which stops at its next step."""
        self._cancelled.set()

    def is_stalled(self) -> bool:
        """Return True if a sweep is in progress and has sent no heartbeat for `STALLED_AFTER_SECONDS`."""
        return self._sweeping and self._clock.monotonic() - self._last_heartbeat > STALLED_AFTER_SECONDS

    def sweep(self) -> float | None:
        """Run one sweep. Return the retry delay in seconds if the sweep failed as a whole, else None."""
        if self._heartbeat():
            return None
        trace = self._shared.tracer.start_sweep(self.settings.id)
        self._sweeping = True
        try:
            complete = self._sweep(trace)
        except Cancelled:
            return None
        finally:
            trace.close()
            self._sweeping = False
            self._shared.after_sweep()
        self._failures = 0 if complete else self._failures + 1
        return None if complete else retry_delay(self._failures)

    def _sweep(self, trace: SweepTrace) -> bool:
        """Run one sweep. Return True if every selected user was processed."""
        try:
            reader = self._shared.connect(self.settings, self._heartbeat)
            reader.add_observer(trace)
            outcome = Sweep(
                self.store,
                reader,
                self.identity,
                self._observer,
                self._clock,
                cancelled=self._cancelled.is_set,
                sleep=self._cancelled.wait,
                retry_policy=self._shared.retry_policy,
            ).run()
        except Cancelled:
            raise
        except AwsError as error:  # from connecting: `Sweep.run` handles its own
            self.store.sweep_started()
            self._failed(error.reason, trace)
            log.warning(
                "cannot start sweep", user_pool_id=self.settings.id, reason=error.reason.value, error=str(error)
            )
            return False
        except Exception:
            self._failed(Reason.OTHER, trace)
            self._observer.unexpected_error("sweep")
            log.exception("unexpected error in sweep", user_pool_id=self.settings.id)
            return False
        trace.sweep_result(_result(outcome, self.store.view(), reader.request_counts()))
        return outcome.complete

    def _failed(self, reason: Reason, trace: SweepTrace) -> None:
        trace.sweep_result(SweepResult(reason, complete=False))
        self.store.sweep_failed(reason)
        self._observer.sweep_finished(self.settings.id, reason)

    def _heartbeat(self) -> bool:
        """Record a heartbeat. Return True if the pool was canceled."""
        self._last_heartbeat = self._clock.monotonic()
        return self._cancelled.is_set()


def _reduced(data: Restored, old: PoolSettings, new: PoolSettings) -> Restored:
    """Reduce the data to the detail level and the device attributes of the new settings."""
    if new.detail is not Detail.POOL and {*new.device_attributes} == {*old.device_attributes}:
        return data
    attributes = None if new.detail is Detail.POOL else frozenset(new.device_attributes)
    return Restored(
        data.header, [(identity, reduce_details(record, attributes=attributes)) for identity, record in data.records]
    )


def _result(outcome: Outcome, view: PoolView, requests: RequestCounts) -> SweepResult:
    data = view.data
    return SweepResult(
        outcome.reason,
        outcome.complete,
        users=None if data is None else data.users,
        devices=None if data is None else sum(data.devices.values()),
        users_not_read=view.users_not_read,
        requests=requests,
    )


def _was_contacted(view: PoolView) -> bool:
    return view.description is not None or view.state is not PoolState.UNREAD
