"""Which permission each operation needs, and which of them a configuration makes use of.

`PERMISSIONS` has one row per operation; the policies of `iam-policy` are read from it, and so is what is missing where
AWS denies. Source of actions and resource types: "Actions, resources, and condition keys for Amazon Cognito User
Pools" in the Service Authorization Reference of AWS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from exporter.aws import arns
from exporter.aws.api import Operation
from exporter.aws.arns import partition_of
from exporter.aws.sessions import account_of_role
from exporter.config.settings import Settings, Share, TargetSettings, UserSelection
from exporter.errors import ConfigError

ANY_ACCOUNT = "*"
"""Where no role names the account: without resource policies in Cognito, no pool beyond the own account is reached."""


ANY_POOL = "*"
"""Where a rule finds the pools: AWS knows no condition on a pool's name."""


@dataclass(frozen=True, slots=True)
class AccessNeed:
    """What a configuration does with one pool, or with those that a rule may find."""

    target: TargetSettings
    pool_id: str
    """`ANY_POOL` for a rule."""
    users: UserSelection
    reads_quotas: bool
    """A rate is a share of the quota, so the quota is asked for."""
    discovers: bool = False
    """Pools are looked for."""
    reads_tags: bool = False
    """Those that are looked for are told by their tags."""


class Scope(Enum):
    """What an action can be granted on."""

    POOL = "the ARN of the pool"
    REGION = "everything, and so in the Region only"


@dataclass(frozen=True, slots=True)
class Permission:
    """What a principal must be allowed before it may ask an operation."""

    action: str
    scope: Scope
    applies_to: Callable[[AccessNeed], bool]


def _always(_use: AccessNeed) -> bool:
    return True


def _lists_users(use: AccessNeed) -> bool:
    return use.users.usernames is None and use.users.groups is None


def _lists_groups(use: AccessNeed) -> bool:
    return use.users.groups is not None


def _reads_quotas(use: AccessNeed) -> bool:
    return use.reads_quotas


def _discovers(use: AccessNeed) -> bool:
    return use.discovers


def _reads_tags(use: AccessNeed) -> bool:
    return use.reads_tags


PERMISSIONS: dict[Operation, Permission | None] = {
    Operation.DESCRIBE_USER_POOL: Permission("cognito-idp:DescribeUserPool", Scope.POOL, _always),
    Operation.LIST_USERS: Permission("cognito-idp:ListUsers", Scope.POOL, _lists_users),
    Operation.LIST_USERS_IN_GROUP: Permission("cognito-idp:ListUsersInGroup", Scope.POOL, _lists_groups),
    Operation.ADMIN_LIST_DEVICES: Permission("cognito-idp:AdminListDevices", Scope.POOL, _always),
    Operation.LIST_USER_POOLS: Permission("cognito-idp:ListUserPools", Scope.REGION, _discovers),
    Operation.LIST_TAGS_FOR_RESOURCE: Permission("cognito-idp:ListTagsForResource", Scope.POOL, _reads_tags),
    Operation.GET_PROVISIONED_LIMIT: Permission("cognito-idp:GetProvisionedLimit", Scope.REGION, _reads_quotas),
    Operation.GET_CALLER_IDENTITY: None,  # AWS lets every principal ask who it is
}
"""By operation; None needs no permission. Actions stand in policies in this order."""

ASSUME_ROLE = "sts:AssumeRole"
"""botocore asks it, and so it is no `Operation`."""


@dataclass(frozen=True, slots=True)
class Grant:
    """One action on one resource."""

    action: str
    resource: str
    region: str | None = None
    """Where the action cannot be granted on an ARN, the Region in which it is asked."""


def access_needs(settings: Settings) -> Iterator[AccessNeed]:
    """What the configuration does, pool by pool."""
    for pool in settings.pools:
        yield AccessNeed(pool.target, pool.id, pool.users, _shares(settings))


def rule_access_needs(settings: Settings) -> Iterator[AccessNeed]:
    """What the configuration does with pools that it does not name: Region by Region, rule by rule."""
    for rule in settings.discovery:
        for search in rule.searches:
            yield AccessNeed(
                search.target,
                ANY_POOL,
                rule.template.users,
                _shares(settings),
                discovers=True,
                reads_tags=bool(search.tags),
            )


def _shares(settings: Settings) -> bool:
    return any(isinstance(rate, Share) for rate in settings.limits.rate.values())


def grants_of(use: AccessNeed) -> Iterator[Grant]:
    """What the principal that reads a pool must be allowed, in the order of `PERMISSIONS`.

    Raises `ConfigError` for a Region that no partition of AWS has.
    """
    for permission in PERMISSIONS.values():
        if permission is None or not permission.applies_to(use):
            continue
        if permission.scope is Scope.POOL:
            yield Grant(permission.action, pool_arn(use))
        else:
            yield Grant(permission.action, "*", use.target.region)


def pool_arn(use: AccessNeed) -> str:
    """The ARN of a pool, with `*` for an account that no role names.

    Raises `ConfigError` for a Region that no partition of AWS has.
    """
    region = use.target.region
    if partition_of(region) is None:
        raise ConfigError([f"no partition of AWS has the Region {region}, expected one such as eu-west-1"])
    return arns.pool_arn(region, account_of_role(use.target.role_arn) or ANY_ACCOUNT, use.pool_id)
