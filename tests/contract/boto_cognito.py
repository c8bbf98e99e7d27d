"""Reference implementation of `CognitoApi` over boto3, with which the tests compare the lean client."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.parsers import ResponseParserError

from exporter.aws.api import PAGE_SIZE, Operation, Page
from exporter.aws.arns import account_of_arn
from exporter.aws.boto_client import AccountClient
from exporter.aws.lean.responses import MAX_COUNT, MAX_ITEMS, make_device, make_user, shorten, to_milliseconds
from exporter.errors import Malformed
from exporter.model import Device, ListedPool, ListedUser, Mfa, PoolDescription, Tracking, region_of

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

T = TypeVar("T")

MFA = {"OPTIONAL": Mfa.OPTIONAL, "ON": Mfa.ON}


class BotoCognito(AccountClient):
    """`exporter.aws.api.CognitoApi` over boto3 clients."""

    @cached_property
    def cognito(self) -> CognitoIdentityProviderClient:
        cognito = super().cognito
        cognito.meta.events.register("before-parse.cognito-identity-provider", reject_broken_json)
        return cognito

    def prepare(self, operation: Operation) -> None:
        """Do nothing: boto3 refreshes credentials during the request."""

    def describe_user_pool(self, pool_id: str) -> PoolDescription:
        response = self._cognito_call(Operation.DESCRIBE_USER_POOL, "describe_user_pool", UserPoolId=pool_id)
        return pool_description(pool_id, response)

    def list_user_pools(self, *, token: str | None) -> Page[ListedPool]:
        operation = Operation.LIST_USER_POOLS
        response = self._cognito_call(operation, "list_user_pools", MaxResults=PAGE_SIZE, NextToken=token)
        return page(operation, response, "UserPools", "NextToken", listed_pool)

    def pool_tags(self, pool_arn: str) -> Mapping[str, str]:
        operation = Operation.LIST_TAGS_FOR_RESOURCE
        response = self._cognito_call(operation, "list_tags_for_resource", ResourceArn=pool_arn)
        tags: Mapping[str, Any] = typed(operation, response, "Tags", dict) or {}
        return {name: typed(operation, tags, name, str) or "" for name in tags}

    def list_users(self, pool_id: str, *, user_filter: str | None, token: str | None) -> Page[ListedUser]:
        response = self._cognito_call(
            Operation.LIST_USERS,
            "list_users",
            UserPoolId=pool_id,
            Limit=PAGE_SIZE,
            AttributesToGet=["sub"],
            Filter=user_filter,
            PaginationToken=token,
        )
        return users_page(Operation.LIST_USERS, response, token_field="PaginationToken")

    def list_users_in_group(self, pool_id: str, group: str, *, token: str | None) -> Page[ListedUser]:
        response = self._cognito_call(
            Operation.LIST_USERS_IN_GROUP,
            "list_users_in_group",
            UserPoolId=pool_id,
            GroupName=group,
            Limit=PAGE_SIZE,
            NextToken=token,
        )
        return users_page(Operation.LIST_USERS_IN_GROUP, response, token_field="NextToken")

    def admin_list_devices(
        self, pool_id: str, username: str, *, token: str | None, attributes: frozenset[str]
    ) -> Page[Device]:
        response = self._cognito_call(
            Operation.ADMIN_LIST_DEVICES,
            "admin_list_devices",
            UserPoolId=pool_id,
            Username=username,
            Limit=PAGE_SIZE,
            PaginationToken=token,
        )
        return devices_page(response, attributes=attributes)

    def _cognito_call(self, operation: Operation, method: str, **parameters: Any) -> Mapping[str, Any]:
        parameters = {name: value for name, value in parameters.items() if value is not None}
        return self._call(operation, lambda: getattr(self.cognito, method)(**parameters))


def reject_broken_json(response_dict: dict[str, Any], **_: Any) -> None:
    """Prevent botocore from taking a truncated response for an empty one."""
    if response_dict["status_code"] != 200:
        return
    try:
        body = json.loads(response_dict["body"])
    except ValueError as error:
        raise ResponseParserError("the body is not JSON") from error
    if not isinstance(body, dict):
        raise ResponseParserError("the body is not a JSON object")


def pool_description(pool_id: str, response: Mapping[str, Any]) -> PoolDescription:
    """Parse a response of DescribeUserPool."""
    operation = Operation.DESCRIBE_USER_POOL
    pool = typed(operation, response, "UserPool", dict)
    if pool is None:
        raise Malformed(operation, "no UserPool")
    mfa = MFA.get(typed(operation, pool, "MfaConfiguration", str) or "", Mfa.OFF)
    devices: Mapping[str, Any] | None = typed(operation, pool, "DeviceConfiguration", dict)
    challenge = typed(operation, devices or {}, "ChallengeRequiredOnNewDevice", bool)
    opt_in = typed(operation, devices or {}, "DeviceOnlyRememberedOnUserPrompt", bool)
    users = typed(operation, pool, "EstimatedNumberOfUsers", int)
    if users is not None and not 0 <= users <= MAX_COUNT:
        raise Malformed(operation, "EstimatedNumberOfUsers is not a count")
    return PoolDescription(
        pool_id=pool_id,
        name=shorten(typed(operation, pool, "Name", str) or ""),
        account_id=account_of_arn(typed(operation, pool, "Arn", str) or ""),
        region=region_of(pool_id),
        tracking=Tracking.OFF if devices is None else Tracking.OPT_IN if opt_in else Tracking.ALWAYS,
        mfa=mfa,
        mfa_bypass=bool(challenge) and mfa is not Mfa.OFF,
        estimated_users=users,
    )


def listed_pool(raw: Mapping[str, Any]) -> ListedPool:
    """Parse a pool of a listing."""
    pool_id = typed(Operation.LIST_USER_POOLS, raw, "Id", str)
    if not pool_id:
        raise Malformed(Operation.LIST_USER_POOLS, "no Id")
    return ListedPool(pool_id, shorten(typed(Operation.LIST_USER_POOLS, raw, "Name", str) or ""))


def users_page(operation: str, response: Mapping[str, Any], *, token_field: str) -> Page[ListedUser]:
    """Parse a page of ListUsers or ListUsersInGroup."""

    def user(raw: Mapping[str, Any]) -> ListedUser:
        return make_user(operation, typed(operation, raw, "Username", str), typed(operation, raw, "UserStatus", str))

    return page(operation, response, "Users", token_field, user)


def devices_page(response: Mapping[str, Any], *, attributes: frozenset[str]) -> Page[Device]:
    """Parse a page of AdminListDevices."""

    def device(raw: Mapping[str, Any]) -> Device:
        return make_device(
            typed(Operation.ADMIN_LIST_DEVICES, raw, "DeviceKey", str),
            device_attributes(raw),
            created_ms=timestamp(raw, "DeviceCreateDate"),
            modified_ms=timestamp(raw, "DeviceLastModifiedDate"),
            authenticated_ms=timestamp(raw, "DeviceLastAuthenticatedDate"),
            wanted=attributes,
        )

    return page(Operation.ADMIN_LIST_DEVICES, response, "Devices", "PaginationToken", device)


def device_attributes(raw: Mapping[str, Any]) -> dict[str, str]:
    """Parse the attributes of a device."""
    operation = Operation.ADMIN_LIST_DEVICES
    attributes = {}
    for entry in typed(operation, raw, "DeviceAttributes", list) or ():
        if not isinstance(entry, dict):
            raise Malformed(operation, "an entry of DeviceAttributes is not an object")
        name, value = typed(operation, entry, "Name", str), typed(operation, entry, "Value", str)
        if name and value is not None:
            attributes[name] = value
    return attributes


def timestamp(raw: Mapping[str, Any], name: str) -> int | None:
    """Parse a timestamp of a device, which boto3 returns as datetime."""
    value = raw.get(name)
    if isinstance(value, datetime):
        value = value.timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float | None):
        raise Malformed(Operation.ADMIN_LIST_DEVICES, f"{name} is not a timestamp")
    return to_milliseconds(Operation.ADMIN_LIST_DEVICES, name, value)


def page(
    operation: str,
    response: Mapping[str, Any],
    items_field: str,
    token_field: str,
    parse: Callable[[Mapping[str, Any]], T],
) -> Page[T]:
    """Parse a page of a listing."""
    entries = typed(operation, response, items_field, list) or []
    if len(entries) > MAX_ITEMS or not all(isinstance(entry, dict) for entry in entries):
        raise Malformed(operation, f"{items_field} is not a list of at most {MAX_ITEMS} objects")
    return Page(tuple(parse(entry) for entry in entries), typed(operation, response, token_field, str) or None)


def typed(operation: str, raw: Mapping[str, Any], name: str, kind: type[T]) -> T | None:
    """Return a field of the given type; None if it is absent."""
    value = raw.get(name)
    if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise Malformed(operation, f"{name} is not of type {kind.__name__}")
    return value
