"""The operations of AWS that this program uses, as one narrow Protocol.

Every method is exactly one request: pagination, retries and pacing are built on top of it, so that
each attempt can be counted, limited and repeated on its own. Every failure is an
`exporter.errors.AwsError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from exporter.model import Device, ListedPool, ListedUser, PoolDescription
from exporter.observers import RequestCounts, RequestObserver

T = TypeVar("T")

PAGE_SIZE = 60
"""The largest page that ListUserPools, ListUsers, ListUsersInGroup and AdminListDevices give."""


class Operation(StrEnum):
    """The value of the label `operation`: AWS's own names."""

    DESCRIBE_USER_POOL = "DescribeUserPool"
    LIST_USER_POOLS = "ListUserPools"
    LIST_TAGS_FOR_RESOURCE = "ListTagsForResource"
    LIST_USERS = "ListUsers"
    LIST_USERS_IN_GROUP = "ListUsersInGroup"
    ADMIN_LIST_DEVICES = "AdminListDevices"
    GET_CALLER_IDENTITY = "GetCallerIdentity"
    GET_PROVISIONED_LIMIT = "GetProvisionedLimit"


class Category(StrEnum):
    """AWS's quota categories; a quota is shared by all callers of one account and Region."""

    USER_RESOURCE_READ = "UserResourceRead"
    USER_LIST = "UserList"
    USER_POOL_READ = "UserPoolRead"
    USER_POOL_RESOURCE_READ = "UserPoolResourceRead"


DEFAULT_QUOTAS: dict[Category, float] = {
    Category.USER_RESOURCE_READ: 50,
    Category.USER_LIST: 30,
    Category.USER_POOL_READ: 15,
    Category.USER_POOL_RESOURCE_READ: 20,
}
"""Requests per second that AWS grants by default. Source: "Quotas in Amazon Cognito"."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a listing; it may be empty and still carry a token for the next."""

    items: tuple[T, ...]
    token: str | None


class CognitoApi(Protocol):
    """One account and Region of Cognito; safe to call from many threads."""

    def prepare(self, operation: Operation) -> None:
        """Have ready what a request needs before it can leave, such as credentials that are still good.

        Called before a request waits for its turn: a turn taken must be used at once. Raises
        `CredentialsFault`.
        """
        ...

    def describe_user_pool(self, pool_id: str) -> PoolDescription:
        """Describe a pool.

        Raises `ResourceNotFound` when there is no such pool.
        """
        ...

    def list_user_pools(self, *, token: str | None) -> Page[ListedPool]:
        """One page of the pools, unordered."""
        ...

    def pool_tags(self, pool_arn: str) -> Mapping[str, str]:
        """The tags of a pool, by ListTagsForResource.

        Raises `ResourceNotFound` when there is no such pool.
        """
        ...

    def list_users(self, pool_id: str, *, user_filter: str | None, token: str | None) -> Page[ListedUser]:
        """One page of the pool's users, unordered; `user_filter` is AWS's Filter expression."""
        ...

    def list_users_in_group(self, pool_id: str, group: str, *, token: str | None) -> Page[ListedUser]:
        """One page of a group's users.

        Raises `ResourceNotFound` when the pool or the group does not exist.
        """
        ...

    def admin_list_devices(
        self, pool_id: str, username: str, *, token: str | None, attributes: frozenset[str]
    ) -> Page[Device]:
        """One page of a user's devices, keeping only the given device attributes.

        Raises `UserNotFound` when the user is gone, `ResourceNotFound` when the user or the pool is,
        `TrackingOff` when the pool does not remember devices.
        """
        ...

    def account_id(self) -> str:
        """The account of the credentials in use, by GetCallerIdentity."""
        ...

    def provisioned_quota(self, category: Category) -> float:
        """Requests per second that AWS grants the account in a category, by GetProvisionedLimit.

        AWS allows one such request per second. Raises `Denied` where IAM does not permit it.
        """
        ...


class PoolReader(Protocol):
    """One pool as a sweep reads it: every call is one request that waits for its turn before it leaves.

    Every call raises `exporter.errors.AwsError`, or `exporter.errors.Cancelled` when the sweep was told to
    stop while the call waited.
    """

    def describe(self) -> PoolDescription:
        """As `CognitoApi.describe_user_pool`."""
        ...

    def users(self, *, user_filter: str | None, token: str | None) -> Page[ListedUser]:
        """As `CognitoApi.list_users`."""
        ...

    def users_in_group(self, group: str, *, token: str | None) -> Page[ListedUser]:
        """As `CognitoApi.list_users_in_group`."""
        ...

    def devices(self, username: str, *, token: str | None, on_send: Callable[[], None]) -> Page[Device]:
        """As `CognitoApi.admin_list_devices`; `on_send` is called once the request's turn has come."""
        ...

    def request_counts(self) -> RequestCounts:
        """What this reader has asked so far."""
        ...

    def add_observer(self, observer: RequestObserver) -> None:
        """Tell this observer too, from now on and of this reader's requests only."""
        ...


class PoolDirectory(Protocol):
    """The pools of one account and Region as a rule looks for them: every request waits for its turn before it leaves.

    Every call raises as those of `PoolReader`.
    """

    def pools(self, *, token: str | None) -> Page[ListedPool]:
        """As `CognitoApi.list_user_pools`."""
        ...

    def tags(self, pool_id: str) -> Mapping[str, str]:
        """The tags of a pool; where nothing has named the account yet, the pool is described before, for its ARN."""
        ...
