"""Decoders for Cognito's JSON responses.

AWS may omit any field, so an absent field has a default. A field of a wrong type makes the whole response `Malformed`:
a part of it would be wrong.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, TypeVar

import msgspec

from exporter.aws.api import Operation, Page
from exporter.aws.arns import account_of_arn
from exporter.errors import Malformed
from exporter.model import Device, ListedPool, ListedUser, Mfa, PoolDescription, RememberedStatus, Tracking, region_of

T = TypeVar("T")

FEDERATED_STATUS = "EXTERNAL_PROVIDER"
"""UserStatus of a user who signs in through a SAML, OIDC or social identity provider."""

EARLIEST_SECONDS = -62_135_596_800
LATEST_SECONDS = 253_402_300_799
"""Start of year 1 and end of year 9999, the range of AWS timestamps."""

MAX_TEXT = 2048
"""Length limit of texts. No documented attribute value, device key or pool name is longer."""

MAX_ITEMS = 1000
"""Limit of items per page. Cognito returns 60. The values would take many times the memory of the body."""

MAX_COUNT = 2**53
"""Largest count that a JSON number and a sample of Prometheus represent exactly."""

_ELLIPSIS = "…"
_DIGEST_LENGTH = 16

_Items = msgspec.Meta(max_length=MAX_ITEMS)
_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
_PoolId = Annotated[str, msgspec.Meta(pattern=r"(?a)\A[\w-]+_[0-9a-zA-Z]+\Z", max_length=55)]
"""Pool id as in the service model of botocore."""

_MFA = {"OPTIONAL": Mfa.OPTIONAL, "ON": Mfa.ON}


class _DeviceConfiguration(msgspec.Struct, rename="pascal"):
    challenge_required_on_new_device: bool | None = None
    device_only_remembered_on_user_prompt: bool | None = None


class _Pool(msgspec.Struct, rename="pascal"):
    name: str | None = None
    arn: str | None = None
    mfa_configuration: str | None = None
    device_configuration: _DeviceConfiguration | None = None
    estimated_number_of_users: _Count | None = None


class _DescribedPool(msgspec.Struct, rename="pascal"):
    user_pool: _Pool


class _ListedPool(msgspec.Struct, rename="pascal"):
    id: _PoolId
    name: str | None = None


class _Pools(msgspec.Struct, rename="pascal"):
    user_pools: Annotated[list[_ListedPool], _Items] | None = None
    next_token: str | None = None


class _Tags(msgspec.Struct, rename="pascal"):
    tags: Annotated[dict[str, str | None], _Items] | None = None


class _Attribute(msgspec.Struct, rename="pascal"):
    name: str | None = None
    value: str | None = None


class _Device(msgspec.Struct, rename="pascal"):
    device_key: str | None = None
    device_attributes: list[_Attribute] | None = None
    device_create_date: float | None = None
    device_last_modified_date: float | None = None
    device_last_authenticated_date: float | None = None


class _Devices(msgspec.Struct, rename="pascal"):
    devices: Annotated[list[_Device], _Items] | None = None
    pagination_token: str | None = None


class _User(msgspec.Struct, rename="pascal"):
    username: str | None = None
    user_status: str | None = None


class _Users(msgspec.Struct, rename="pascal"):
    users: Annotated[list[_User], _Items] | None = None
    pagination_token: str | None = None
    next_token: str | None = None


class _Error(msgspec.Struct):
    code: str = msgspec.field(name="__type", default="")


_described_pool = msgspec.json.Decoder(_DescribedPool)
_pools = msgspec.json.Decoder(_Pools)
_tags = msgspec.json.Decoder(_Tags)
_devices = msgspec.json.Decoder(_Devices)
_users = msgspec.json.Decoder(_Users)
_error = msgspec.json.Decoder(_Error)


def pool_description(pool_id: str, body: bytes) -> PoolDescription:
    """Decode a response of DescribeUserPool."""
    pool = _decode(_described_pool, Operation.DESCRIBE_USER_POOL, body).user_pool
    devices = pool.device_configuration
    if devices is None:
        tracking = Tracking.OFF
    else:
        tracking = Tracking.OPT_IN if devices.device_only_remembered_on_user_prompt else Tracking.ALWAYS
    mfa = _MFA.get(pool.mfa_configuration or "", Mfa.OFF)
    return PoolDescription(
        pool_id=pool_id,
        name=shorten(pool.name or ""),
        account_id=account_of_arn(pool.arn or ""),
        region=region_of(pool_id),
        tracking=tracking,
        mfa=mfa,
        mfa_bypass=mfa is not Mfa.OFF and devices is not None and bool(devices.challenge_required_on_new_device),
        estimated_users=pool.estimated_number_of_users,
    )


def pools_page(body: bytes) -> Page[ListedPool]:
    """Decode a page of ListUserPools."""
    page = _decode(_pools, Operation.LIST_USER_POOLS, body)
    pools = tuple(ListedPool(pool.id, shorten(pool.name or "")) for pool in page.user_pools or ())
    return Page(pools, page.next_token or None)


def pool_tags(body: bytes) -> Mapping[str, str]:
    """Decode a response of ListTagsForResource."""
    tags = _decode(_tags, Operation.LIST_TAGS_FOR_RESOURCE, body).tags or {}
    return {name: value or "" for name, value in tags.items()}


def devices_page(body: bytes, *, attributes: frozenset[str]) -> Page[Device]:
    """Decode a page of AdminListDevices. Only the given attributes are kept, because they are personal data."""
    page = _decode(_devices, Operation.ADMIN_LIST_DEVICES, body)
    return Page(tuple(_device(raw, attributes) for raw in page.devices or ()), page.pagination_token or None)


def users_page(body: bytes) -> Page[ListedUser]:
    """Decode a page of ListUsers."""
    page = _decode(_users, Operation.LIST_USERS, body)
    return Page(_listed_users(Operation.LIST_USERS, page), page.pagination_token or None)


def members_page(body: bytes) -> Page[ListedUser]:
    """Decode a page of ListUsersInGroup."""
    page = _decode(_users, Operation.LIST_USERS_IN_GROUP, body)
    return Page(_listed_users(Operation.LIST_USERS_IN_GROUP, page), page.next_token or None)


def error_code(body: bytes, header: str | None) -> str:
    """Return the code of an error response, from the body or the header `x-amzn-errortype`; empty if neither has one.

    The value can have the form `namespace#Code:address`, of which only the middle is the code.
    """
    try:
        code = _error.decode(body).code
    except (msgspec.MsgspecError, ValueError, RecursionError):
        code = ""
    return (code or header or "").partition(":")[0].rpartition("#")[2]


def make_device(
    key: str | None,
    attributes: Mapping[str, str],
    *,
    created_ms: int | None,
    modified_ms: int | None,
    authenticated_ms: int | None,
    wanted: frozenset[str],
) -> Device:
    """Return a device with the wanted attributes and texts of limited length."""
    try:
        remembered = RememberedStatus(attributes.get("dev:device_remembered_status") or "unknown")
    except ValueError:  # a status that AWS does not document
        remembered = RememberedStatus.UNKNOWN
    return Device(
        key=shorten(key or ""),
        remembered=remembered,
        status=shorten(attributes.get("device_status") or "unknown"),
        created_ms=created_ms,
        modified_ms=modified_ms,
        authenticated_ms=authenticated_ms,
        attributes=tuple((name, shorten(attributes[name])) for name in sorted(wanted) if name in attributes),
    )


def make_user(operation: str, name: str | None, status: str | None) -> ListedUser:
    """Return a user of a listing.

    Raises `Malformed` if the name is missing or too long: no request could be made for such a user. The limit of
    Cognito is 128 characters.
    """
    if not name:
        raise Malformed(operation, "a user has no Username")
    if len(name) > MAX_TEXT:
        raise Malformed(operation, "a Username is too long")
    return ListedUser(name, status == FEDERATED_STATUS)


def shorten(text: str) -> str:
    """Return the text; a text longer than `MAX_TEXT` is cut and a digest is appended, so that it stays distinct.

    Without a limit, one label could make a page of any size.
    """
    if len(text) <= MAX_TEXT:
        return text
    digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_LENGTH]
    return f"{text[: MAX_TEXT - len(_ELLIPSIS) - _DIGEST_LENGTH]}{_ELLIPSIS}{digest}"


def to_milliseconds(operation: str, name: str, seconds: float | None) -> int | None:
    """Convert a timestamp in seconds since the Unix epoch to milliseconds; `name` is the name of the field.

    Raises `Malformed` if it is not between the years 1 and 9999.
    """
    if seconds is None:
        return None
    if not (math.isfinite(seconds) and EARLIEST_SECONDS <= seconds <= LATEST_SECONDS):
        raise Malformed(operation, f"{name} is not between the years 1 and 9999")
    return round(seconds * 1000)


def _decode(decoder: msgspec.json.Decoder[T], operation: str, body: bytes) -> T:
    try:
        return decoder.decode(body.decode())  # msgspec does not check the encoding of fields that it skips
    except msgspec.ValidationError as error:
        raise Malformed(operation, "a field is missing or invalid, or there are too many items") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(operation, "the body is not JSON") from error


def _device(raw: _Device, wanted: frozenset[str]) -> Device:
    operation = Operation.ADMIN_LIST_DEVICES
    return make_device(
        raw.device_key,
        {entry.name: entry.value for entry in raw.device_attributes or () if entry.name and entry.value is not None},
        created_ms=to_milliseconds(operation, "DeviceCreateDate", raw.device_create_date),
        modified_ms=to_milliseconds(operation, "DeviceLastModifiedDate", raw.device_last_modified_date),
        authenticated_ms=to_milliseconds(operation, "DeviceLastAuthenticatedDate", raw.device_last_authenticated_date),
        wanted=wanted,
    )


def _listed_users(operation: str, page: _Users) -> tuple[ListedUser, ...]:
    return tuple(make_user(operation, raw.username, raw.user_status) for raw in page.users or ())
