"""Survey of one pool in few calls: its description, some pages of users, the devices of some users."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from exporter.aws.api import PAGE_SIZE, Operation, Page, PoolReader
from exporter.collect.records import encode_devices
from exporter.collect.snapshot import DetailCounts
from exporter.collect.store.aggregates import PoolAggregates
from exporter.collect.sweeping.pagination import MAX_DEVICE_PAGES, MAX_USER_PAGES, iter_pages, selected_users
from exporter.commands.plan.forecast import AT_MOST, COUNTED, ESTIMATED, PoolSurvey
from exporter.config.settings import PoolSettings
from exporter.errors import ResourceNotFound, TrackingOff, UserNotFound
from exporter.model import Device, Tracking
from exporter.observers import UNKNOWN_ACCOUNT, Target
from exporter.retry import Retrier
from exporter.shard import Shard

T = TypeVar("T")

MAX_PAGES = 10
"""Maximum pages of users to list without `exact`; a smaller pool is counted."""


@dataclass(frozen=True, slots=True)
class SampleSize:
    """Size of the survey of one pool."""

    exact: bool = False
    """List every user, regardless of the number of pages."""
    users: int = 20
    """Users whose devices are read."""


class _PageLimitReached(Exception):
    """The listing has more pages than the survey reads."""


def survey(pool: PoolSettings, reader: PoolReader, shard: Shard, size: SampleSize, retry: Retrier) -> PoolSurvey:
    """Return the survey of a pool.

    Raises `exporter.errors.AwsError`.
    """
    description = retry(reader.describe)
    target = Target(description.account_id or UNKNOWN_ACCOUNT, description.region)
    tracking_off = PoolSurvey(pool, target, Tracking.OFF, 0, COUNTED, {}, PoolAggregates().detail_counts, 0)
    if description.tracking is Tracking.OFF:
        return tracking_off
    every_page = size.exact or description.estimated_users is None
    listing = _Listing(max_pages=MAX_USER_PAGES if every_page else MAX_PAGES)
    try:
        listing.read(pool, reader, shard, size.users, retry)
        basis, users, pages = COUNTED, listing.owned, listing.pages
    except _PageLimitReached:
        basis = ESTIMATED if pool.users.filter is None and pool.users.groups is None else AT_MOST
        estimate = max(listing.listed, description.estimated_users or 0)
        selected_share = listing.selected / listing.listed if listing.listed else 1.0
        users = max(listing.owned, round(estimate * selected_share / shard.count))
        pages_per_user = listing.pages / listing.listed if listing.listed else 1 / PAGE_SIZE
        # The size of a group is unknown: every user is assumed to be in every group.
        pages = max(listing.pages, math.ceil(estimate * pages_per_user)) * len(pool.users.groups or (None,))
    try:
        sample, sample_calls = _read_devices(listing.sample, reader, retry)
    except TrackingOff:
        return tracking_off
    operation = Operation.LIST_USERS if pool.users.groups is None else Operation.LIST_USERS_IN_GROUP
    listing_calls = {operation: pages} if pages else {}
    return PoolSurvey(pool, target, description.tracking, users, basis, listing_calls, sample, sample_calls)


@dataclass(slots=True)
class _Listing:
    """Counts of the listed users, and a uniform sample of those that this process reads."""

    max_pages: int
    pages: int = 0
    listed: int = 0
    selected: int = 0
    """Users that a sweep of any shard reads."""
    owned: int = 0
    """Users that a sweep of this shard reads."""
    sample: list[str] = field(default_factory=list, repr=False)

    def read(self, pool: PoolSettings, reader: PoolReader, shard: Shard, sample_size: int, retry: Retrier) -> None:
        """List the users; raise `_PageLimitReached` instead of requesting more pages than `max_pages`."""

        def retry_page(call: Callable[[], T]) -> T:
            if self.pages == self.max_pages:
                raise _PageLimitReached
            self.pages += 1
            return retry(call)

        # Seeded, so that repeated forecasts of a pool sample the same users.
        random = Random(pool.id)  # noqa: S311 - a sample, not a secret
        for user in selected_users(pool.users, reader, retry_page):
            self.listed += 1
            if user.federated and pool.skip_federated_users:
                continue
            self.selected += 1
            if not shard.owns(user.name):
                continue
            self.owned += 1
            if len(self.sample) < sample_size:
                self.sample.append(user.name)
            elif (index := random.randrange(self.owned)) < sample_size:
                self.sample[index] = user.name


def _read_devices(usernames: list[str], reader: PoolReader, retry: Retrier) -> tuple[DetailCounts, int]:
    """Return the counts of the users and their devices, and the number of calls."""
    aggregates = PoolAggregates()
    calls = 0
    for username in usernames:

        def fetch(token: str | None, username: str = username) -> Page[Device]:
            return retry(lambda: reader.devices(username, token=token, on_send=lambda: None))

        try:
            pages = list(iter_pages(Operation.ADMIN_LIST_DEVICES, fetch, max_pages=MAX_DEVICE_PAGES))
        except (UserNotFound, ResourceNotFound):  # deleted since the listing, or a configured name without a user
            continue
        calls += len(pages)
        aggregates.add(encode_devices([device for page in pages for device in page], with_details=False))
    return aggregates.detail_counts, calls
