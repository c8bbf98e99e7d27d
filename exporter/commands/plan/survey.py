"""Survey of one pool in few calls: its description, some pages of users, the devices of some users."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from exporter.aws.api import PAGE_SIZE, Operation, Page, PoolReader
from exporter.collect.sweeping.pagination import MAX_DEVICE_PAGES, iter_pages
from exporter.commands.plan.forecast import PoolSurvey, Sample
from exporter.config.settings import PoolSettings
from exporter.errors import ResourceNotFound, TrackingOff, UserNotFound
from exporter.model import DateSource, Device, ListedUser, PoolDescription, Tracking
from exporter.observers import UNKNOWN_ACCOUNT, Target
from exporter.retry import Retrier
from exporter.shard import Shard

PAGES = 10
"""Maximum pages of users to list without `exact`; a pool with fewer pages is counted."""

USERS = 20
"""Default number of users whose devices are read."""


@dataclass(frozen=True, slots=True)
class SampleSize:
    """Size of the survey of one pool."""

    exact: bool = False
    """List every user, regardless of the number of pages."""
    users: int = USERS


def survey(pool: PoolSettings, reader: PoolReader, shard: Shard, effort: SampleSize, ask: Retrier) -> PoolSurvey:
    """Return the survey of a pool.

    Raises `exporter.errors.AwsError`.
    """
    description = ask(reader.describe)
    target = Target(description.account_id or UNKNOWN_ACCOUNT, description.region)
    if description.tracking is Tracking.OFF:
        return _nobody(pool, target)
    listed = _listed(pool, reader, shard, effort, description, ask)
    try:
        sample = _sampled(listed.chosen, reader, ask)
    except TrackingOff:
        return _nobody(pool, target)
    return PoolSurvey(
        settings=pool,
        target=target,
        tracking=description.tracking,
        users=_users(listed, description, shard),
        exact=listed.complete,
        at_most=not listed.complete and _is_part(pool),
        listings=_listings(listed, pool, description),
        sample=sample,
    )


def _nobody(pool: PoolSettings, target: Target) -> PoolSurvey:
    return PoolSurvey(pool, target, Tracking.OFF, 0, exact=True, at_most=False, listings={}, sample=Sample())


def _is_part(pool: PoolSettings) -> bool:
    return pool.users.filter is not None or pool.users.groups is not None


@dataclass(slots=True)
class _Listed:
    """Counts and sample from the listed pages."""

    most: int
    """Maximum size of the sample."""
    random: Random
    pages: dict[Operation, int] = field(default_factory=dict)
    users: int = 0
    asked: int = 0
    """Users that a sweep of any shard reads."""
    ours: int = 0
    """Users that a sweep of this shard reads."""
    complete: bool = True
    chosen: list[str] = field(default_factory=list, repr=False)
    """Uniform sample of the users of this shard."""

    def take(self, user: ListedUser, pool: PoolSettings, shard: Shard) -> None:
        self.users += 1
        if user.federated and pool.skip_federated_users:
            return
        self.asked += 1
        if not shard.owns(user.name):
            return
        self.ours += 1
        if len(self.chosen) < self.most:
            self.chosen.append(user.name)
        elif (place := self.random.randrange(self.ours)) < self.most:
            self.chosen[place] = user.name


def _listed(
    pool: PoolSettings, reader: PoolReader, shard: Shard, effort: SampleSize, description: PoolDescription, ask: Retrier
) -> _Listed:
    # Seeded, so that repeated forecasts of a pool sample the same users.
    listed = _Listed(effort.users, Random(pool.id))  # noqa: S311 - a sample, not a secret
    for name in dict.fromkeys(pool.users.usernames or ()):
        listed.take(ListedUser(name), pool, shard)
    most = None if effort.exact or description.estimated_users is None else PAGES
    met: set[str] | None = set() if len(pool.users.groups or ()) > 1 else None
    for number, (operation, page) in enumerate(_all_pages(pool, reader, ask), 1):
        listed.pages[operation] = listed.pages.get(operation, 0) + 1
        for user in page:
            if met is None or user.name not in met:
                listed.take(user, pool, shard)
            if met is not None:
                met.add(user.name)
        if number == most:
            listed.complete = False
            break
    return listed


def _all_pages(
    pool: PoolSettings, reader: PoolReader, ask: Retrier
) -> Iterator[tuple[Operation, tuple[ListedUser, ...]]]:
    """Yield the pages of users that a sweep lists, each with its operation."""
    if pool.users.usernames is not None:
        return
    if pool.users.groups is None:

        def of_pool(token: str | None) -> Page[ListedUser]:
            return ask(lambda: reader.users(user_filter=pool.users.filter, token=token))

        for page in iter_pages(Operation.LIST_USERS, of_pool):
            yield Operation.LIST_USERS, page
    for group in pool.users.groups or ():

        def of_group(token: str | None, group: str = group) -> Page[ListedUser]:
            return ask(lambda: reader.users_in_group(group, token=token))

        for page in iter_pages(Operation.LIST_USERS_IN_GROUP, of_group):
            yield Operation.LIST_USERS_IN_GROUP, page


def _users(listed: _Listed, description: PoolDescription, shard: Shard) -> int:
    """Return the users of this shard: counted, or extrapolated from the listed pages."""
    if listed.complete:
        return listed.ours
    share = listed.asked / listed.users if listed.users else 1.0
    return max(listed.ours, round(_estimate(listed, description) * share / shard.count))


def _listings(listed: _Listed, pool: PoolSettings, description: PoolDescription) -> dict[Operation, int]:
    """Return the pages of a whole sweep; if groups were listed in part, as if every user were in every group."""
    if listed.complete:
        return listed.pages
    seen = sum(listed.pages.values())
    pages_per_user = seen / listed.users if listed.users else 1 / PAGE_SIZE
    whole = max(seen, math.ceil(_estimate(listed, description) * pages_per_user))
    if pool.users.groups is not None:
        return {Operation.LIST_USERS_IN_GROUP: whole * len(pool.users.groups)}
    return {Operation.LIST_USERS: whole}


def _estimate(listed: _Listed, description: PoolDescription) -> int:
    return max(listed.users, description.estimated_users or 0)


def _sampled(names: list[str], reader: PoolReader, ask: Retrier) -> Sample:
    found = Sample()
    for name in names:
        try:
            calls, devices = _devices(name, reader, ask)
        except (UserNotFound, ResourceNotFound):  # deleted since the listing, or a configured name without a user
            continue
        found = _with(found, calls, devices)
    return found


def _devices(username: str, reader: PoolReader, ask: Retrier) -> tuple[int, list[Device]]:
    def fetch(token: str | None) -> Page[Device]:
        return ask(lambda: reader.devices(username, token=token, on_send=lambda: None))

    found = list(iter_pages(Operation.ADMIN_LIST_DEVICES, fetch, max_pages=MAX_DEVICE_PAGES))
    return len(found), [device for page in found for device in page]


def _with(sample: Sample, calls: int, devices: list[Device]) -> Sample:
    dated = sum(device.date_source is not DateSource.NONE for device in devices)
    return Sample(
        users=sample.users + 1,
        pages=sample.pages + calls,
        dated_users=sample.dated_users + bool(dated),
        devices=sample.devices + len(devices),
        dated_devices=sample.dated_devices + dated,
        created_devices=sample.created_devices + sum(device.created_ms is not None for device in devices),
        modified_devices=sample.modified_devices + sum(device.modified_ms is not None for device in devices),
    )
