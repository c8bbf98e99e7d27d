"""Pool search in one account and Region, and assignment of pools that several rules find."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from exporter.aws.api import Operation, Page, PoolDirectory
from exporter.collect.sweeping.pagination import iter_pages
from exporter.config.settings import PoolSettings, RuleSettings, Search
from exporter.errors import AwsError, Denied, ResourceNotFound
from exporter.model import ListedPool
from exporter.retry import Retrier

MAX_POOL_PAGES = 1000
"""Page limit of a pool listing: 60,000 pools. The AWS quota is 10,000 pools per account and Region."""

PoolNames = Mapping[str, str]
"""Pool names by pool ID."""


class DiscoveryCompleteness(Enum):
    """Completeness of pool discovery."""

    PENDING = "some Region was not looked at yet"
    PARTIAL = "every Region was looked at, some not whole so far"
    SETTLED = "every Region was seen whole once"


@dataclass(frozen=True, slots=True)
class DiscoveryResult:
    """Result of one search."""

    pools: PoolNames
    fault: AwsError | None = None
    """Error from reading the tags of some pools. Those pools are included only if the previous result had them."""


def find_pools(search: Search, directory: PoolDirectory, ask: Retrier, before: PoolNames) -> DiscoveryResult:
    """Return the pools that match a search. `before` is the previous result of the same search.

    Raises `AwsError` if the pools cannot be listed and `Cancelled` if the search was canceled.
    """

    def fetch(token: str | None) -> Page[ListedPool]:
        return ask(lambda: directory.pools(token=token))

    listed = iter_pages(Operation.LIST_USER_POOLS, fetch, most=MAX_POOL_PAGES)
    named = {pool.id: pool.name for page in listed for pool in page if search.fits_name(pool.name)}
    return _with_tags(search, named, directory, ask, before) if search.tags else DiscoveryResult(named)


def _with_tags(
    search: Search, named: PoolNames, directory: PoolDirectory, ask: Retrier, before: PoolNames
) -> DiscoveryResult:
    pools = {}
    fault: AwsError | None = None
    for pool_id, name in named.items():
        # IAM may deny the tags of one pool and allow those of the next. Any other error applies to all pools.
        if fault is None or isinstance(fault, Denied):
            try:
                if search.fits_tags(ask(lambda pool_id=pool_id: directory.tags(pool_id))):  # type: ignore[misc] # mypy: no defaults in lambdas
                    pools[pool_id] = name
                continue
            except ResourceNotFound:  # deleted after the listing
                continue
            except AwsError as error:
                fault = error
        if pool_id in before:
            pools[pool_id] = name
    return DiscoveryResult(pools, fault)


def assign_pools(
    explicit: Sequence[PoolSettings], found: Iterable[tuple[RuleSettings, Search, Iterable[str]]]
) -> list[tuple[PoolSettings, ...]]:
    """Return the settings of the pools assigned to each search, in the order of `found`.

    Each pool is assigned once. Explicit pools take precedence over all rules, and earlier rules over later ones.
    """
    taken = {pool.id for pool in explicit}
    shares = []
    for rule, search, pool_ids in found:
        ours = [pool_id for pool_id in sorted(pool_ids) if pool_id not in taken]
        taken.update(ours)
        shares.append(tuple(rule.pool(pool_id, search.target) for pool_id in ours))
    return shares
