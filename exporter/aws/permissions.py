"""IAM permissions per operation, and the operations that a configuration needs.

The policies of `iam-policy` and the findings of `check-config` are derived from `PERMISSIONS`. Source of actions and
resource types: "Actions, resources, and condition keys for Amazon Cognito User Pools" in the Service Authorization
Reference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from exporter.aws import arns
from exporter.aws.api import Operation
from exporter.config.settings import Settings, Share, TargetSettings, UserSelection
from exporter.errors import ConfigError

ANY_ACCOUNT = "*"
"""Account id in ARNs if no role names the account. Without resource policies in Cognito, this grants access to pools of
the principal's own account only."""

ANY_POOL = "*"
"""Pool id in ARNs for discovery: AWS has no condition key for the name of a pool."""


@dataclass(frozen=True, slots=True)
class AccessNeed:
    """Access that a configuration needs to one pool, or to the pools that a discovery rule may find."""

    target: TargetSettings
    pool_id: str
    """`ANY_POOL` for a rule."""
    users: UserSelection
    reads_quotas: bool
    """True if a rate is a share of the quota."""
    discovers: bool = False
    """True for a rule."""
    reads_tags: bool = False
    """True for a rule that selects pools by tags."""


class Scope(Enum):
    """Resource that an action is granted on."""

    POOL = "pool"
    """ARN of the pool."""
    REGION = "region"
    """All resources; only the Region can be limited."""


@dataclass(frozen=True, slots=True)
class Permission:
    """Permission that an operation requires."""

    action: str
    scope: Scope
    applies_to: Callable[[AccessNeed], bool] = lambda _: True


PERMISSIONS: dict[Operation, Permission | None] = {
    Operation.DESCRIBE_USER_POOL: Permission("cognito-idp:DescribeUserPool", Scope.POOL),
    Operation.LIST_USERS: Permission(
        "cognito-idp:ListUsers", Scope.POOL, lambda need: need.users.usernames is None and need.users.groups is None
    ),
    Operation.LIST_USERS_IN_GROUP: Permission(
        "cognito-idp:ListUsersInGroup", Scope.POOL, lambda need: need.users.groups is not None
    ),
    Operation.ADMIN_LIST_DEVICES: Permission("cognito-idp:AdminListDevices", Scope.POOL),
    Operation.LIST_USER_POOLS: Permission("cognito-idp:ListUserPools", Scope.REGION, lambda need: need.discovers),
    Operation.LIST_TAGS_FOR_RESOURCE: Permission(
        "cognito-idp:ListTagsForResource", Scope.POOL, lambda need: need.reads_tags
    ),
    Operation.GET_PROVISIONED_LIMIT: Permission(
        "cognito-idp:GetProvisionedLimit", Scope.REGION, lambda need: need.reads_quotas
    ),
    Operation.GET_CALLER_IDENTITY: None,
}
"""Permission of each operation, in the order in which policies list the actions; None if it needs no permission."""

ASSUME_ROLE = "sts:AssumeRole"
"""Action of the request that botocore makes for a role. Not the permission of an `Operation`."""


@dataclass(frozen=True, slots=True)
class Grant:
    """Action on a resource."""

    action: str
    resource: str
    region: str | None = None
    """Region, for an action that cannot be granted on an ARN."""


def access_needs(settings: Settings) -> Iterator[AccessNeed]:
    """Yield the needs of the configured pools."""
    for pool in settings.pools:
        yield AccessNeed(pool.target, pool.id, pool.users, _reads_quotas(settings))


def rule_access_needs(settings: Settings) -> Iterator[AccessNeed]:
    """Yield the needs of the discovery rules, one per rule and Region."""
    for rule in settings.discovery:
        for search in rule.searches:
            yield AccessNeed(
                search.target,
                ANY_POOL,
                rule.template.users,
                _reads_quotas(settings),
                discovers=True,
                reads_tags=bool(search.tags),
            )


def _reads_quotas(settings: Settings) -> bool:
    return any(isinstance(rate, Share) for rate in settings.limits.rate.values())


def grants_of(need: AccessNeed) -> Iterator[Grant]:
    """Yield the grants that cover a need, in the order of `PERMISSIONS`.

    Raises `ConfigError` for a Region that no partition of AWS has.
    """
    for permission in PERMISSIONS.values():
        if permission is None or not permission.applies_to(need):
            continue
        if permission.scope is Scope.POOL:
            yield Grant(permission.action, pool_arn(need))
        else:
            yield Grant(permission.action, "*", need.target.region)


def pool_arn(need: AccessNeed) -> str:
    """Return the ARN of the pool, with `*` for an account id that no role names.

    Raises `ConfigError` for a Region that no partition of AWS has.
    """
    region = need.target.region
    if arns.partition_of(region) is None:
        raise ConfigError([f"no partition of AWS has the Region {region}, expected one such as eu-west-1"])
    return arns.pool_arn(region, arns.account_of_arn(need.target.role_arn or "") or ANY_ACCOUNT, need.pool_id)
