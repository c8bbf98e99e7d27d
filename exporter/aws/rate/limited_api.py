"""Puts the rate budget and the observer around the API: nothing reaches AWS by another way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, TypeVar

from exporter.aws.api import Category, CognitoApi, Operation, Page
from exporter.aws.arns import pool_arn
from exporter.aws.rate.limiter import RateLimiter
from exporter.clock import Clock
from exporter.errors import AwsError, Malformed, Reason, Throttled
from exporter.model import Device, ListedPool, ListedUser, PoolDescription
from exporter.observers import UNKNOWN_ACCOUNT, RequestCounts, RequestObserver, Target

T = TypeVar("T")


class Account(Protocol):
    """One account and Region: whose quota a call spends."""

    @property
    def target(self) -> Target:
        """The account id, as far as it is known now, and the Region."""
        ...

    def limiter(self, category: Category) -> RateLimiter:
        """The budget that every caller of this account and Region shares."""
        ...

    def set_account_id(self, account_id: str) -> None:
        """An answer has told the account id."""
        ...


@dataclass(frozen=True, slots=True)
class CompositeObserver:
    """Observer that notifies two others, in order."""

    first: RequestObserver
    second: RequestObserver

    def request_finished(
        self, target: Target, operation: str, seconds: float, reason: Reason | None, *, attempted: bool
    ) -> None:
        """Tell both."""
        self.first.request_finished(target, operation, seconds, reason, attempted=attempted)
        self.second.request_finished(target, operation, seconds, reason, attempted=attempted)

    def rate_limit_waited(self, target: Target, category: str, seconds: float) -> None:
        """Tell both."""
        self.first.rate_limit_waited(target, category, seconds)
        self.second.rate_limit_waited(target, category, seconds)


class RateLimitedApi:
    """Makes requests of one account and Region, in turns with all others there."""

    def __init__(
        self,
        api: CognitoApi,
        fairness_key: str,
        account: Account,
        observer: RequestObserver,
        clock: Clock,
        cancelled: Callable[[], bool],
    ) -> None:
        """Who names the same `fairness_key` has equal turns with who names another."""
        self._api = api
        self._turn = fairness_key
        self._account = account
        self._observer = observer
        self._clock = clock
        self._cancelled = cancelled
        self._counting = threading.Lock()
        self._calls = 0
        self._throttled = 0

    def add_observer(self, observer: RequestObserver) -> None:
        """Tell this observer of every request, beside the one given at first."""
        self._observer = CompositeObserver(self._observer, observer)

    def request_counts(self) -> RequestCounts:
        """Calls made, and how many of them were throttled."""
        with self._counting:
            return RequestCounts(self._calls, self._throttled)

    def _described(self, pool_id: str) -> PoolDescription:
        """One DescribeUserPool; its answer may be the first to name the account."""

        def ask() -> PoolDescription:
            description = self._api.describe_user_pool(pool_id)
            if description.account_id is not None:
                # Within the request, so that it is counted under the account that it has named.
                self._account.set_account_id(description.account_id)
            return description

        return self._paced(Category.USER_POOL_READ, Operation.DESCRIBE_USER_POOL, ask)

    def _paced(self, category: Category, operation: Operation, ask: Callable[[], T]) -> T:
        self._prepare(operation)
        limiter = self._account.limiter(category)
        waited = limiter.acquire(self._turn, self._cancelled)
        self._observer.rate_limit_waited(self._account.target, category, waited)
        with self._counting:
            self._calls += 1
        try:
            return observed(self._account, self._observer, self._clock, operation, ask)
        except Throttled:
            limiter.throttled()
            with self._counting:
                self._throttled += 1
            raise

    def _prepare(self, operation: Operation) -> None:
        try:
            self._api.prepare(operation)
        except AwsError as error:
            self._observer.request_finished(self._account.target, operation, 0.0, error.reason, attempted=False)
            raise


class PoolLister(RateLimitedApi):
    """`exporter.aws.api.PoolDirectory` over any `CognitoApi`."""

    def pools(self, *, token: str | None) -> Page[ListedPool]:
        """One ListUserPools."""
        return self._paced(
            Category.USER_POOL_READ, Operation.LIST_USER_POOLS, lambda: self._api.list_user_pools(token=token)
        )

    def tags(self, pool_id: str) -> Mapping[str, str]:
        """One ListTagsForResource."""
        arn = pool_arn(self._account.target.region, self._account_id(pool_id), pool_id)
        return self._paced(
            Category.USER_POOL_RESOURCE_READ, Operation.LIST_TAGS_FOR_RESOURCE, lambda: self._api.pool_tags(arn)
        )

    def _account_id(self, pool_id: str) -> str:
        account_id: str | None = self._account.target.account_id
        if account_id == UNKNOWN_ACCOUNT:
            account_id = self._described(pool_id).account_id
        if account_id is None:
            raise Malformed(Operation.DESCRIBE_USER_POOL, "no account id in the answer")
        return account_id


class PoolClient(RateLimitedApi):
    """`exporter.aws.api.PoolReader` over any `CognitoApi`."""

    def __init__(
        self,
        api: CognitoApi,
        pool_id: str,
        account: Account,
        observer: RequestObserver,
        clock: Clock,
        cancelled: Callable[[], bool],
        *,
        attributes: frozenset[str],
    ) -> None:
        """Read one pool; of a device's attributes only `attributes` are kept."""
        super().__init__(api, pool_id, account, observer, clock, cancelled)
        self._pool_id = pool_id
        self._attributes = attributes

    def describe(self) -> PoolDescription:
        """One DescribeUserPool."""
        return self._described(self._pool_id)

    def users(self, *, user_filter: str | None, token: str | None) -> Page[ListedUser]:
        """One ListUsers."""
        return self._paced(
            Category.USER_LIST,
            Operation.LIST_USERS,
            lambda: self._api.list_users(self._pool_id, user_filter=user_filter, token=token),
        )

    def users_in_group(self, group: str, *, token: str | None) -> Page[ListedUser]:
        """One ListUsersInGroup."""
        return self._paced(
            Category.USER_LIST,
            Operation.LIST_USERS_IN_GROUP,
            lambda: self._api.list_users_in_group(self._pool_id, group, token=token),
        )

    def devices(self, username: str, *, token: str | None, on_send: Callable[[], None]) -> Page[Device]:
        """One AdminListDevices."""

        def ask() -> Page[Device]:
            on_send()
            return self._api.admin_list_devices(self._pool_id, username, token=token, attributes=self._attributes)

        return self._paced(Category.USER_RESOURCE_READ, Operation.ADMIN_LIST_DEVICES, ask)


def observed(
    account: Account,
    observer: RequestObserver,
    clock: Clock,
    operation: Operation,
    ask: Callable[[], T],
) -> T:
    """Make one request and tell the observer how it went."""
    started = clock.monotonic()
    reason: Reason | None = None
    attempted = True
    try:
        return ask()
    except AwsError as error:
        reason, attempted = error.reason, error.attempted
        raise
    finally:
        observer.request_finished(account.target, operation, clock.monotonic() - started, reason, attempted=attempted)
