"""Forecast of the calls, duration and series of sweeps, as pure arithmetic over a survey of the pools.

Unless stated otherwise, numbers are for one process, which runs one shard: it lists every user, reads its share of
them, and gets its share of the rate.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from exporter.aws.api import DEFAULT_QUOTAS, Category, Operation
from exporter.collect.snapshot import DetailCounts
from exporter.commands.plan.queueing import Load, duration, least_rate, turns
from exporter.config.settings import Detail, Limits, PoolSettings, RuleSettings, Share
from exporter.errors import Reason
from exporter.metrics.detail_specs import DETAIL_METRICS, is_enabled
from exporter.model import Tracking
from exporter.observers import Target
from exporter.shard import Shard

CATEGORIES = {
    Operation.DESCRIBE_USER_POOL: Category.USER_POOL_READ,
    Operation.LIST_USERS: Category.USER_LIST,
    Operation.LIST_USERS_IN_GROUP: Category.USER_LIST,
    Operation.ADMIN_LIST_DEVICES: Category.USER_RESOURCE_READ,
}
"""Quota category of each operation of a sweep."""

_INTERVAL_SHARE = 1e-9
"""Relative tolerance of comparisons with an interval or a rate, for rounding errors."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Counts from a sample of users."""

    users: int = 0
    pages: int = 0
    """AdminListDevices calls for the sampled users."""
    dated_users: int = 0
    devices: int = 0
    dated_devices: int = 0
    created_devices: int = 0
    modified_devices: int = 0

    def scaled(self, users: int) -> DetailCounts:
        """Return the counts extrapolated to `users`; without a sample, all counts but `users` are 0."""
        factor = users / self.users if self.users else 0.0
        return DetailCounts(
            users=users,
            dated_users=round(self.dated_users * factor),
            devices=round(self.devices * factor),
            dated_devices=round(self.dated_devices * factor),
            created_devices=round(self.created_devices * factor),
            modified_devices=round(self.modified_devices * factor),
        )

    def calls(self, users: int) -> int:
        """Return the AdminListDevices calls extrapolated to `users`, at least one per user."""
        return max(users, math.ceil(users * self.pages / self.users)) if self.users else users


@dataclass(frozen=True, slots=True)
class PoolSurvey:
    """Survey of one pool."""

    settings: PoolSettings
    target: Target
    tracking: Tracking
    users: int
    """Users that a sweep of this process reads."""
    exact: bool
    """True if the users were counted, False if `users` is an estimate."""
    at_most: bool
    """True if the estimate is an upper bound: all users of the pool, of which an unknown part is selected."""
    listings: Mapping[Operation, int]
    """Pages of users to list, by operation."""
    sample: Sample


@dataclass(frozen=True, slots=True)
class PoolForecast:
    """Calls, duration and series of one sweep of a pool."""

    known: PoolSurvey
    calls: Mapping[Operation, int]
    seconds: float
    """Duration while the other pools of the same account and Region are swept too."""
    series: Mapping[Detail, int]
    """User and device series at each level of detail."""

    @property
    def total_calls(self) -> int:
        """Total calls of one sweep."""
        return sum(self.calls.values())

    @property
    def keeps_interval(self) -> bool:
        """True if a sweep finishes before the next is due."""
        return self.seconds <= self.known.settings.refresh_interval * (1 + _INTERVAL_SHARE)


@dataclass(frozen=True, slots=True)
class CategoryForecast:
    """Use of one quota by the sweeps of one account and Region, over all shards, in calls per second."""

    target: Target
    category: Category
    rate: float
    """Configured rate."""
    quota: float
    """Quota of all callers together."""
    provisioned: bool
    """True if AWS returned the quota, False if it is the documented default."""
    average: float
    """Mean rate if every sweep keeps its interval."""
    needed: float
    """Lowest rate at which every sweep keeps its interval."""

    @property
    def suffices(self) -> bool:
        """True if the configured rate is at least the needed rate."""
        return self.needed <= self.rate * (1 + _INTERVAL_SHARE)


@dataclass(frozen=True, slots=True)
class Failed:
    """Pool that could not be surveyed."""

    pool_id: str
    reason: Reason
    error: str
    """Operation and error code."""
    why: str
    """Explanation for the operator."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Forecast of all pools together."""

    shard: Shard
    pools: tuple[PoolForecast, ...]
    failed: tuple[Failed, ...]
    categories: tuple[CategoryForecast, ...]
    series_limit: int
    rules: tuple[RuleSettings, ...] = ()
    """Discovery rules, whose own calls no number here includes."""

    @property
    def series(self) -> int:
        """User and device series of one scrape, at the configured level of detail."""
        return sum(pool.series[pool.known.settings.detail] for pool in self.pools)

    @property
    def holds(self) -> bool:
        """True if every surveyed pool keeps its interval and the series are within `series_limit`."""
        return all(pool.keeps_interval for pool in self.pools) and self.series <= self.series_limit


Quotas = Mapping[tuple[Target, Category], float]
"""Quotas that AWS returned, in requests per second."""

_Loads = dict[tuple[Target, Category], dict[int, Load]]
"""Load of each pool on each category, by the index of the pool."""


def forecast(
    known: Sequence[PoolSurvey], failed: Sequence[Failed], limits: Limits, quotas: Quotas, shard: Shard
) -> Forecast:
    """Return the forecast of the surveyed pools."""
    calls = [calls_of(one) for one in known]
    loads = _loads(known, calls)
    categories = tuple(_categories(loads, limits, quotas, shard))
    speeds = {(one.target, one.category): turns(one.rate / shard.count) for one in categories}
    return Forecast(
        shard=shard,
        pools=tuple(
            PoolForecast(one, of_one, _seconds(place, one.target, loads, speeds), series_of(one))
            for place, (one, of_one) in enumerate(zip(known, calls, strict=True))
        ),
        failed=tuple(failed),
        categories=categories,
        series_limit=limits.series,
    )


def calls_of(known: PoolSurvey) -> dict[Operation, int]:
    """Return the calls of one sweep, by operation; only DescribeUserPool if tracking is off."""
    calls = {Operation.DESCRIBE_USER_POOL: 1}
    if known.tracking is not Tracking.OFF:
        calls |= known.listings
        calls[Operation.ADMIN_LIST_DEVICES] = known.sample.calls(known.users)
    return calls


def series_of(known: PoolSurvey) -> dict[Detail, int]:
    """Return the user and device series at each level of detail."""
    users = 0 if known.tracking is Tracking.OFF else known.users
    counts = known.sample.scaled(users)
    return {
        detail: sum(
            metric.series_count(counts)
            for metric in DETAIL_METRICS
            if is_enabled(metric.spec, replace(known.settings, detail=detail))
        )
        for detail in Detail
    }


def _load(known: PoolSurvey, calls: Mapping[Operation, int], category: Category) -> Load:
    asked = sum(count for operation, count in calls.items() if CATEGORIES[operation] is category)
    return Load(asked, known.settings.refresh_interval)


def _loads(known: Sequence[PoolSurvey], calls: Sequence[Mapping[Operation, int]]) -> _Loads:
    loads: _Loads = {}
    for place, (one, of_one) in enumerate(zip(known, calls, strict=True)):
        for category in dict.fromkeys(CATEGORIES.values()):
            loads.setdefault((one.target, category), {})[place] = _load(one, of_one, category)
    return loads


def _categories(loads: _Loads, limits: Limits, quotas: Quotas, shard: Shard) -> Iterable[CategoryForecast]:
    for (target, category), of_pools in loads.items():
        quota = quotas.get((target, category), DEFAULT_QUOTAS[category])
        asked = list(of_pools.values())
        yield CategoryForecast(
            target=target,
            category=category,
            rate=_rate(limits.rate[category], quota),
            quota=quota,
            provisioned=(target, category) in quotas,
            average=shard.count * sum(load.demand for load in asked),
            needed=shard.count * least_rate(asked),
        )


def _rate(configured: float | Share, quota: float) -> float:
    return configured.fraction * quota if isinstance(configured, Share) else configured


def _seconds(place: int, target: Target, loads: _Loads, speeds: Mapping[tuple[Target, Category], float]) -> float:
    """Return the duration of a sweep, that of its slowest category: listing and reading users overlap."""
    slowest = 0.0
    for category in dict.fromkeys(CATEGORIES.values()):
        of_pools = loads[target, category]
        others = [load for other, load in of_pools.items() if other != place]
        slowest = max(slowest, duration(of_pools[place], others, speeds[target, category]))
    return slowest
