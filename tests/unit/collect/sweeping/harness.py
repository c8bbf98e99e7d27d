"""Harness that sweeps a fake pool."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

from exporter.aws.api import Operation
from exporter.clock import Clock, SystemClock
from exporter.collect.store.pool_store import PoolStore
from exporter.collect.sweeping.sweep import Outcome, Sweep
from exporter.config.settings import Detail, PoolSettings
from exporter.errors import AwsError
from exporter.identity import Identity, RawIdentity
from exporter.model import Device
from exporter.retry import RetryPolicy
from exporter.shard import UNSHARDED, Shard
from tests.fakes import FakeCognito, FakePool, RecordingObserver, reader_of
from tests.unit.collect.listed_pools import POOL_ID, device, settings

FAST_RETRIES = RetryPolicy(first_delay=0.001, max_delay=0.002, outage_tolerance=0)


class SweepHarness:
    """Fake pool with a store, swept by `sweep`."""

    def __init__(
        self,
        pool: FakePool,
        changed: PoolSettings | None = None,
        *,
        page_size: int = 60,
        clock: Clock | None = None,
        shard: Shard = UNSHARDED,
        identity: Identity | None = None,
    ) -> None:
        self.pool = pool
        self.api = FakeCognito({POOL_ID: pool}, page_size=page_size)
        self.settings = changed or settings(detail=Detail.USER)
        self.clock = clock or SystemClock()
        self.identity = identity or RawIdentity()
        self.store = PoolStore(self.settings, self.identity, self.clock, shard=shard)
        self.observer = RecordingObserver()
        self.cancelled = threading.Event()
        self.slept: list[float] = []

    def sweep(self) -> Outcome:
        return Sweep(
            self.store,
            reader_of(self.api, POOL_ID, observer=self.observer, cancelled=self.cancelled.is_set),
            self.identity,
            self.observer,
            self.clock,
            cancelled=self.cancelled.is_set,
            sleep=lambda seconds: self.slept.append(seconds),  # noqa: PLW0108 - `Sleep` names its argument
            retry_policy=FAST_RETRIES,
        ).run()

    def shown(self) -> dict[str, tuple[Device, ...]] | None:
        data = self.store.view().data
        return None if data is None else {row.label: row.devices for row in data.rows}

    def heard(self, *what: str) -> int:
        return self.observer.heard[what]


def people(count: int) -> dict[str, tuple[Device, ...]]:
    return {f"user-{i}": tuple(device(f"{i}-{j}", active_ms=i * 1000 + j) for j in range(i % 4)) for i in range(count)}


def once(
    error: AwsError, operation: Operation, subject: str | None = None
) -> Callable[[Operation, str], AwsError | None]:
    struck = itertools.count()

    def fault(asked: Operation, about: str) -> AwsError | None:
        hit = asked is operation and subject in {None, about}
        return error if hit and next(struck) == 0 else None

    return fault


def always(
    error: AwsError, operation: Operation, subject: str | None = None
) -> Callable[[Operation, str], AwsError | None]:
    return lambda asked, about: error if asked is operation and subject in {None, about} else None
