"""Puts the rate budget and the observer around the API: nothing reaches AWS by another way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol, TypeVar

from exporter.aws.api import Category, CognitoApi, Operation, Page
from exporter.aws.budget import RateBudget
from exporter.clock import Clock
from exporter.errors import AwsError, Reason, Throttled
from exporter.hooks import AwsObserver, Spending, Target
from exporter.model import Device, ListedUser, PoolDescription

T = TypeVar("T")


class Account(Protocol):
    """One account and Region: whose quota a call spends."""

    @property
    def target(self) -> Target:
        """The account id, as far as it is known now, and the Region."""
        ...

    def budget(self, category: Category) -> RateBudget:
        """The budget that every caller of this account and Region shares."""
        ...

    def named(self, account_id: str) -> None:
        """An answer has told the account id."""
        ...


class PacedReader:
    """`exporter.aws.api.PoolReader` over any `CognitoApi`."""

    def __init__(
        self,
        api: CognitoApi,
        pool_id: str,
        account: Account,
        observer: AwsObserver,
        clock: Clock,
        cancelled: Callable[[], bool],
        *,
        attributes: frozenset[str],
    ) -> None:
        """Read one pool; of a device's attributes only `attributes` are kept."""
        self._api = api
        self._pool_id = pool_id
        self._account = account
        self._observer = observer
        self._clock = clock
        self._cancelled = cancelled
        self._attributes = attributes
        self._counting = threading.Lock()
        self._calls = 0
        self._throttled = 0

    def describe(self) -> PoolDescription:
        """One DescribeUserPool; its answer may be the first to name the account."""

        def ask() -> PoolDescription:
            description = self._api.describe_user_pool(self._pool_id)
            if description.account_id is not None:
                # Within the request, so that it is counted under the account that it has named.
                self._account.named(description.account_id)
            return description

        return self._paced(Category.USER_POOL_READ, Operation.DESCRIBE_USER_POOL, ask)

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

    def devices(self, username: str, *, token: str | None, departed: Callable[[], None]) -> Page[Device]:
        """One AdminListDevices."""

        def ask() -> Page[Device]:
            departed()
            return self._api.admin_list_devices(self._pool_id, username, token=token, attributes=self._attributes)

        return self._paced(Category.USER_RESOURCE_READ, Operation.ADMIN_LIST_DEVICES, ask)

    def spending(self) -> Spending:
        """Calls made, and how many of them were throttled."""
        with self._counting:
            return Spending(self._calls, self._throttled)

    def _paced(self, category: Category, operation: Operation, ask: Callable[[], T]) -> T:
        self._prepare(operation)
        budget = self._account.budget(category)
        waited = budget.acquire(self._pool_id, self._cancelled)
        self._observer.waited(self._account.target, category, waited)
        with self._counting:
            self._calls += 1
        try:
            return observed(self._account, self._observer, self._clock, operation, ask)
        except Throttled:
            budget.throttled()
            with self._counting:
                self._throttled += 1
            raise

    def _prepare(self, operation: Operation) -> None:
        try:
            self._api.prepare(operation)
        except AwsError as error:
            self._observer.request_finished(self._account.target, operation, 0.0, error.reason, attempted=False)
            raise


def observed(
    account: Account,
    observer: AwsObserver,
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
