"""List operations: ListUserPools, ListUsers, ListUsersInGroup, AdminListDevices and ListDevices.

moto's own ListUsers handles about 100 requests per second, far fewer than a sweep sends; these functions read the same
objects and build only the response.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from moto.cognitoidp.models import CognitoIdpUser, CognitoIdpUserPool

from exporter.emulator.devices import DeviceRecord, devices_of, to_device_type
from exporter.emulator.errors import group_not_found, invalid_parameter
from exporter.emulator.faults import Faults
from exporter.emulator.paging import PAGE_LIMIT, ListingRequest, Listings

DEFAULT_USERS = 20
"""Users per page without a Limit; like AWS, fewer than the maximum."""
DEFAULT_DEVICES = 10

_FILTER = re.compile(r'\s*([\w:]+)\s*(\^?=)\s*"(.*)"\s*', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_SEARCHABLE = frozenset({"email", "family_name", "given_name", "name", "phone_number", "preferred_username", "sub"})


def list_user_pools(
    pools: Sequence[CognitoIdpUserPool],
    params: dict[str, Any],
    listings: Listings[CognitoIdpUserPool],
    faults: Faults,
) -> dict[str, Any]:
    """Return the response to ListUserPools; `MaxResults` is required."""
    limit = params.get("MaxResults")
    if not isinstance(limit, int) or not 1 <= limit <= PAGE_LIMIT:
        raise invalid_parameter(
            f"1 validation error detected: Value '{limit}' at 'maxResults' failed to satisfy constraint: "
            f"Member must have value between 1 and {PAGE_LIMIT}"
        )
    page, token = listings.page(
        ListingRequest.of("ListUserPools", params, "NextToken"),
        params.get("NextToken"),
        limit,
        faults.paging_of("ListUserPools"),
        lambda: list(pools),
    )
    response: dict[str, Any] = {"UserPools": [{"Id": pool.id, "Name": pool.name} for pool in page]}
    if token is not None:
        response["NextToken"] = token
    return response


def list_users(
    pool: CognitoIdpUserPool, params: dict[str, Any], listings: Listings[CognitoIdpUser], faults: Faults
) -> dict[str, Any]:
    """Return the response to ListUsers; `Filter` is as AWS documents it and is evaluated for the first page only."""
    matches = user_filter(params.get("Filter") or "")
    page, token = listings.page(
        ListingRequest.of("ListUsers", params, "PaginationToken"),
        params.get("PaginationToken"),
        limit_of(params, DEFAULT_USERS),
        faults.paging_of("ListUsers"),
        lambda: [user for user in pool.users.values() if matches(user)],
    )
    return _users(pool, page, params.get("AttributesToGet"), "PaginationToken", token)


def list_users_in_group(
    pool: CognitoIdpUserPool, params: dict[str, Any], listings: Listings[CognitoIdpUser], faults: Faults
) -> dict[str, Any]:
    """Return the response to ListUsersInGroup."""
    group = pool.groups.get(str(params.get("GroupName")))
    if group is None:
        raise group_not_found()
    page, token = listings.page(
        ListingRequest.of("ListUsersInGroup", params, "NextToken"),
        params.get("NextToken"),
        limit_of(params, DEFAULT_USERS),
        faults.paging_of("ListUsersInGroup"),
        lambda: [user for user in pool.users.values() if user in group.users],
    )
    return _users(pool, page, None, "NextToken", token)


def list_devices(
    operation: str,
    pool: CognitoIdpUserPool,
    user: CognitoIdpUser,
    params: dict[str, Any],
    listings: Listings[DeviceRecord],
    faults: Faults,
) -> dict[str, Any]:
    """Return the response to AdminListDevices and ListDevices."""
    page, token = listings.page(
        ListingRequest.of(operation, params, "PaginationToken"),
        params.get("PaginationToken"),
        limit_of(params, DEFAULT_DEVICES),
        faults.paging_of(operation),
        lambda: list(devices_of(user).confirmed.values()),
    )
    response: dict[str, Any] = {"Devices": [to_device_type(record, pool, user.username) for record in page]}
    if token is not None:
        response["PaginationToken"] = token
    return response


def limit_of(params: dict[str, Any], default: int) -> int:
    """Return the requested page size; 0 selects the default.

    Raises `ApiError` for a size that AWS does not allow.
    """
    limit = params.get("Limit", 0)
    if not isinstance(limit, int) or not 0 <= limit <= PAGE_LIMIT:
        raise invalid_parameter(
            f"1 validation error detected: Value '{limit}' at 'limit' failed to satisfy constraint: "
            f"Member must have value less than or equal to {PAGE_LIMIT}"
        )
    return limit or default


def user_filter(expression: str) -> Callable[[CognitoIdpUser], bool]:
    r"""Return the predicate of a Filter such as `status = "Enabled"` or `username ^= "a\"b"`; empty matches all users.

    Raises `ApiError` if the filter is invalid or its attribute is not searchable.
    """
    if not expression:
        return lambda _: True
    match = _FILTER.fullmatch(expression)
    if match is None:
        raise invalid_parameter("Error while parsing filter.")
    value_of = _attribute_reader(match[1])
    value = _ESCAPED.sub(r"\1", match[3])
    if match[1] == "cognito:user_status":
        value = value.upper()
    if match[2] == "=":
        return lambda user: value_of(user) == value
    return lambda user: (value_of(user) or "").startswith(value)


def _attribute_reader(attribute: str) -> Callable[[CognitoIdpUser], str | None]:
    if attribute == "username":
        return lambda user: str(user.username)
    if attribute == "status":
        return lambda user: "Enabled" if user.enabled else "Disabled"
    if attribute == "cognito:user_status":
        return status_of
    if attribute in _SEARCHABLE:
        return lambda user: user.attribute_lookup.get(attribute)
    raise invalid_parameter(f"Invalid search attribute: {attribute}")


def status_of(user: CognitoIdpUser) -> str:
    """Return the user's UserStatus; moto stores a plain string or a member of a string enumeration."""
    return str.__str__(user.status)


def _users(
    pool: CognitoIdpUserPool,
    page: Sequence[CognitoIdpUser],
    wanted: list[str] | None,
    token_name: str,
    token: str | None,
) -> dict[str, Any]:
    """Return a page of users, without those deleted since the listing began."""
    present = (user for user in page if pool.users.get(user.username) is user)
    response: dict[str, Any] = {"Users": [_user(user, wanted) for user in present]}
    if token is not None:
        response[token_name] = token
    return response


def _user(user: CognitoIdpUser, wanted: list[str] | None) -> dict[str, Any]:
    return {
        "Username": user.username,
        "Attributes": user.attributes if wanted is None else _requested_attributes(user, wanted),
        "UserCreateDate": _seconds(user.create_date),
        "UserLastModifiedDate": _seconds(user.last_modified_date),
        "Enabled": user.enabled,
        "UserStatus": status_of(user),
    }


@lru_cache(maxsize=4096)  # seeded users share one date
def _seconds(moment: datetime) -> float:
    """Return a date as a JSON number, to the millisecond; moto's dates are UTC without a time zone."""
    return round(moment.replace(tzinfo=UTC).timestamp(), 3)


def _requested_attributes(user: CognitoIdpUser, wanted: list[str]) -> list[dict[str, str]]:
    """Return the requested attributes; AWS rejects the whole listing if one user lacks one of them."""
    try:
        return [{"Name": name, "Value": user.attribute_lookup[name]} for name in wanted]
    except KeyError:
        raise invalid_parameter("One or more requested attributes do not exist.") from None
