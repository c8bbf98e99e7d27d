"""Which pools a rule stands for: one look at one account and Region, and who has the say where several find a pool."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from exporter.aws.api import Operation, Page, PoolDirectory
from exporter.collect.sweeping.pagination import Ask, pages
from exporter.config.settings import PoolSettings, RuleSettings, Search
from exporter.errors import AwsError, Denied, ResourceNotFound
from exporter.model import ListedPool

MAX_POOL_PAGES = 1000
"""Pages of pools: 60,000, where AWS grants 10,000 to an account and Region."""

Names = Mapping[str, str]
"""The names of pools by id."""


class Outlook(Enum):
    """Whether rules may bring further pools to light."""

    PENDING = "some Region was not looked at yet"
    PARTIAL = "every Region was looked at, some not whole so far"
    SETTLED = "every Region was seen whole once"


@dataclass(frozen=True, slots=True)
class Found:
    """What one look has found."""

    pools: Names
    fault: AwsError | None = None
    """Why some pools' tags could not be read; these pools are as they were before."""


def look(search: Search, directory: PoolDirectory, ask: Ask, before: Names) -> Found:
    """The pools that a search finds; `before` are those that it found last.

    Raises `AwsError` when the pools cannot be listed, `Cancelled` when told to stop.
    """

    def fetch(token: str | None) -> Page[ListedPool]:
        return ask(lambda: directory.pools(token=token))

    listed = pages(Operation.LIST_USER_POOLS, fetch, most=MAX_POOL_PAGES)
    named = {pool.id: pool.name for page in listed for pool in page if search.fits_name(pool.name)}
    return _with_tags(search, named, directory, ask, before) if search.tags else Found(named)


def _with_tags(search: Search, named: Names, directory: PoolDirectory, ask: Ask, before: Names) -> Found:
    pools = {}
    fault: AwsError | None = None
    for pool_id, name in named.items():
        # IAM may deny the tags of one pool and allow those of the next; everything else concerns all of them.
        if fault is None or isinstance(fault, Denied):
            try:
                if search.fits_tags(ask(lambda pool_id=pool_id: directory.tags(pool_id))):  # type: ignore[misc] # mypy: no defaults in lambdas
                    pools[pool_id] = name
                continue
            except ResourceNotFound:  # deleted since it was listed
                continue
            except AwsError as error:
                fault = error
        if pool_id in before:
            pools[pool_id] = name
    return Found(pools, fault)


def shared_out(
    explicit: Sequence[PoolSettings], found: Iterable[tuple[RuleSettings, Search, Iterable[str]]]
) -> list[tuple[PoolSettings, ...]]:
    """The pools that each search has the say on, in their order: a pool is read once.

    Explicit pools come before all rules, and a rule before those that stand after it.
    """
    taken = {pool.id for pool in explicit}
    shares = []
    for rule, search, pool_ids in found:
        ours = [pool_id for pool_id in sorted(pool_ids) if pool_id not in taken]
        taken.update(ours)
        shares.append(tuple(rule.pool(pool_id, search.target) for pool_id in ours))
    return shares
