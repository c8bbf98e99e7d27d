"""Assumptions of a forecast, as text to print below it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from exporter.aws.api import PAGE_SIZE
from exporter.aws.rate.limiter import SPACING_MARGIN
from exporter.commands.plan.forecast import Forecast
from exporter.config.values import canonical_duration

ALWAYS = (
    f"Requests are sent at the configured rate less {SPACING_MARGIN:.1%}; none is throttled or slower than that.",
    (
        "All pools of an account and Region begin at the same moment and get equal turns, which is the worst; after a "
        "start they begin one by one, at the rate of UserPoolRead."
    ),
)


def assumptions(forecast: Forecast) -> Iterator[str]:
    """Yield the assumptions of this forecast."""
    yield from ALWAYS
    known = [pool.known for pool in forecast.pools]
    if any(not one.exact and not one.at_most for one in known):
        yield "~ users: EstimatedNumberOfUsers, less the share of federated users among those listed; --exact counts."
    if any(one.at_most for one in known):
        yield "<= users: the whole pool, as nobody knows how many of it are selected; --exact counts."
    if any(0 < one.sample.users < one.users for one in known):
        asked = sum(one.sample.users for one in known)
        yield f"Series and further pages of devices: from the devices of {asked} users, drawn from those listed."
    if any(not one.provisioned for one in forecast.categories):
        yield "Quotas are AWS's documented defaults, where a rate is no share that makes AWS tell them."
    if forecast.shard.count > 1:
        yield (
            f"Users, calls, durations and series are those of shard {forecast.shard}; rates are those of all "
            f"{forecast.shard.count} shards."
        )
    if forecast.rules:
        yield _of_discovery(forecast)


def _of_discovery(forecast: Forecast) -> str:
    """Return the text about discovery requests, which the forecast excludes: the pools per Region are not counted."""
    searches = [(rule.interval, search) for rule in forecast.rules for search in rule.searches]
    looks = Counter(interval for interval, _ in searches)
    rhythm = ", ".join(f"{count} every {_duration(interval)}" for interval, count in sorted(looks.items()))
    of_shards = ", by every shard," if forecast.shard.count > 1 else ""
    asked = f"one ListUserPools (UserPoolRead) per {PAGE_SIZE} pools of its account and Region"
    if with_tags := sum(bool(search.tags) for _, search in searches):
        asked += f", {with_tags} of them also one ListTagsForResource (UserPoolResourceRead) per pool whose name fits"
    return f"Looks of discovery{of_shards} are not counted: {rhythm}. Each asks {asked}."


def _duration(seconds: float) -> str:
    return canonical_duration(round(seconds * 1000))
