"""What is known of the pools → what their sweeps take: pure arithmetic.

Numbers are those of one process: one of `shards`, each of which lists every user, reads its part of them, and has its
part of the rate.
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
from exporter.metrics.detail_series import Metrics
from exporter.model import Tracking
from exporter.observers import Target
from exporter.shard import Shard

CATEGORIES = {
    Operation.DESCRIBE_USER_POOL: Category.USER_POOL_READ,
    Operation.LIST_USERS: Category.USER_LIST,
    Operation.LIST_USERS_IN_GROUP: Category.USER_LIST,
    Operation.ADMIN_LIST_DEVICES: Category.USER_RESOURCE_READ,
}
"""The quota that each call of a sweep counts towards."""

_INTERVAL_SHARE = 1e-9
"""A sweep that takes so much longer than its interval takes as long: rounding in sums."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What was read of some users, to stand for all."""

    users: int = 0
    pages: int = 0
    """AdminListDevices calls that they took."""
    dated_users: int = 0
    devices: int = 0
    dated_devices: int = 0
    created_devices: int = 0
    modified_devices: int = 0

    def scaled(self, users: int) -> DetailCounts:
        """As many users of the same kind; none of anything where nobody was asked."""
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
        """AdminListDevices calls for as many users of the same kind: one at least for each."""
        return max(users, math.ceil(users * self.pages / self.users)) if self.users else users


@dataclass(frozen=True, slots=True)
class Known:
    """What was learned of one pool."""

    settings: PoolSettings
    target: Target
    tracking: Tracking
    users: int
    """That a sweep of this process reads."""
    exact: bool
    """The users were counted; else they are an estimate."""
    at_most: bool
    """The estimate is the whole pool, of which the selection is a part that nobody knows."""
    listings: Mapping[Operation, int]
    """Pages of users to be listed, by the call that lists them."""
    sample: Sample


@dataclass(frozen=True, slots=True)
class PoolForecast:
    """What one sweep of a pool takes, and what it then shows."""

    known: Known
    calls: Mapping[Operation, int]
    seconds: float
    """Beside the other pools of the same account and Region."""
    series: Mapping[Detail, int]
    """User and device series, by the detail in which they would be shown."""

    @property
    def total_calls(self) -> int:
        """Calls of one sweep."""
        return sum(self.calls.values())

    @property
    def keeps_interval(self) -> bool:
        """Whether a sweep is through when the next is due."""
        return self.seconds <= self.known.settings.refresh_interval * (1 + _INTERVAL_SHARE)


@dataclass(frozen=True, slots=True)
class CategoryForecast:
    """What the sweeps of one account and Region take of a quota, over all shards; in calls per second."""

    target: Target
    category: Category
    rate: float
    """As configured."""
    quota: float
    """What AWS grants all callers together."""
    provisioned: bool
    """AWS has told the quota; else it is the documented default."""
    average: float
    """Where every sweep keeps its interval."""
    needed: float
    """The lowest rate at which every sweep keeps its interval."""

    @property
    def suffices(self) -> bool:
        """Whether the configured rate is enough."""
        return self.needed <= self.rate * (1 + _INTERVAL_SHARE)


@dataclass(frozen=True, slots=True)
class Failed:
    """A pool of which nothing is known."""

    pool_id: str
    reason: Reason
    error: str
    """Operation and error code."""
    why: str
    """The same for people."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """All pools together."""

    shard: Shard
    pools: tuple[PoolForecast, ...]
    failed: tuple[Failed, ...]
    categories: tuple[CategoryForecast, ...]
    series_limit: int
    rules: tuple[RuleSettings, ...] = ()
    """Those that look for pools, whose own calls are in no number here."""

    @property
    def series(self) -> int:
        """User and device series on one exposition, in the configured detail."""
        return sum(pool.series[pool.known.settings.detail] for pool in self.pools)

    @property
    def holds(self) -> bool:
        """Whether every pool of which something is known keeps its interval, and every series has room."""
        return all(pool.keeps_interval for pool in self.pools) and self.series <= self.series_limit


Quotas = Mapping[tuple[Target, Category], float]
"""As far as AWS has told them."""

_Loads = dict[tuple[Target, Category], dict[int, Load]]
"""What the pools of each account and Region ask of each category, by the place of the pool."""


def forecast(
    known: Sequence[Known], failed: Sequence[Failed], limits: Limits, quotas: Quotas, shard: Shard
) -> Forecast:
    """What the sweeps of these pools take."""
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


def calls_of(known: Known) -> dict[Operation, int]:
    """The calls of one sweep; one that finds tracking off asks nothing more."""
    calls = {Operation.DESCRIBE_USER_POOL: 1}
    if known.tracking is not Tracking.OFF:
        calls |= known.listings
        calls[Operation.ADMIN_LIST_DEVICES] = known.sample.calls(known.users)
    return calls


def series_of(known: Known) -> dict[Detail, int]:
    """User and device series in each detail."""
    users = 0 if known.tracking is Tracking.OFF else known.users
    counts = known.sample.scaled(users)
    return {
        detail: sum(metric.series(counts) for metric in Metrics().of(replace(known.settings, detail=detail)))
        for detail in Detail
    }


def _load(known: Known, calls: Mapping[Operation, int], category: Category) -> Load:
    asked = sum(count for operation, count in calls.items() if CATEGORIES[operation] is category)
    return Load(asked, known.settings.refresh_interval)


def _loads(known: Sequence[Known], calls: Sequence[Mapping[Operation, int]]) -> _Loads:
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
    """The slowest category decides, as users are listed while those listed before are read."""
    slowest = 0.0
    for category in dict.fromkeys(CATEGORIES.values()):
        of_pools = loads[target, category]
        others = [load for other, load in of_pools.items() if other != place]
        slowest = max(slowest, duration(of_pools[place], others, speeds[target, category]))
    return slowest
