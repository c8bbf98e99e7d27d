"""Builders of pools, users, devices and pages for the tests of metrics."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from exporter.aws.api import Category, RateLimiterState
from exporter.collect.snapshot import ActivityIndex, DetailCounts, PoolData, PoolView, RuleState, UserRow
from exporter.config.settings import Detail, IdentityMode, PoolSettings, TargetSettings, Threshold, UserSelection
from exporter.metrics.compression import SUPPORTS_CHUNKS
from exporter.metrics.detail_specs import DETAIL_METRICS
from exporter.metrics.exposition import Exposition
from exporter.metrics.pool_specs import POOL_METRICS
from exporter.metrics.self_metrics import SelfMetrics
from exporter.metrics.spec import DetailMetric, PoolMetric
from exporter.model import Device, PoolState, RememberedStatus
from exporter.observers import Target

POOL = "eu-west-1_AbCdEfGhI"
NOW_MS = 1_700_000_000_000
DAY_MS = 86_400_000
OPENMETRICS = "application/openmetrics-text;version=1.0.0"


@dataclass
class FixedClock:
    """Clock that always returns the same time."""

    now: float = NOW_MS / 1000

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


def rate_limit(
    target: Target, category: Category = Category.USER_RESOURCE_READ, rate: float = 10.0, quota: float = 50.0
) -> RateLimiterState:
    return RateLimiterState(target, category, rate, rate * 0.75, quota, provisioned=False)


def settings(pool_id: str = POOL, detail: Detail = Detail.DEVICE) -> PoolSettings:
    return PoolSettings(
        id=pool_id,
        target=TargetSettings("eu-west-1"),
        users=UserSelection(),
        refresh_interval=3600.0,
        max_staleness=86400.0,
        stale_after=(Threshold(30 * 86400, "30d"), Threshold(90 * 86400, "90d")),
        detail=detail,
        identity=IdentityMode.HMAC,
        identity_key_file=None,
        device_age_series=True,
        device_attributes=(),
        skip_federated_users=True,
    )


def user(label: str, *devices: Device) -> UserRow:
    return UserRow(hashlib.sha256(label.encode("utf-8", "surrogatepass")).digest()[:16], label, devices)


def device(key: str, idle_days: float | None = 1, **more: object) -> Device:
    authenticated = None if idle_days is None else NOW_MS - int(idle_days * DAY_MS)
    return replace(Device(key, RememberedStatus.REMEMBERED, "valid", authenticated_ms=authenticated), **more)  # type: ignore[arg-type] # the fields of Device


def index(moments: Sequence[int]) -> ActivityIndex:
    return ActivityIndex(array("q", sorted(moments)), (), (), sum(moments))


def data(*users: UserRow) -> PoolData:
    devices = [one for row in users for one in row.devices]
    moments = [one.active_ms for one in devices if one.active_ms is not None]
    return PoolData(
        users=len(users),
        devices=Counter(one.remembered for one in devices),
        date_sources=Counter(one.date_source for one in devices),
        devices_per_user=Counter(len(row.devices) for row in users),
        activity={
            status: index([one.active_ms for one in devices if one.remembered is status and one.active_ms is not None])
            for status in RememberedStatus
        },
        oldest_ms=min(moments, default=None),
        newest_ms=max(moments, default=None),
        detail_counts=DetailCounts(
            users=len(users),
            dated_users=sum(any(one.active_ms is not None for one in row.devices) for row in users),
            devices=len(devices),
            dated_devices=len(moments),
            created_devices=sum(one.created_ms is not None for one in devices),
            modified_devices=sum(one.modified_ms is not None for one in devices),
        ),
        rows=tuple(sorted(users, key=lambda row: row.order)),
    )


def view(
    *users: UserRow,
    pool_id: str = POOL,
    detail: Detail = Detail.DEVICE,
    has_data: bool = True,
    state: PoolState = PoolState.OK,
) -> PoolView:
    return PoolView(
        settings=settings(pool_id, detail),
        state=state,
        up=state is PoolState.OK,
        description=None,
        data=data(*users) if has_data else None,
        progress=None,
        last_sweep_seconds=None,
        last_success=None,
        oldest_observation=None,
    )


def exposition(
    views: Callable[[], Sequence[PoolView]],
    *,
    self_metrics: SelfMetrics | None = None,
    limit: int = 10_000,
    rate_limits: Sequence[RateLimiterState] = (),
    rules: Sequence[RuleState] = (),
    pool_metrics: Sequence[PoolMetric] = POOL_METRICS,
    detail_metrics: Sequence[DetailMetric[Any]] = DETAIL_METRICS,
    chunked: bool = SUPPORTS_CHUNKS,
    generation: Callable[[], int] = int,
) -> Exposition:
    return Exposition(
        views,
        self_metrics or SelfMetrics(version="1.2.3"),
        FixedClock(),
        series_limit=lambda: limit,
        rate_limits=lambda: rate_limits,
        rules=lambda: rules,
        pool_metrics=pool_metrics,
        detail_metrics=detail_metrics,
        chunked=chunked,
        generation=generation,
    )


def text(page: Exposition, *, accept: str | None = None, names: Sequence[str] = ()) -> str:
    return page.page(accept=accept, accept_encoding=None, names=names).body.decode()


def sample_lines(page: str, name: str) -> list[str]:
    """Return the lines of one sample name."""
    return [line for line in page.splitlines() if line.startswith((f"{name}{{", f"{name} "))]
