"""Answers of Cognito as values: pure, strict about types, forgiving about absence.

Every field of an answer is optional to AWS, so absence has a meaning of its own. A field of a wrong type
is no absence: such an answer is refused whole, because half of it would be a lie.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any, TypeVar

from exporter.aws.api import Page
from exporter.errors import Malformed
from exporter.model import Device, ListedPool, ListedUser, Mfa, PoolDescription, RememberedStatus, Tracking, region_of

T = TypeVar("T")

FEDERATED_STATUS = "EXTERNAL_PROVIDER"
"""UserStatus of a user who signs in through a SAML, OIDC or social provider."""

EARLIEST_SECONDS = -62_135_596_800
LATEST_SECONDS = 253_402_300_799
"""The years 1 and 9999, the ends of what AWS's timestamps can hold."""

MAX_TEXT = 2048
"""Characters of a text that is kept: AWS documents no longer attribute value, device key or pool name."""

MAX_ITEMS = 1000
"""Entries on one page; Cognito gives 60. More would cost memory out of proportion to the body that they came in."""

MAX_NUMBER = 2**53
"""Counts above this are no counts, and lose digits on a page."""

MAX_POOL_ID = 55
_POOL_ID = re.compile(r"[\w-]+_[0-9a-zA-Z]+", re.ASCII)
"""As botocore's service model has it."""

_MARK = "…"
_DIGITS = 16

_TRACKING = {True: Tracking.OPT_IN, False: Tracking.ALWAYS}
_MFA = {"OFF": Mfa.OFF, "OPTIONAL": Mfa.OPTIONAL, "ON": Mfa.ON}


def pool_description(pool_id: str, answer: Mapping[str, Any]) -> PoolDescription:
    """The answer of DescribeUserPool."""
    operation = "DescribeUserPool"
    pool = _typed(operation, answer, "UserPool", dict)
    if pool is None:
        raise Malformed(operation, "no UserPool in the answer")
    mfa = _MFA.get(_typed(operation, pool, "MfaConfiguration", str) or "OFF", Mfa.OFF)
    devices: Mapping[str, Any] | None = _typed(operation, pool, "DeviceConfiguration", dict)
    challenge = bool(devices) and bool(
        _typed(operation, devices or {}, "ChallengeRequiredOnNewDevice", bool),
    )
    return PoolDescription(
        pool_id=pool_id,
        name=bounded(_typed(operation, pool, "Name", str) or ""),
        account_id=_account_of(_typed(operation, pool, "Arn", str) or ""),
        region=region_of(pool_id),
        tracking=_tracking(operation, devices),
        mfa=mfa,
        mfa_bypass=challenge and mfa is not Mfa.OFF,
        estimated_users=_number(operation, pool, "EstimatedNumberOfUsers"),
    )


def pools_page(answer: Mapping[str, Any]) -> Page[ListedPool]:
    """A page of ListUserPools."""
    return _page("ListUserPools", answer, "UserPools", "NextToken", _listed_pool)


def pool_tags(answer: Mapping[str, Any]) -> Mapping[str, str]:
    """The tags in an answer of ListTagsForResource."""
    operation = "ListTagsForResource"
    tags: Mapping[str, Any] = _typed(operation, answer, "Tags", dict) or {}
    if len(tags) > MAX_ITEMS:
        raise Malformed(operation, f"more than {MAX_ITEMS} tags")
    return {name: _typed(operation, tags, name, str) or "" for name in tags}


def users_page(operation: str, answer: Mapping[str, Any], *, next_field: str) -> Page[ListedUser]:
    """A page of ListUsers or ListUsersInGroup."""
    return _page(operation, answer, "Users", next_field, lambda raw: _listed_user(operation, raw))


def devices_page(answer: Mapping[str, Any], *, attributes: frozenset[str]) -> Page[Device]:
    """A page of AdminListDevices; only the given attributes are kept, as they are personal data."""
    operation = "AdminListDevices"
    return _page(operation, answer, "Devices", "PaginationToken", lambda raw: _device(operation, raw, attributes))


def provisioned_quota(answer: Mapping[str, Any]) -> float:
    """The requests per second in an answer of GetProvisionedLimit."""
    operation = "GetProvisionedLimit"
    limit: Mapping[str, Any] = _typed(operation, answer, "Limit", dict) or {}
    value = _number(operation, limit, "ProvisionedLimitValue")
    if not value:
        raise Malformed(operation, "no ProvisionedLimitValue above zero in the answer")
    return float(value)


def _page(
    operation: str,
    answer: Mapping[str, Any],
    items_field: str,
    next_field: str,
    parse: Callable[[Mapping[str, Any]], T],
) -> Page[T]:
    items = []
    entries = _typed(operation, answer, items_field, list) or ()
    if len(entries) > MAX_ITEMS:
        raise Malformed(operation, f"more than {MAX_ITEMS} {items_field} on a page")
    for raw in entries:
        if not isinstance(raw, dict):
            raise Malformed(operation, f"an entry of {items_field} is no object")
        items.append(parse(raw))
    return Page(tuple(items), _typed(operation, answer, next_field, str) or None)


def _listed_pool(raw: Mapping[str, Any]) -> ListedPool:
    """A pool of a listing; one without an id, or with one of another form, could not be asked about."""
    pool_id = _typed("ListUserPools", raw, "Id", str)
    if not pool_id or len(pool_id) > MAX_POOL_ID or not _POOL_ID.fullmatch(pool_id):
        raise Malformed("ListUserPools", "a pool without an Id of the form of one")
    return ListedPool(pool_id, bounded(_typed("ListUserPools", raw, "Name", str) or ""))


def _listed_user(operation: str, raw: Mapping[str, Any]) -> ListedUser:
    return listed_user(operation, _typed(operation, raw, "Username", str), _typed(operation, raw, "UserStatus", str))


def device(
    key: str | None,
    attributes: Mapping[str, str],
    *,
    created_ms: int | None,
    modified_ms: int | None,
    authenticated_ms: int | None,
    wanted: frozenset[str],
) -> Device:
    """What is kept of a device whose fields have the right types."""
    return Device(
        key=bounded(key or ""),
        remembered=_remembered(attributes.get("dev:device_remembered_status")),
        status=bounded(attributes.get("device_status") or "unknown"),
        created_ms=created_ms,
        modified_ms=modified_ms,
        authenticated_ms=authenticated_ms,
        attributes=tuple((name, bounded(attributes[name])) for name in sorted(wanted) if name in attributes),
    )


def listed_user(operation: str, name: str | None, status: str | None) -> ListedUser:
    """A user of a listing; without a name the answer is refused, because nothing could be asked about the user.

    Nor could anything be with a name that is no name: Cognito's have 128 characters at most.
    """
    if not name:
        raise Malformed(operation, "a user without Username")
    if len(name) > MAX_TEXT:
        raise Malformed(operation, "a Username that is too long")
    return ListedUser(name, status == FEDERATED_STATUS)


def bounded(text: str) -> str:
    """The text where it is of a length that AWS documents; else its beginning, a mark, and a digest of the whole.

    A label of any length would be a page of any length. The digest keeps two long texts apart.
    """
    if len(text) <= MAX_TEXT:
        return text
    digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    return f"{text[: MAX_TEXT - len(_MARK) - _DIGITS]}{_MARK}{digest}"


def account_of(text: str) -> str | None:
    """An account id: twelve digits."""
    return text if len(text) == 12 and text.isascii() and text.isdigit() else None


def moment_ms(operation: str, name: str, seconds: float | None) -> int | None:
    """A point in time, given in seconds since the Unix epoch, in milliseconds; `name` is the field's."""
    if seconds is None:
        return None
    if not (math.isfinite(seconds) and EARLIEST_SECONDS <= seconds <= LATEST_SECONDS):
        raise Malformed(operation, f"{name} is beyond the years 1 to 9999")
    return round(seconds * 1000)


def _device(operation: str, raw: Mapping[str, Any], wanted: frozenset[str]) -> Device:
    return device(
        _typed(operation, raw, "DeviceKey", str),
        _attributes(operation, raw),
        created_ms=_moment(operation, raw, "DeviceCreateDate"),
        modified_ms=_moment(operation, raw, "DeviceLastModifiedDate"),
        authenticated_ms=_moment(operation, raw, "DeviceLastAuthenticatedDate"),
        wanted=wanted,
    )


def _attributes(operation: str, raw: Mapping[str, Any]) -> dict[str, str]:
    attributes = {}
    for entry in _typed(operation, raw, "DeviceAttributes", list) or ():
        if not isinstance(entry, dict):
            raise Malformed(operation, "an entry of DeviceAttributes is no object")
        name = _typed(operation, entry, "Name", str)
        value = _typed(operation, entry, "Value", str)
        if name and value is not None:
            attributes[name] = value
    return attributes


def _remembered(value: str | None) -> RememberedStatus:
    try:
        return RememberedStatus(value or "unknown")
    except ValueError:  # a status that AWS has not documented
        return RememberedStatus.UNKNOWN


def _tracking(operation: str, devices: Mapping[str, Any] | None) -> Tracking:
    if devices is None:
        return Tracking.OFF
    return _TRACKING[bool(_typed(operation, devices, "DeviceOnlyRememberedOnUserPrompt", bool))]


def _moment(operation: str, raw: Mapping[str, Any], name: str) -> int | None:
    value = raw.get(name)
    if value is None:
        return None
    if isinstance(value, datetime):
        value = value.timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Malformed(operation, f"{name} is no point in time")
    return moment_ms(operation, name, value)


def _typed(operation: str, raw: Mapping[str, Any], name: str, kind: type[T]) -> T | None:
    value = raw.get(name)
    if value is None:
        return None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise Malformed(operation, f"{name} is no {kind.__name__}")
    return value


def _number(operation: str, raw: Mapping[str, Any], name: str) -> int | None:
    value = _typed(operation, raw, name, int)
    if value is not None and not 0 <= value <= MAX_NUMBER:
        raise Malformed(operation, f"{name} is no count")
    return value


def _account_of(arn: str) -> str | None:
    parts = arn[:MAX_TEXT].split(":")
    return account_of(parts[4]) if len(parts) > 5 else None
