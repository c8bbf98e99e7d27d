"""Pool discovery for the one-off commands: queries each discovery rule once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import click

from exporter.aws.permissions import AccessNeed, rule_access_needs
from exporter.collect.discovery import FAIRNESS_KEY
from exporter.collect.pool_search import DiscoveryResult, assign_pools, find_pools
from exporter.commands.aws_access import AwsAccess, access_failed, default_rates
from exporter.config.settings import RuleSettings, Search, Settings
from exporter.errors import AwsError


@dataclass(frozen=True, slots=True)
class ResolvedPools:
    """Settings in which the discovered pools replace the discovery rules."""

    settings: Settings
    errors: tuple[str, ...] = ()
    """One message per query that failed or could not see every pool."""


@dataclass(frozen=True, slots=True)
class _Query:
    """Query of one rule in one Region."""

    index: int
    rule: RuleSettings
    search: Search
    need: AccessNeed


def resolve_discovery(settings: Settings, access: AwsAccess) -> ResolvedPools:
    """Return the settings with the pools that the discovery rules find now.

    A rule that matches no pool is reported on standard error and is not an error.
    """
    if not settings.discovery:
        return ResolvedPools(settings)
    clients = access.clients(settings.targets, default_rates(settings.limits.rate))

    def run(query: _Query) -> DiscoveryResult:
        try:
            directory = clients.directory(query.search.target, FAIRNESS_KEY, access.cancelled.is_set)
            return find_pools(query.search, directory, access.retry, {})
        except AwsError as error:
            return DiscoveryResult({}, error)

    searches = [(index, rule, search) for index, rule in enumerate(settings.discovery) for search in rule.searches]
    queries = [_Query(*search, need) for search, need in zip(searches, rule_access_needs(settings), strict=True)]
    results = list(zip(queries, access.map(run, queries), strict=True))
    for index in range(len(settings.discovery)):
        if not any(result.pools or result.error for query, result in results if query.index == index):
            click.echo(f"discovery[{index}]: no pool matches", err=True)
    assigned = assign_pools(settings.pools, [(query.rule, query.search, result.pools) for query, result in results])
    pools = (*settings.pools, *(pool for of_query in assigned for pool in of_query))
    errors = tuple(
        f"discovery[{query.index}] in {query.search.target.region}: {access_failed(query.need, result.error)}"
        for query, result in results
        if result.error is not None
    )
    return ResolvedPools(replace(settings, pools=pools, discovery=()), errors)
