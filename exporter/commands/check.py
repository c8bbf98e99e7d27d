"""`check-config --aws`: read-only check of every permission that the configuration needs.

It makes one call per permission and pool. `exporter.aws.permissions` defines which permissions are needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from uuid import uuid4

import click

from exporter.aws.api import Category, CognitoApi, Operation, PoolReader
from exporter.aws.permissions import PERMISSIONS, AccessNeed, access_needs
from exporter.commands.aws_access import (
    AwsAccess,
    access_failed,
    account_of,
    default_rates,
    is_assume_role_error,
    permission_denied,
    pool_not_found,
)
from exporter.commands.discovery import resolve_discovery
from exporter.config.settings import PoolSettings, Settings
from exporter.errors import AwsError, Denied, InvalidRequest, ResourceNotFound, TrackingOff, UserNotFound
from exporter.model import Tracking
from exporter.retry import Retrier
from exporter.stdout import writing_to_stdout

COMPLETE, MISSING = 0, 1
"""Exit codes; an invalid configuration exits with 2."""


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
    retry: Retrier


def check_aws(settings: Settings, access: AwsAccess) -> int:
    """Check what every pool needs, print each distinct finding once, and return the exit code."""
    resolved = resolve_discovery(settings, access)
    settings = resolved.settings
    clients = access.clients(settings.targets, default_rates(settings.limits.rate))
    first_pool = {pool.target: pool.id for pool in reversed(settings.pools)}

    def check(item: tuple[AccessNeed, PoolSettings]) -> list[Finding]:
        need, pool = item
        try:
            reader = clients.reader(pool, access.cancelled.is_set)
            pool_access = PoolAccess(reader, access.api(pool.target), access.retry)
            return check_pool(need, pool_access, quotas=first_pool[pool.target] == pool.id)
        except AwsError as error:  # raised while the client is created
            return [Finding(access_failed(need, error))]

    results = access.map(check, list(zip(access_needs(settings), settings.pools, strict=True)))
    pools_of: dict[Finding, list[str]] = {}
    for pool, findings in zip(settings.pools, results, strict=True):
        for finding in findings:
            pools_of.setdefault(finding, []).append(pool.id)
    for finding, pool_ids in pools_of.items():
        click.echo(f"{', '.join(pool_ids)}: {finding.text}", err=True)
    for error in resolved.errors:
        click.echo(error, err=True)
    if resolved.errors or any(finding.is_fault for finding in pools_of):
        return MISSING
    with writing_to_stdout():
        click.echo(f"AWS: OK ({len(settings.pools)} of {len(settings.pools)} pools can be read)")
    return COMPLETE


def check_pool(need: AccessNeed, access: PoolAccess, *, quotas: bool) -> list[Finding]:
    """Return the findings for one pool; with `quotas`, check access to the account's quotas too."""
    findings: list[Finding] = []
    try:
        description = access.retry(access.reader.describe)
    except ResourceNotFound:
        return [Finding(pool_not_found(need.target.region, account_of(access.api, access.retry)))]
    except AwsError as error:
        if not isinstance(error, Denied) or is_assume_role_error(error):
            return [Finding(access_failed(need, error))]
        account_id = account_of(access.api, access.retry)
        findings.append(Finding(permission_denied(need, Operation.DESCRIBE_USER_POOL, account_id)))
    else:
        account_id = description.account_id or account_of(access.api, access.retry)
        if description.tracking is Tracking.OFF:
            text = "device tracking is off; no user is read until it is enabled"
            findings.append(Finding(text, is_fault=False))
    return findings + list(_probe_remaining(need, access, account_id, quotas=quotas))


@dataclass(frozen=True, slots=True)
class _PermissionProbe:
    """Call that needs a permission, and the meaning of its errors other than a denial."""

    call: Callable[[], object]
    allowed: tuple[type[AwsError], ...] = ()
    """Errors that AWS returns only if the permission is granted."""
    explained: tuple[type[AwsError], str] | None = None
    """Error with a finding text of its own."""


def _probe_remaining(
    need: AccessNeed, access: PoolAccess, account_id: str | None, *, quotas: bool
) -> Iterator[Finding]:
    """Yield the findings of all operations but DescribeUserPool, which `check_pool` calls first."""
    for operation, permission in PERMISSIONS.items():
        if permission is None or not permission.applies_to(need):
            continue
        for probe in _probes(operation, need, access, quotas=quotas):
            try:
                access.retry(probe.call)
            except Denied:
                yield Finding(permission_denied(need, operation, account_id))
            except probe.allowed:
                pass
            except AwsError as error:
                if probe.explained is not None and isinstance(error, probe.explained[0]):
                    yield Finding(probe.explained[1])
                else:
                    yield Finding(f"check failed: {error}")


def _probes(operation: Operation, need: AccessNeed, access: PoolAccess, *, quotas: bool) -> Iterator[_PermissionProbe]:
    reader = access.reader
    match operation:
        case Operation.LIST_USERS:
            user_filter = need.users.filter
            # The message omits the filter, which may contain a user name.
            rejected = (InvalidRequest, "Cognito rejects the user filter") if user_filter is not None else None
            yield _PermissionProbe(partial(reader.users, user_filter=user_filter, token=None), explained=rejected)
        case Operation.LIST_USERS_IN_GROUP:
            for group in need.users.groups or ():
                missing = (ResourceNotFound, f"group {group!r} does not exist in the user pool")
                yield _PermissionProbe(partial(reader.users_in_group, group, token=None), explained=missing)
        case Operation.ADMIN_LIST_DEVICES:
            # The user need not exist: AWS checks the permission before it looks up the user.
            call = partial(reader.devices, f"check-config-{uuid4()}", token=None, on_send=lambda: None)
            yield _PermissionProbe(call, allowed=(UserNotFound, ResourceNotFound, TrackingOff))
        case Operation.GET_PROVISIONED_LIMIT if quotas:
            yield _PermissionProbe(partial(access.api.provisioned_quota, Category.USER_RESOURCE_READ))
