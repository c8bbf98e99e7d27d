"""Bodies of answers, straight into types: the same values as `exporter.aws.model_mapping` makes of boto3's dicts.

As there, absence is forgiven and a wrong type is not. A date is a JSON number, as the protocol says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from exporter.aws import model_mapping as parse
from exporter.aws.api import Operation, Page
from exporter.errors import Malformed
from exporter.model import Device, ListedPool, ListedUser, PoolDescription

T = TypeVar("T")

_Few = msgspec.Meta(max_length=parse.MAX_ITEMS)


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
    devices: Annotated[list[_Device], _Few] | None = None
    pagination_token: str | None = None


class _User(msgspec.Struct, rename="pascal"):
    username: str | None = None
    user_status: str | None = None


class _Users(msgspec.Struct, rename="pascal"):
    users: Annotated[list[_User], _Few] | None = None
    pagination_token: str | None = None
    next_token: str | None = None


class _Refusal(msgspec.Struct):
    code: str = msgspec.field(name="__type", default="")


_document = msgspec.json.Decoder(dict[str, Any])
_devices = msgspec.json.Decoder(_Devices)
_users = msgspec.json.Decoder(_Users)
_refusal = msgspec.json.Decoder(_Refusal)


def pool_description(pool_id: str, body: bytes) -> PoolDescription:
    """The answer of DescribeUserPool; asked so seldom that the dicts of `parse` will do."""
    answer = _decoded(_document, Operation.DESCRIBE_USER_POOL, body)
    return parse.pool_description(pool_id, answer)


def pools_page(body: bytes) -> Page[ListedPool]:
    """A page of ListUserPools; as above."""
    answer = _decoded(_document, Operation.LIST_USER_POOLS, body)
    return parse.pools_page(answer)


def pool_tags(body: bytes) -> Mapping[str, str]:
    """The answer of ListTagsForResource; as above."""
    answer = _decoded(_document, Operation.LIST_TAGS_FOR_RESOURCE, body)
    return parse.pool_tags(answer)


def devices_page(body: bytes, *, attributes: frozenset[str]) -> Page[Device]:
    """A page of AdminListDevices; only the given attributes are kept, as they are personal data."""
    page = _decoded(_devices, Operation.ADMIN_LIST_DEVICES, body)
    return Page(tuple(_device(raw, attributes) for raw in page.devices or ()), page.pagination_token or None)


def users_page(body: bytes) -> Page[ListedUser]:
    """A page of ListUsers."""
    page = _decoded(_users, Operation.LIST_USERS, body)
    return Page(_listed(Operation.LIST_USERS, page), page.pagination_token or None)


def members_page(body: bytes) -> Page[ListedUser]:
    """A page of ListUsersInGroup."""
    page = _decoded(_users, Operation.LIST_USERS_IN_GROUP, body)
    return Page(_listed(Operation.LIST_USERS_IN_GROUP, page), page.next_token or None)


def error_code(body: bytes, header: str | None) -> str:
    """The code of an error, from the body or the header `x-amzn-errortype`; empty when neither has one.

    It may come as `namespace#Code:address`; only the middle is the code.
    """
    try:
        code = _refusal.decode(body).code
    except (msgspec.MsgspecError, ValueError, RecursionError):
        code = ""
    return (code or header or "").partition(":")[0].rpartition("#")[2]


def _decoded(decoder: msgspec.json.Decoder[T], operation: str, body: bytes) -> T:
    try:
        return decoder.decode(body.decode())  # msgspec would not look at the bytes of fields that nobody reads
    except msgspec.ValidationError as error:
        raise Malformed(operation, "a field has a wrong type, or too many entries") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(operation, "the body is no JSON") from error


def _device(raw: _Device, wanted: frozenset[str]) -> Device:
    operation = Operation.ADMIN_LIST_DEVICES
    return parse.device(
        raw.device_key,
        {entry.name: entry.value for entry in raw.device_attributes or () if entry.name and entry.value is not None},
        created_ms=parse.moment_ms(operation, "DeviceCreateDate", raw.device_create_date),
        modified_ms=parse.moment_ms(operation, "DeviceLastModifiedDate", raw.device_last_modified_date),
        authenticated_ms=parse.moment_ms(operation, "DeviceLastAuthenticatedDate", raw.device_last_authenticated_date),
        wanted=wanted,
    )


def _listed(operation: str, page: _Users) -> tuple[ListedUser, ...]:
    return tuple(parse.listed_user(operation, raw.username, raw.user_status) for raw in page.users or ())
