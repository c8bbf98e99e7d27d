"""API clients with rate limiting and metrics. Sweeps and discovery make all requests through them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from exporter.aws.api import Category, CognitoApi, Operation, Page
from exporter.aws.arns import pool_arn
from exporter.aws.rate.limiter import RateLimiter
from exporter.clock import Clock
from exporter.errors import AwsError, Malformed, Reason, Throttled
from exporter.model import Device, ListedPool, ListedUser, PoolDescription
from exporter.observers import UNKNOWN_ACCOUNT, RequestCounts, RequestObserver, Target

T = TypeVar("T")


class Account(RequestObserver, Protocol):
    """Account and Region whose quota requests count against. Observes all its requests."""

    @property
    def target(self) -> Target:
        """Account and Region; the account id is `UNKNOWN_ACCOUNT` until it is determined."""
        ...

    def limiter(self, category: Category) -> RateLimiter:
        """Return the rate limiter of a category, shared by all callers of this account and Region."""
        ...

    def set_account_id(self, account_id: str) -> None:
        """Set the account id unless it is known."""
        ...


class RateLimitedApi:
    """Access to one account and Region, rate limited together with all other callers."""

    def __init__(
        self,
        api: CognitoApi,
        fairness_key: str,
        account: Account,
        clock: Clock,
        cancelled: Callable[[], bool],
    ) -> None:
        """Queue requests in the rate limiter under `fairness_key`: keys are served round-robin."""
        self._api = api
        self._fairness_key = fairness_key
        self.account = account
        self._observers: list[RequestObserver] = [account]
        self._clock = clock
        self._cancelled = cancelled
        self._lock = threading.Lock()
        self._calls = 0
        self._throttled = 0

    def add_observer(self, observer: RequestObserver) -> None:
        """Notify another observer of all requests."""
        self._observers.append(observer)

    def request_counts(self) -> RequestCounts:
        """Return the number of requests made, and of those that were throttled."""
        with self._lock:
            return RequestCounts(self._calls, self._throttled)

    def _describe(self, pool_id: str) -> PoolDescription:
        """Make a DescribeUserPool request. Its response may be the first with the account id."""

        def call() -> PoolDescription:
            description = self._api.describe_user_pool(pool_id)
            if description.account_id is not None:
                # Set within the request, so that it is counted under this account id.
                self.account.set_account_id(description.account_id)
            return description

        return self._request(Category.USER_POOL_READ, Operation.DESCRIBE_USER_POOL, call)

    def _request(self, category: Category, operation: Operation, call: Callable[[], T]) -> T:
        try:
            self._api.prepare(operation)
        except AwsError as error:
            for observer in self._observers:
                observer.request_finished(self.account.target, operation, 0.0, error.reason, attempted=False)
            raise
        limiter = self.account.limiter(category)
        waited = limiter.acquire(self._fairness_key, self._cancelled)
        for observer in self._observers:
            observer.rate_limit_waited(self.account.target, category, waited)
        with self._lock:
            self._calls += 1
        try:
            return observed(self.account, self._clock, operation, call, self._observers)
        except Throttled:
            limiter.on_throttle()
            with self._lock:
                self._throttled += 1
            raise


class PoolLister(RateLimitedApi):
    """Rate-limited `exporter.aws.api.PoolDirectory`."""

    def pools(self, *, token: str | None) -> Page[ListedPool]:
        """Request a page of ListUserPools."""
        return self._request(
            Category.USER_POOL_READ, Operation.LIST_USER_POOLS, lambda: self._api.list_user_pools(token=token)
        )

    def tags(self, pool_id: str) -> Mapping[str, str]:
        """Make a ListTagsForResource request."""
        arn = pool_arn(self.account.target.region, self._account_id(pool_id), pool_id)
        return self._request(
            Category.USER_POOL_RESOURCE_READ, Operation.LIST_TAGS_FOR_RESOURCE, lambda: self._api.pool_tags(arn)
        )

    def _account_id(self, pool_id: str) -> str:
        account_id: str | None = self.account.target.account_id
        if account_id == UNKNOWN_ACCOUNT:
            account_id = self._describe(pool_id).account_id
        if account_id is None:
            raise Malformed(Operation.DESCRIBE_USER_POOL, "the response has no account id")
        return account_id


class PoolClient(RateLimitedApi):
    """Rate-limited `exporter.aws.api.PoolReader`."""

    def __init__(
        self,
        api: CognitoApi,
        pool_id: str,
        account: Account,
        clock: Clock,
        cancelled: Callable[[], bool],
        *,
        attributes: frozenset[str],
    ) -> None:
        """Read one pool. Devices have only the given attributes."""
        super().__init__(api, pool_id, account, clock, cancelled)
        self._pool_id = pool_id
        self._attributes = attributes

    def describe(self) -> PoolDescription:
        """Make a DescribeUserPool request."""
        return self._describe(self._pool_id)

    def users(self, *, user_filter: str | None, token: str | None) -> Page[ListedUser]:
        """Request a page of ListUsers."""
        return self._request(
            Category.USER_LIST,
            Operation.LIST_USERS,
            lambda: self._api.list_users(self._pool_id, user_filter=user_filter, token=token),
        )

    def users_in_group(self, group: str, *, token: str | None) -> Page[ListedUser]:
        """Request a page of ListUsersInGroup."""
        return self._request(
            Category.USER_LIST,
            Operation.LIST_USERS_IN_GROUP,
            lambda: self._api.list_users_in_group(self._pool_id, group, token=token),
        )

    def devices(self, username: str, *, token: str | None, on_send: Callable[[], None]) -> Page[Device]:
        """Request a page of AdminListDevices."""

        def call() -> Page[Device]:
            on_send()
            return self._api.admin_list_devices(self._pool_id, username, token=token, attributes=self._attributes)

        return self._request(Category.USER_RESOURCE_READ, Operation.ADMIN_LIST_DEVICES, call)


def observed(
    account: Account,
    clock: Clock,
    operation: Operation,
    call: Callable[[], T],
    observers: Sequence[RequestObserver] = (),
) -> T:
    """Make a request and report its duration and result to the observers, by default to the account."""
    started = clock.monotonic()
    reason: Reason | None = None
    attempted = True
    try:
        return call()
    except AwsError as error:
        reason, attempted = error.reason, error.attempted
        raise
    finally:
        seconds = clock.monotonic() - started
        for observer in observers or (account,):
            observer.request_finished(account.target, operation, seconds, reason, attempted=attempted)
