"""Forecast of the calls, duration and series of sweeps, as pure arithmetic over a survey of the pools.

The result is the JSON document that `docs/plan.schema.json` describes. Unless stated otherwise, numbers are for one
process, which runs one shard: it lists every user, reads its share of them, and gets its share of the rate. Durations
are in seconds, rates in requests per second. The daemon serves waiting pools round-robin
(`exporter.aws.rate.limiter`).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from exporter.aws.api import DEFAULT_QUOTAS, PAGE_SIZE, Category, Operation
from exporter.aws.rate.limiter import SPACING_MARGIN
from exporter.collect.snapshot import DetailCounts
from exporter.config.settings import Detail, PoolSettings, Settings, Share
from exporter.config.values import canonical_duration
from exporter.metrics.detail_specs import DETAIL_METRICS, is_enabled
from exporter.model import Tracking
from exporter.observers import Target
from exporter.shard import Shard

Document = dict[str, Any]
"""Object of the JSON document."""

CATEGORIES = {
    Operation.DESCRIBE_USER_POOL: Category.USER_POOL_READ,
    Operation.LIST_USERS: Category.USER_LIST,
    Operation.LIST_USERS_IN_GROUP: Category.USER_LIST,
    Operation.ADMIN_LIST_DEVICES: Category.USER_RESOURCE_READ,
}
"""Quota category of each operation of a sweep."""

COUNTED, ESTIMATED, AT_MOST = "counted", "estimated", "at_most"
"""Values of `users_basis`. AT_MOST: all users of the pool, of which an unknown part is selected."""

_TOLERANCE = 1 + 1e-9
"""Factor that absorbs rounding errors in comparisons with an interval or a rate."""


@dataclass(frozen=True, slots=True)
class Load:
    """Calls of one sweep of a pool in one quota category, and the interval between sweeps."""

    calls: float
    interval: float

    @property
    def demand(self) -> float:
        """Mean rate if every sweep keeps its interval."""
        return self.calls / self.interval


@dataclass(frozen=True, slots=True)
class PoolSurvey:
    """Survey of one pool."""

    settings: PoolSettings
    target: Target
    tracking: Tracking
    users: int
    """Users that a sweep of this process reads."""
    users_basis: str
    listing_calls: Mapping[Operation, int]
    """Pages of users to list, by operation."""
    sample: DetailCounts
    """Counts of the sampled users and their devices."""
    sample_calls: int
    """AdminListDevices calls for the sampled users."""

    def calls(self) -> dict[Operation, int]:
        """Return the calls of one sweep, by operation; only DescribeUserPool if tracking is off."""
        if self.tracking is Tracking.OFF:
            return {Operation.DESCRIBE_USER_POOL: 1}
        reads = self.users
        if self.sample.users:
            reads = max(reads, math.ceil(self.users * self.sample_calls / self.sample.users))
        return {Operation.DESCRIBE_USER_POOL: 1, **self.listing_calls, Operation.ADMIN_LIST_DEVICES: reads}

    def loads(self) -> dict[Category, Load]:
        """Return the calls of one sweep, by quota category."""
        calls = dict.fromkeys(CATEGORIES.values(), 0)
        for operation, count in self.calls().items():
            calls[CATEGORIES[operation]] += count
        return {category: Load(count, self.settings.refresh_interval) for category, count in calls.items()}

    def series(self) -> dict[Detail, int]:
        """Return the user and device series at each level of detail, extrapolated from the sample."""
        factor = self.users / self.sample.users if self.sample.users else 0.0
        scaled = {name: round(count * factor) for name, count in asdict(self.sample).items()}
        counts = DetailCounts(**{**scaled, "users": self.users})
        return {
            detail: sum(
                metric.series_count(counts)
                for metric in DETAIL_METRICS
                if is_enabled(metric.spec, replace(self.settings, detail=detail))
            )
            for detail in Detail
        }


Quotas = Mapping[tuple[Target, Category], float]
"""Quotas that AWS returned."""


def forecast(
    surveys: Sequence[PoolSurvey], failed: Sequence[Document], settings: Settings, quotas: Quotas, shard: Shard
) -> Document:
    """Return the forecast of the surveyed pools, and the pools that could not be surveyed."""
    loads: dict[tuple[Target, Category], list[Load]] = {}
    for survey in surveys:
        for category, load in survey.loads().items():
            loads.setdefault((survey.target, category), []).append(load)
    categories: dict[tuple[Target, Category], Document] = {}
    for (target, category), of_pools in loads.items():
        configured = settings.limits.rate[category]
        quota = quotas.get((target, category), DEFAULT_QUOTAS[category])
        rate = configured.fraction * quota if isinstance(configured, Share) else configured
        needed = shard.count * least_rate(of_pools)
        categories[target, category] = {
            "aws_account_id": target.account_id,
            "aws_region": target.region,
            "category": category.value,
            "rate": rate,
            "quota": quota,
            "quota_provisioned": (target, category) in quotas,
            "share_of_quota": rate / quota,
            "average_rate": shard.count * sum(load.demand for load in of_pools),
            "needed_rate": needed,
            "suffices": needed <= rate * _TOLERANCE,
        }
    pools = []
    for survey in surveys:
        # Listing and reading users overlap, so that the slowest category decides.
        keys = [((survey.target, category), load) for category, load in survey.loads().items()]
        rates = {key: effective_rate(categories[key]["rate"] / shard.count) for key, _ in keys}
        pools.append(_pool(survey, max(duration(load, loads[key], rates[key]) for key, load in keys)))
    series = sum(pool["series"][pool["detail"]] for pool in pools)
    result = {
        "shard": str(shard),
        "holds": all(pool["keeps_interval"] for pool in pools) and series <= settings.limits.series,
        "pools": pools,
        "failed": list(failed),
        "categories": list(categories.values()),
        "total": {
            "users": sum(pool["users"] for pool in pools),
            "calls": sum(pool["calls_total"] for pool in pools),
            "sweep_seconds": max((pool["sweep_seconds"] for pool in pools), default=0.0),
            "series": series,
            "series_limit": settings.limits.series,
        },
    }
    return result | {"assumptions": list(_assumptions(result, settings, shard))}


def _pool(survey: PoolSurvey, seconds: float) -> Document:
    calls = survey.calls()
    interval = survey.settings.refresh_interval
    return {
        "user_pool_id": survey.settings.id,
        "aws_account_id": survey.target.account_id,
        "aws_region": survey.target.region,
        "device_tracking": survey.tracking.value,
        "users": survey.users,
        "users_basis": survey.users_basis,
        "users_sampled": survey.sample.users,
        "devices_per_user": survey.sample.devices / survey.sample.users if survey.sample.users else None,
        "calls": calls,
        "calls_total": sum(calls.values()),
        "sweep_seconds": seconds,
        "refresh_interval_seconds": interval,
        "keeps_interval": seconds <= interval * _TOLERANCE,
        "detail": survey.settings.detail.value,
        "series": survey.series(),
    }


def effective_rate(rate: float) -> float:
    """Return the rate that the rate limiter allows at a configured rate."""
    return rate / (1 + SPACING_MARGIN)


def duration(load: Load, loads: Sequence[Load], rate: float) -> float:
    """Return the worst-case duration of the calls of one of several pools that share a rate.

    It is the longer of two cases: all sweeps begin at the same time, as after a start; or the other pools are due again
    before this one finishes, so that it continues at the rate that they leave over. If the rate is nearly used up, a
    sweep that has almost finished when the others are due again takes a few percent longer than either case.
    """
    others = list(loads)
    others.remove(load)
    together = sum(min(load.calls, other.calls) for other in loads) / rate
    return max(together, load.calls / left_over(others, rate))


def left_over(others: Sequence[Load], rate: float) -> float:
    """Return the rate left for a pool that always waits: each other takes its demand, but at most an equal share."""
    left = rate
    for index, other in enumerate(sorted(others, key=lambda other: other.demand)):
        equal_share = left / (len(others) - index + 1)
        if other.demand >= equal_share:
            return equal_share
        left -= other.demand
    return left


def least_rate(loads: Sequence[Load]) -> float:
    """Return the lowest configured rate at which every pool keeps its interval by `duration`; 0 without calls."""
    together = max((sum(min(load.calls, other.calls) for other in loads) / load.interval for load in loads), default=0)
    return (1 + SPACING_MARGIN) * max(together, sum(load.demand for load in loads))


def _assumptions(result: Document, settings: Settings, shard: Shard) -> Iterator[str]:
    yield f"Requests are sent at the configured rate minus {SPACING_MARGIN:.1%}, without throttling or slow responses."
    yield (
        "All pools of an account and Region start at the same time and share the rate equally, which is the worst "
        "case. After a start they begin one by one, at the rate of UserPoolRead."
    )
    bases = {pool["users_basis"] for pool in result["pools"]}
    if ESTIMATED in bases:
        yield "~ users: EstimatedNumberOfUsers, minus the share of federated users in the listed pages (see --exact)."
    if AT_MOST in bases:
        yield "<= users: the whole pool, because the number of selected users is unknown (see --exact)."
    if any(0 < pool["users_sampled"] < pool["users"] for pool in result["pools"]):
        sampled = sum(pool["users_sampled"] for pool in result["pools"])
        yield f"Series and further pages of devices are extrapolated from {sampled:,} users sampled from the listing."
    if not all(category["quota_provisioned"] for category in result["categories"]):
        yield "Quotas are the AWS defaults, except where the rate is a percentage and AWS returns the quota."
    if shard.count > 1:
        yield f"Users, calls, durations and series are those of shard {shard}, rates those of all {shard.count} shards."
    searches = [search for rule in settings.discovery for search in rule.searches]
    if searches:
        intervals = Counter(rule.interval for rule in settings.discovery for _ in rule.searches)
        queries = ", ".join(
            f"{count} every {canonical_duration(round(interval * 1000))}"
            for interval, count in sorted(intervals.items())
        )
        of_shards = " of every shard" if shard.count > 1 else ""
        requests = f"one ListUserPools (UserPoolRead) per {PAGE_SIZE} pools of its account and Region"
        if with_tags := sum(bool(search.tags) for search in searches):
            requests += (
                f"; {with_tags} also one ListTagsForResource (UserPoolResourceRead) per pool with a matching name"
            )
        yield f"Discovery queries{of_shards} are not included: {queries}. Each sends {requests}."
