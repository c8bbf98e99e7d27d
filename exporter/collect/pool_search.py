"""Pool search in one account and Region, and assignment of pools that several rules find."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial

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

    PENDING = "some Region has had no run yet"
    PARTIAL = "every Region has had a run, some no complete one yet"
    SETTLED = "every Region has had a complete run"


@dataclass(frozen=True, slots=True)
class DiscoveryResult:
    """Result of one search."""

    pools: PoolNames
    error: AwsError | None = None
    """Error from reading the tags of some pools. Those pools are included only if the previous result had them."""


def find_pools(search: Search, directory: PoolDirectory, retry: Retrier, before: PoolNames) -> DiscoveryResult:
    """Return the pools that match a search. `before` is the previous result of the same search.

    Raises `AwsError` if the pools cannot be listed and `Cancelled` if the search was canceled.
    """

    def fetch(token: str | None) -> Page[ListedPool]:
        return retry(lambda: directory.pools(token=token))

    pages = iter_pages(Operation.LIST_USER_POOLS, fetch, max_pages=MAX_POOL_PAGES)
    named = {pool.id: pool.name for page in pages for pool in page if search.fits_name(pool.name)}
    if not search.tags:
        return DiscoveryResult(named)
    found = {}
    error: AwsError | None = None
    for pool_id, name in named.items():
        # IAM may deny the tags of one pool and allow those of the next. Any other error applies to all pools.
        if error is None or isinstance(error, Denied):
            try:
                tags = retry(partial(directory.tags, pool_id))
            except ResourceNotFound:  # deleted after the listing
                continue
            except AwsError as tags_error:
                error = tags_error
            else:
                if search.fits_tags(tags):
                    found[pool_id] = name
                continue
        if pool_id in before:
            found[pool_id] = name
    return DiscoveryResult(found, error)


def assign_pools(
    explicit: Sequence[PoolSettings], found: Iterable[tuple[RuleSettings, Search, Iterable[str]]]
) -> list[tuple[PoolSettings, ...]]:
    """Return the settings of the pools assigned to each search, in the order of `found`.

    Each pool is assigned once. Explicit pools take precedence over all rules, and earlier rules over later ones.
    """
    taken = {pool.id for pool in explicit}
    assigned = []
    for rule, search, pool_ids in found:
        new = [pool_id for pool_id in sorted(pool_ids) if pool_id not in taken]
        taken.update(new)
        assigned.append(tuple(rule.pool(pool_id, search.target) for pool_id in new))
    return assigned
