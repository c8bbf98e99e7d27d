"""Fakes: Cognito in memory, clocks that a test advances, observers that record."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from exporter.aws.api import DEFAULT_QUOTAS, PAGE_SIZE, Category, Operation, Page
from exporter.aws.rate.limited_api import PoolClient
from exporter.aws.rate.limiter import RateLimiter
from exporter.clock import Clock, SystemClock
from exporter.errors import AwsError, InvalidRequest, Reason, ResourceNotFound, TrackingOff, UserNotFound
from exporter.model import Device, ListedPool, ListedUser, Mfa, PoolDescription, Tracking, region_of
from exporter.observers import RequestObserver, Target

T = TypeVar("T")

ACCOUNT = "123456789012"


class ManualClock:
    """A clock that moves only when a test advances it."""

    def __init__(self, wall: float = 1_700_000_000.0) -> None:
        self._wall = wall
        self._monotonic = 1000.0

    def wall(self) -> float:
        return self._wall

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._wall += seconds
        self._monotonic += seconds

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forward by `seconds`, or back."""
        self._wall += seconds


class OffsetClock:
    """The system clock plus an offset that a test sets, for tests with running schedules."""

    def __init__(self) -> None:
        self._system = SystemClock()
        self._wall_ahead = 0.0
        self._ahead = 0.0

    def wall(self) -> float:
        return self._system.wall() + self._ahead + self._wall_ahead

    def monotonic(self) -> float:
        return self._system.monotonic() + self._ahead

    def advance(self, seconds: float) -> None:
        """Advance both clocks by `seconds`."""
        self._ahead += seconds

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock forward by `seconds`, or back."""
        self._wall_ahead += seconds


@dataclass
class FakePool:
    name: str = "pool"
    tracking: Tracking = Tracking.ALWAYS
    mfa: Mfa = Mfa.OPTIONAL
    challenge: bool = True
    users: dict[str, tuple[Device, ...]] = field(default_factory=dict)
    federated: set[str] = field(default_factory=set)
    groups: dict[str, list[str]] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


Fault = Callable[[Operation, str], AwsError | None]
"""Called before each response with the operation and the user name, pool id or account; returns an error to raise."""


class FakeCognito:
    """`exporter.aws.api.CognitoApi` in memory."""

    def __init__(self, pools: dict[str, FakePool] | None = None, *, page_size: int = PAGE_SIZE) -> None:
        self.pools = pools or {}
        self.page_size = page_size
        self.blank_pages = False
        """Precede every page with an empty one that has a token."""
        self.fault: Fault | None = None
        self.quotas = dict(DEFAULT_QUOTAS)
        self.prepared: Counter[Operation] = Counter()
        self.unprepared: AwsError | None = None
        """Error that `prepare` raises."""
        self.calls: Counter[Operation] = Counter()
        self._lock = threading.Lock()

    def prepare(self, operation: Operation) -> None:
        with self._lock:
            self.prepared[operation] += 1
            error = self.unprepared
        if error is not None:
            raise error

    def describe_user_pool(self, pool_id: str) -> PoolDescription:
        pool = self._pool(Operation.DESCRIBE_USER_POOL, pool_id, pool_id)
        tracked = pool.tracking is not Tracking.OFF
        return PoolDescription(
            pool_id=pool_id,
            name=pool.name,
            account_id=ACCOUNT,
            region=region_of(pool_id),
            tracking=pool.tracking,
            mfa=pool.mfa,
            mfa_bypass=tracked and pool.challenge and pool.mfa is not Mfa.OFF,
            estimated_users=len(pool.users),
        )

    def list_user_pools(self, *, token: str | None) -> Page[ListedPool]:
        self._ask(Operation.LIST_USER_POOLS, ACCOUNT)
        pools = [ListedPool(pool_id, pool.name) for pool_id, pool in self.pools.items()]
        return self._page(Operation.LIST_USER_POOLS, (), pools, token)

    def pool_tags(self, pool_arn: str) -> Mapping[str, str]:
        pool_id = pool_arn.rpartition("/")[2]
        tags = self._pool(Operation.LIST_TAGS_FOR_RESOURCE, pool_id, pool_id).tags
        if pool_arn != f"arn:aws:cognito-idp:{region_of(pool_id)}:{ACCOUNT}:userpool/{pool_id}":
            raise InvalidRequest(Operation.LIST_TAGS_FOR_RESOURCE, "InvalidParameterException")
        return dict(tags)

    def list_users(self, pool_id: str, *, user_filter: str | None, token: str | None) -> Page[ListedUser]:
        pool = self._pool(Operation.LIST_USERS, pool_id, pool_id)
        matches = _predicate(user_filter)
        names = [name for name in pool.users if matches(name)]
        users = [ListedUser(name, name in pool.federated) for name in names]
        return self._page(Operation.LIST_USERS, (pool_id, user_filter or ""), users, token)

    def list_users_in_group(self, pool_id: str, group: str, *, token: str | None) -> Page[ListedUser]:
        pool = self._pool(Operation.LIST_USERS_IN_GROUP, pool_id, pool_id)
        if group not in pool.groups:
            raise ResourceNotFound(Operation.LIST_USERS_IN_GROUP, "ResourceNotFoundException")
        users = [ListedUser(name, name in pool.federated) for name in pool.groups[group]]
        return self._page(Operation.LIST_USERS_IN_GROUP, (pool_id, group), users, token)

    def admin_list_devices(
        self, pool_id: str, username: str, *, token: str | None, attributes: frozenset[str]
    ) -> Page[Device]:
        pool = self._pool(Operation.ADMIN_LIST_DEVICES, pool_id, username)
        if pool.tracking is Tracking.OFF:
            raise TrackingOff(Operation.ADMIN_LIST_DEVICES, "InvalidUserPoolConfigurationException")
        if username not in pool.users:
            raise UserNotFound(Operation.ADMIN_LIST_DEVICES, "UserNotFoundException")
        kept = [
            replace(device, attributes=tuple(pair for pair in device.attributes if pair[0] in attributes))
            for device in pool.users[username]
        ]
        return self._page(Operation.ADMIN_LIST_DEVICES, (pool_id, username), kept, token)

    def account_id(self) -> str:
        self._ask(Operation.GET_CALLER_IDENTITY, ACCOUNT)
        return ACCOUNT

    def provisioned_quota(self, category: Category) -> float:
        self._ask(Operation.GET_PROVISIONED_LIMIT, category.value)
        return self.quotas[category]

    def _pool(self, operation: Operation, pool_id: str, subject: str) -> FakePool:
        self._ask(operation, subject)
        if pool_id not in self.pools:
            raise ResourceNotFound(operation, "ResourceNotFoundException")
        return self.pools[pool_id]

    def _ask(self, operation: Operation, subject: str) -> None:
        with self._lock:
            self.calls[operation] += 1
        error = self.fault(operation, subject) if self.fault else None
        if error is not None:
            try:
                raise error
            finally:
                del error  # else the error's traceback refers to the error

    def _page(self, operation: Operation, question: tuple[str, ...], items: list[T], token: str | None) -> Page[T]:
        """Return a page; its token is valid for the same request only, as in Cognito."""
        prefix = repr((operation.value, *question))
        if token is not None and not token.startswith(prefix):
            raise InvalidRequest(operation, "InvalidParameterException")
        place = "0" if token is None else token.removeprefix(prefix)
        start = int(place.removesuffix("-blank-given"))
        if self.blank_pages and not place.endswith("-blank-given"):
            return Page((), f"{prefix}{start}-blank-given")
        end = start + self.page_size
        return Page(tuple(items[start:end]), f"{prefix}{end}" if end < len(items) else None)


_FILTER = re.compile(r'(\w+) (\^?=) "(.*)"', re.DOTALL)


def _predicate(user_filter: str | None) -> Callable[[str], bool]:
    """Parse an AWS filter on a user name; every user of the fake is enabled."""
    if user_filter is None:
        return lambda _: True
    match = _FILTER.fullmatch(user_filter)
    if match is None or match[1] not in {"username", "status"}:
        raise InvalidRequest(Operation.LIST_USERS, "InvalidParameterException")
    wanted = match[3].replace(r"\"", '"').replace(r"\\", "\\")
    if match[1] == "status":
        return lambda _: wanted == "Enabled"
    return lambda name: name.startswith(wanted) if match[2] == "^=" else name == wanted


class FakeAccount:
    """Account with one rate for all categories, which forwards to an observer."""

    def __init__(
        self, rate: float = 10_000.0, clock: Clock | None = None, observer: RequestObserver | None = None
    ) -> None:
        self.target = Target("unknown", "eu-west-1")
        self.observer = observer or RecordingObserver()
        self._rate_limiters = {c: RateLimiter(rate, clock or SystemClock()) for c in Category}

    def limiter(self, category: Category) -> RateLimiter:
        return self._rate_limiters[category]

    def set_account_id(self, account_id: str) -> None:
        self.target = Target(account_id, self.target.region)

    def request_finished(
        self, target: Target, operation: str, seconds: float, reason: Reason | None, *, attempted: bool
    ) -> None:
        self.observer.request_finished(target, operation, seconds, reason, attempted=attempted)

    def rate_limit_waited(self, target: Target, category: str, seconds: float) -> None:
        self.observer.rate_limit_waited(target, category, seconds)


class RecordingObserver:
    """Observer that counts all events."""

    def __init__(self) -> None:
        self.heard: Counter[tuple[str, ...]] = Counter()
        self._lock = threading.Lock()

    def _hear(self, *what: str) -> None:
        with self._lock:
            self.heard[what] += 1

    def request_finished(
        self, target: Target, operation: str, seconds: float, reason: Reason | None, *, attempted: bool
    ) -> None:
        assert seconds >= 0
        self._hear("request", target.account_id, operation, str(reason), str(attempted))

    def target_added(self, target: Target) -> None:
        self._hear("target added", target.account_id, target.region)

    def target_removed(self, target: Target) -> None:
        self._hear("target removed", target.account_id, target.region)

    def target_resolved(self, unknown: Target, known: Target) -> None:
        self._hear("target resolved", unknown.account_id, known.account_id)

    def rate_limit_waited(self, target: Target, category: str, seconds: float) -> None:
        assert seconds >= 0
        self._hear("waited", target.account_id, category)

    def rules_changed(self, rule_regions: Collection[tuple[str, str]]) -> None:
        self._hear("rules", *(f"{rule} in {region}" for rule, region in sorted(rule_regions)))

    def discovery_finished(self, rule: str, region: str, reason: Reason | None) -> None:
        self._hear("discovered", rule, region, str(reason))

    def pool_added(self, pool_id: str) -> None:
        self._hear("added", pool_id)

    def pool_removed(self, pool_id: str) -> None:
        self._hear("removed", pool_id)

    def sweep_finished(self, pool_id: str, reason: Reason | None) -> None:
        self._hear("finished", pool_id, str(reason))

    def sweep_overran(self, pool_id: str) -> None:
        self._hear("overran", pool_id)

    def sweep_missed(self, pool_id: str) -> None:
        self._hear("missed", pool_id)

    def user_read_failed(self, pool_id: str, reason: Reason) -> None:
        self._hear("user failed", pool_id, str(reason))

    def users_vanished(self, pool_id: str, users: int) -> None:
        with self._lock:
            self.heard["vanished", pool_id] += users

    def unexpected_error(self, component: str) -> None:
        self._hear("unexpected", component)

    def state_failed(self) -> None:
        self._hear("state failed")

    def user_skipped(self, pool_id: str, reason: str) -> None:
        self._hear("skipped", pool_id, reason)


def reader_of(
    api: FakeCognito,
    pool_id: str,
    *,
    observer: RequestObserver | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    attributes: frozenset[str] = frozenset(),
) -> PoolClient:
    """Return the real reader over the fake, with a very high rate limit."""
    return PoolClient(
        api,
        pool_id,
        FakeAccount(observer=observer),
        SystemClock(),
        cancelled,
        attributes=attributes,
    )


def eventually(condition: Callable[[], bool], *, within: float = 10.0, interval: float = 0.005) -> bool:
    """Return whether a condition becomes true in time; polls it every `interval` seconds."""
    deadline = time.monotonic() + within
    pause = threading.Event()
    while time.monotonic() < deadline:
        if condition():
            return True
        pause.wait(interval)
    return condition()
