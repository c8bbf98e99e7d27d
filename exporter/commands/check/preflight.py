"""Read-only check of every permission that a configuration needs: one call per permission and pool.

`exporter.aws.permissions` defines which permissions a configuration needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

from exporter.aws.api import Category, CognitoApi, Operation, PoolReader
from exporter.aws.permissions import ANY_ACCOUNT, ASSUME_ROLE, PERMISSIONS, AccessNeed, Permission, Scope, pool_arn
from exporter.errors import (
    AwsError,
    CredentialsError,
    Denied,
    InvalidRequest,
    ResourceNotFound,
    TrackingOff,
    UserNotFound,
)
from exporter.model import PoolDescription, Tracking
from exporter.retry import Retrier

ASSUME_ROLE_MARKER = f"({ASSUME_ROLE.partition(':')[2]})"
"""Marker in the `operation` of an error that occurred while the role was assumed."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Problem with the access to a pool, or a remark about the pool."""

    text: str
    is_fault: bool = True
    """False for a remark that does not fail the check."""


@dataclass(frozen=True, slots=True)
class PoolAccess:
    """Access to AWS for one pool."""

    reader: PoolReader
    api: CognitoApi
    """For account-wide calls."""
    ask: Retrier


def preflight(use: AccessNeed, way: PoolAccess, *, quotas: bool) -> list[Finding]:
    """Return the findings for one pool; with `quotas`, check access to the account's quotas too."""
    try:
        description = way.ask(way.reader.describe)
    except Denied as error:
        if _in_assuming(error):
            return [Finding(fault_of_target(use, error))]
        tried = [Finding(_denied(use, PERMISSIONS[Operation.DESCRIBE_USER_POOL], _account(way)))]
        return tried + list(_probe_remaining(use, way, _account(way), quotas=quotas))
    except ResourceNotFound:
        return [Finding(no_such_pool(use.target.region, _account(way)))]
    except AwsError as error:
        return [Finding(fault_of_target(use, error))]
    off = [Finding(_TRACKING_OFF, is_fault=False)] if description.tracking is Tracking.OFF else []
    return off + list(_probe_remaining(use, way, _told_account(description, way), quotas=quotas))


_TRACKING_OFF = "device tracking is off: nothing will be read from this pool until it is switched on"


def no_such_pool(region: str, account: str | None) -> str:
    """Return the message for a missing pool; `account` is None if it could not be determined."""
    return f"there is no such pool in Region {region} of account {account or 'these credentials'}"


def fault_of_target(use: AccessNeed, error: AwsError) -> str:
    """Return the message for an error in connecting to an account and Region."""
    target = use.target
    if _in_assuming(error):
        return (
            f"{ASSUME_ROLE} is refused on {target.role_arn} ({error.code}): expected a policy that allows it to the "
            "principal as which the exporter runs, and a trust policy that names that principal"
            + (" and the external id of the configuration" if target.external_id else "")
        )
    if isinstance(error, CredentialsError):
        return (
            f"no credentials that AWS accepts ({error.code}): expected them where boto3 finds them, such as the "
            "environment, a profile, IRSA, EKS Pod Identity or instance metadata"
        )
    return f"could not be tried: {error}"


def fault_of_rule(use: AccessNeed, error: AwsError) -> str:
    """Return the message for an error that may hide pools from a discovery rule."""
    if isinstance(error, Denied) and error.operation in set(Operation):
        return _denied(use, PERMISSIONS[Operation(error.operation)], None)
    return fault_of_target(use, error)


def _in_assuming(error: AwsError) -> bool:
    return ASSUME_ROLE_MARKER in error.operation


def _account(way: PoolAccess) -> str | None:
    """Return the account of the credentials, None if it cannot be read; the call needs no permission."""
    try:
        return way.ask(way.api.account_id)
    except AwsError:
        return None


def _told_account(description: PoolDescription, way: PoolAccess) -> str | None:
    return description.account_id or _account(way)


@dataclass(frozen=True, slots=True)
class _PermissionProbe:
    """Call that needs a permission, and the meaning of its errors other than a denial."""

    call: Callable[[], object]
    allowed: tuple[type[AwsError], ...] = ()
    """Errors that AWS returns only if the permission is granted."""
    explained: tuple[tuple[type[AwsError], str], ...] = ()
    """Errors with a finding text of their own."""


def _probe_remaining(use: AccessNeed, way: PoolAccess, account: str | None, *, quotas: bool) -> Iterator[Finding]:
    """Yield the findings of all operations but DescribeUserPool, which `preflight` calls first."""
    for operation, permission in PERMISSIONS.items():
        if permission is None or not permission.applies_to(use):
            continue
        for trial in _trials(operation, use, way, quotas=quotas):
            text = _tried(trial, way, partial(_denied, use, permission, account))
            if text is not None:
                yield Finding(text)


def _tried(trial: _PermissionProbe, way: PoolAccess, denied: Callable[[], str]) -> str | None:
    try:
        way.ask(trial.call)
    except Denied:
        return denied()
    except trial.allowed:
        return None
    except AwsError as error:
        texts = (text for kind, text in trial.explained if isinstance(error, kind))
        return next(texts, f"could not be tried: {error}")
    return None


def _trials(operation: Operation, use: AccessNeed, way: PoolAccess, *, quotas: bool) -> Iterator[_PermissionProbe]:
    match operation:
        case Operation.LIST_USERS:
            chosen = use.users.filter
            # The message omits the filter, which may contain a user name.
            refused = "Cognito does not accept the filter of users"
            yield _PermissionProbe(
                lambda: way.reader.users(user_filter=chosen, token=None),
                explained=((InvalidRequest, refused),) if chosen is not None else (),
            )
        case Operation.LIST_USERS_IN_GROUP:
            for group in use.users.groups or ():
                missing = f"there is no group {group!r} in the pool"
                yield _PermissionProbe(
                    partial(way.reader.users_in_group, group, token=None),
                    explained=((ResourceNotFound, missing),),
                )
        case Operation.ADMIN_LIST_DEVICES:
            # The user need not exist: AWS checks the permission before it looks up the user.
            nobody = f"check-config-{uuid4()}"
            yield _PermissionProbe(
                lambda: way.reader.devices(nobody, token=None, on_send=lambda: None),
                allowed=(UserNotFound, ResourceNotFound, TrackingOff),
            )
        case Operation.GET_PROVISIONED_LIMIT if quotas:
            yield _PermissionProbe(lambda: way.api.provisioned_quota(Category.USER_RESOURCE_READ))


def _denied(use: AccessNeed, permission: Permission | None, account: str | None) -> str:
    if permission is None:
        return "AWS refuses a call that needs no permission"
    where = pool_arn(use) if permission.scope is Scope.POOL else "*"
    if account is not None:
        where = where.replace(f":{ANY_ACCOUNT}:", f":{account}:")
    return f"{permission.action} is not allowed on {where}"
