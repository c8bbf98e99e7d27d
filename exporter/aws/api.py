"""Interface to AWS: one method per request.

Pagination, retries and rate limiting are built on top, so that each attempt is counted and limited. All methods raise
`exporter.errors.AwsError`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from exporter.model import Device, ListedPool, ListedUser, PoolDescription
from exporter.observers import RequestCounts, RequestObserver, Target

T = TypeVar("T")

PAGE_SIZE = 60
"""Maximum page size of ListUserPools, ListUsers, ListUsersInGroup and AdminListDevices."""


class Operation(StrEnum):
    """Values of the label `operation`: the names of AWS."""

    DESCRIBE_USER_POOL = "DescribeUserPool"
    LIST_USER_POOLS = "ListUserPools"
    LIST_TAGS_FOR_RESOURCE = "ListTagsForResource"
    LIST_USERS = "ListUsers"
    LIST_USERS_IN_GROUP = "ListUsersInGroup"
    ADMIN_LIST_DEVICES = "AdminListDevices"
    GET_CALLER_IDENTITY = "GetCallerIdentity"
    GET_PROVISIONED_LIMIT = "GetProvisionedLimit"


class Category(StrEnum):
    """Quota categories of AWS. All callers of one account and Region share a quota."""

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
"""Default quotas of AWS in requests per second. Source: "Quotas in Amazon Cognito"."""


@dataclass(frozen=True, slots=True)
class RateLimiterState:
    """State of a rate limiter. Rates are in requests per second."""

    target: Target
    category: Category
    configured: float
    current: float
    quota: float
    """Quota of the account."""
    provisioned: bool
    """True if the quota was read from AWS, false if it is the documented default."""
    used: float = 0.0
    """Recent rate of requests."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Page of a listing. An empty page can have a token for the next page."""

    items: tuple[T, ...]
    token: str | None


class AccountApi(Protocol):
    """Account-level requests, which are rare."""

    def account_id(self) -> str:
        """Return the account id of the credentials (GetCallerIdentity)."""
        ...

    def provisioned_quota(self, category: Category) -> float:
        """Return the account's quota in requests per second (GetProvisionedLimit).

        AWS allows one such request per second. Raises `Denied` if IAM does not allow it.
        """
        ...


class CognitoApi(AccountApi, Protocol):
    """Cognito in one account and Region. Thread-safe."""

    def prepare(self, operation: Operation) -> None:
        """Prepare to send a request without delay, for example by refreshing the credentials.

        Called before the request waits for the rate limiter, because a request must be sent as soon as it is admitted.
        Raises `CredentialsError`.
        """
        ...

    def describe_user_pool(self, pool_id: str) -> PoolDescription:
        """Describe a pool.

        Raises `ResourceNotFound` if the pool does not exist.
        """
        ...

    def list_user_pools(self, *, token: str | None) -> Page[ListedPool]:
        """Return a page of the pools, in no particular order."""
        ...

    def pool_tags(self, pool_arn: str) -> Mapping[str, str]:
        """Return the tags of a pool (ListTagsForResource).

        Raises `ResourceNotFound` if the pool does not exist.
        """
        ...

    def list_users(self, pool_id: str, *, user_filter: str | None, token: str | None) -> Page[ListedUser]:
        """Return a page of the pool's users, in no particular order; `user_filter` is a filter expression of AWS."""
        ...

    def list_users_in_group(self, pool_id: str, group: str, *, token: str | None) -> Page[ListedUser]:
        """Return a page of the users in a group.

        Raises `ResourceNotFound` if the pool or the group does not exist.
        """
        ...

    def admin_list_devices(
        self, pool_id: str, username: str, *, token: str | None, attributes: frozenset[str]
    ) -> Page[Device]:
        """Return a page of a user's devices with only the given device attributes.

        Raises `UserNotFound` if the user does not exist, `ResourceNotFound` if the user or the pool does not exist, and
        `TrackingOff` if the pool does not remember devices.
        """
        ...


class PoolReader(Protocol):
    """Access of a sweep to one pool. Each method makes one rate-limited request.

    All methods raise `exporter.errors.AwsError`, or `exporter.errors.Cancelled` if the sweep was canceled during the
    wait for the rate limiter.
    """

    def describe(self) -> PoolDescription:
        """Call `CognitoApi.describe_user_pool`."""
        ...

    def users(self, *, user_filter: str | None, token: str | None) -> Page[ListedUser]:
        """Call `CognitoApi.list_users`."""
        ...

    def users_in_group(self, group: str, *, token: str | None) -> Page[ListedUser]:
        """Call `CognitoApi.list_users_in_group`."""
        ...

    def devices(self, username: str, *, token: str | None, on_send: Callable[[], None]) -> Page[Device]:
        """Call `CognitoApi.admin_list_devices`; `on_send` is called when the rate limiter has admitted the request."""
        ...

    def request_counts(self) -> RequestCounts:
        """Return the number of requests made so far."""
        ...

    def add_observer(self, observer: RequestObserver) -> None:
        """Notify another observer of the requests of this reader."""
        ...


class PoolDirectory(Protocol):
    """Access of discovery to the pools of one account and Region. Each method makes one rate-limited request.

    All methods raise the errors of `PoolReader`.
    """

    def pools(self, *, token: str | None) -> Page[ListedPool]:
        """Call `CognitoApi.list_user_pools`."""
        ...

    def tags(self, pool_id: str) -> Mapping[str, str]:
        """Return the tags of a pool. Describes the pool first if the account id, which its ARN needs, is unknown."""
        ...
