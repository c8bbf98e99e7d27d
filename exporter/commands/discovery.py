"""Pool discovery for the one-off commands: queries each discovery rule once."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import TextIO

import click

from exporter.aws.permissions import AccessNeed, rule_access_needs
from exporter.aws.sessions import AwsApis
from exporter.aws.targets import ApiFactory
from exporter.clock import Clock, SystemClock
from exporter.collect.discovery import FAIRNESS_KEY
from exporter.collect.pool_search import DiscoveryResult, assign_pools, find_pools
from exporter.commands.check.preflight import fault_of_rule
from exporter.commands.pool_access import connections, map_concurrently, plain_rates, retrier
from exporter.config.settings import RuleSettings, Search, Settings
from exporter.errors import AwsError
from exporter.retry import DEFAULT_RETRY_POLICY, RetryPolicy


@dataclass(frozen=True, slots=True)
class ResolvedPools:
    """Settings in which the discovered pools replace the discovery rules."""

    settings: Settings
    faults: tuple[str, ...] = ()
    """One line per query that failed or could not see every pool."""


def resolve_discovery(
    settings: Settings,
    err: TextIO,
    *,
    make_api: ApiFactory | None = None,
    clock: Clock | None = None,
    retry_policy: RetryPolicy = DEFAULT_RETRY_POLICY,
) -> ResolvedPools:
    """Return the settings with the pools that the discovery rules find now.

    A rule without a matching pool is reported on `err` and is not a fault.
    """
    if not settings.discovery:
        return ResolvedPools(settings)
    looks = _queries(settings)
    cancelled = threading.Event()
    connected = connections(
        settings.targets, plain_rates(settings.limits.rate), clock or SystemClock(), make_api or AwsApis()
    )
    ask = retrier(retry_policy, cancelled)

    def once(one: _Query) -> DiscoveryResult:
        try:
            return find_pools(
                one.search, connected.directory(one.search.target, FAIRNESS_KEY, cancelled.is_set), ask, {}
            )
        except AwsError as error:
            return DiscoveryResult({}, error)

    found = map_concurrently(looks, once, cancelled, err)
    shares = assign_pools(
        settings.pools, [(one.rule, one.search, each.pools) for one, each in zip(looks, found, strict=True)]
    )
    faults = [_fault(one, each.error) for one, each in zip(looks, found, strict=True) if each.error is not None]
    of_rules = {one.index: False for one in looks}
    for one, each in zip(looks, found, strict=True):
        of_rules[one.index] |= bool(each.pools) or each.error is not None
    for index in (index for index, told in of_rules.items() if not told):
        click.echo(f"discovery[{index}]: no pool in its Regions fits", file=err)
    pools = (*settings.pools, *(pool for share in shares for pool in share))
    return ResolvedPools(replace(settings, pools=pools, discovery=()), tuple(faults))


@dataclass(frozen=True, slots=True)
class _Query:
    index: int
    rule: RuleSettings
    search: Search
    use: AccessNeed


def _queries(settings: Settings) -> list[_Query]:
    places = [(index, rule, search) for index, rule in enumerate(settings.discovery) for search in rule.searches]
    return [_Query(*place, use) for place, use in zip(places, rule_access_needs(settings), strict=True)]


def _fault(one: _Query, error: AwsError) -> str:
    return f"discovery[{one.index}] in {one.search.target.region}: {fault_of_rule(one.use, error)}"
