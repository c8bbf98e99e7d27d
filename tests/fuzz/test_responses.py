"""Any response of AWS is decoded to a value within bounds, or raises an `AwsError`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import boto3
import pytest
import urllib3.exceptions as http
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st

from exporter.aws.api import Category, Page
from exporter.aws.boto_client import ONE_ATTEMPT
from exporter.aws.error_mapping import from_response
from exporter.aws.lean import responses
from exporter.aws.lean.transport import MAX_BODY_BYTES, ResponseTooLong, Transport, _ResponseReader
from exporter.clock import SystemClock
from exporter.errors import AwsError, Malformed
from exporter.model import Device, ListedUser, PoolDescription
from tests.contract.boto_cognito import BotoCognito

POOL = "eu-west-1_AbCdEfGhI"
WANTED = frozenset({"device_name", "last_ip_used"})
KEYS = [
    "Devices",
    "DeviceKey",
    "DeviceAttributes",
    "Name",
    "Value",
    "DeviceCreateDate",
    "DeviceLastModifiedDate",
    "DeviceLastAuthenticatedDate",
    "PaginationToken",
    "NextToken",
    "Users",
    "Username",
    "UserStatus",
    "UserPool",
    "Arn",
    "DeviceConfiguration",
    "MfaConfiguration",
    "ChallengeRequiredOnNewDevice",
    "DeviceOnlyRememberedOnUserPrompt",
    "EstimatedNumberOfUsers",
    "Limit",
    "ProvisionedLimitValue",
    "__type",
    "message",
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=10),
    st.sampled_from(
        ["x" * 3000, "ON", "remembered", "device_name", "EXTERNAL_PROVIDER", "NaN", 1e308, -1, 2**63, 1.7e9]
    ),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=6),
    max_leaves=25,
)
GOOD = json.dumps(
    {
        "Devices": [
            {
                "DeviceKey": "key",
                "DeviceAttributes": [{"Name": "device_name", "Value": "laptop"}],
                "DeviceCreateDate": 1.7e9,
                "DeviceLastAuthenticatedDate": 1.71e9,
            }
        ],
        "Users": [{"Username": "ann", "UserStatus": "CONFIRMED"}],
        "UserPool": {"Name": "shop", "Arn": "arn:aws:cognito-idp:eu-west-1:123456789012:userpool/x",
                     "DeviceConfiguration": {}},
        "Limit": {"ProvisionedLimitValue": 30},
        "PaginationToken": "next",
        "NextToken": "next",
        "ResponseMetadata": [],
    }
).encode()  # fmt: skip
XML = (
    b"<GetCallerIdentityResponse><GetCallerIdentityResult><Account>123456789012</Account>"
    b"</GetCallerIdentityResult></GetCallerIdentityResponse>"
)


def damaged(content: bytes) -> st.SearchStrategy[bytes]:
    """Return the content with a few parts overwritten or removed."""
    cuts = st.tuples(st.integers(0, len(content)), st.integers(0, 6), st.binary(max_size=4))

    def apply(slips: list[tuple[int, int, bytes]]) -> bytes:
        changed = content
        for place, length, put in slips:
            changed = changed[:place] + put + changed[place + length :]
        return changed

    return st.lists(cuts, min_size=1, max_size=4).map(apply)


LONG = "x" * (responses.MAX_TEXT + 1)
TEXTS = st.none() | st.text(max_size=10) | st.just(LONG)
DATES = st.none() | st.integers(0, 2_000_000_000) | st.sampled_from([-62_135_596_801, 253_402_300_800, 1e300])


def objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return objects of which any field may be absent."""
    return st.fixed_dictionaries({}, optional=fields)


ATTRIBUTES = st.lists(
    objects(Name=st.sampled_from(["device_name", "device_status", "last_ip_used", "sub"]), Value=TEXTS), max_size=3
)
SHAPED = objects(
    Devices=st.lists(
        objects(
            DeviceKey=TEXTS,
            DeviceAttributes=ATTRIBUTES,
            DeviceCreateDate=DATES,
            DeviceLastModifiedDate=DATES,
            DeviceLastAuthenticatedDate=DATES,
        ),
        max_size=2,
    ),
    Users=st.lists(objects(Username=TEXTS, UserStatus=TEXTS), max_size=2),
    UserPool=objects(Name=TEXTS, Arn=TEXTS, EstimatedNumberOfUsers=st.integers(), DeviceConfiguration=objects()),
    Limit=objects(ProvisionedLimitValue=st.integers()),
    PaginationToken=TEXTS,
    NextToken=TEXTS,
)
"""Valid or nearly valid responses."""

BODIES = st.one_of(
    st.binary(max_size=200),
    damaged(GOOD),
    damaged(XML),
    st.dictionaries(st.sampled_from(KEYS), JSON, max_size=6).map(lambda content: json.dumps(content).encode()),
    JSON.map(lambda content: json.dumps(content).encode()),
)


class BotoWithResponse:
    """Client over boto3 that receives given responses."""

    def __init__(self) -> None:
        session = boto3.Session(aws_access_key_id="AKIA", aws_secret_access_key="s", region_name="eu-west-1")
        config = ONE_ATTEMPT.merge(Config(proxies={}))
        cognito, sts = session.client("cognito-idp", config=config), session.client("sts", config=config)
        for client in (cognito, sts):
            client.meta.events.register("before-send", self._respond)
        self.api = BotoCognito(lambda: cognito, lambda: sts)
        self.status, self.body = 200, b""

    def _respond(self, request: AWSPreparedRequest, **_: Any) -> Any:
        response = AWSResponse(request.url, self.status, HTTPHeaders(), None)
        response._content = self.body  # type: ignore[attr-defined] # attribute of botocore for a body that was read
        return response


BOTO = BotoWithResponse()
BY_BOTO: dict[str, Callable[[], object]] = {
    "pool": lambda: BOTO.api.describe_user_pool(POOL),
    "users": lambda: BOTO.api.list_users(POOL, user_filter=None, token=None),
    "members": lambda: BOTO.api.list_users_in_group(POOL, "g", token=None),
    "devices": lambda: BOTO.api.admin_list_devices(POOL, "u", token=None, attributes=WANTED),
    "account": BOTO.api.account_id,
    "quota": lambda: BOTO.api.provisioned_quota(Category.USER_LIST),
}
LEAN: dict[str, Callable[[bytes], object]] = {
    "pool": lambda body: responses.pool_description(POOL, body),
    "users": responses.users_page,
    "members": responses.members_page,
    "devices": lambda body: responses.devices_page(body, attributes=WANTED),
}


@pytest.mark.parametrize("read", LEAN.values(), ids=LEAN)
@given(body=BODIES)
def test_any_body_is_decoded_or_malformed(read: Callable[[bytes], object], body: bytes) -> None:
    try:
        value = read(body)
    except Malformed as error:
        assert str(error).isprintable()  # noqa: PT017 - one of two correct outcomes
        return
    assert_within_bounds(value)
    assert_equals_response(value, json.loads(body))


@pytest.mark.parametrize("read", LEAN.values(), ids=LEAN)
@given(content=SHAPED)
def test_nearly_valid_response_is_decoded_or_malformed(
    read: Callable[[bytes], object], content: dict[str, Any]
) -> None:
    try:
        value = read(json.dumps(content).encode())
    except Malformed:
        return
    assert_within_bounds(value)
    assert_equals_response(value, content)


@pytest.mark.parametrize("call", BY_BOTO.values(), ids=BY_BOTO)
@given(body=BODIES, status=st.sampled_from([200, 200, 200, 301, 400, 403, 429, 500, 503]))
def test_any_body_over_boto3_is_decoded_or_an_aws_error(call: Callable[[], object], body: bytes, status: int) -> None:
    BOTO.status, BOTO.body = status, body
    try:
        value = call()
    except AwsError as error:
        assert str(error).isprintable()  # noqa: PT017 - as above
        assert len(str(error)) < 200  # noqa: PT017 - as above
        return
    assert_within_bounds(value)


@given(
    body=BODIES | st.text(max_size=30).map(lambda code: json.dumps({"__type": code}).encode()),
    header=st.none() | st.text(max_size=200),
    status=st.integers(0, 999),
)
def test_any_error_response_is_an_error_with_a_short_code(body: bytes, header: str | None, status: int) -> None:
    error = from_response("ListUsers", responses.error_code(body, header), status)
    assert isinstance(error, AwsError)
    code = str(error).removeprefix("ListUsers: ")
    assert code.startswith("HTTP ") or (code.replace(".", "").isalnum() and len(code) <= 80)


PIECES = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.0 500 \r\n", b"HTTP/2 200\r\n",
        b"HTTP/1.1 99999 x\r\n",
        b"Content-Length: 5\r\n", b"Content-Length: -1\r\n", b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n",
        b"X: " + b"y" * 70_000 + b"\r\n", b"\r\n", b"hello", b"5\r\nhello\r\n0\r\n\r\n",
        b"ffffffffffffffffff\r\n", b"\x00",
    ]
)  # fmt: skip


WHOLE = st.sampled_from(
    [
        b"HTTP/1.1 101 Other\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        b"",
    ]
)


@given(WHOLE, st.lists(PIECES | st.binary(max_size=20), max_size=8), st.sampled_from([1, 7, 65_536]))
def test_any_bytes_are_a_response_or_a_connection_failure(first: bytes, pieces: list[bytes], size: int) -> None:
    whole = first + b"".join(pieces)
    if size == 1:
        whole = whole[:2000]
    incoming = _ResponseReader()
    try:
        _TRANSPORT._exchange(_Wire(whole, size), b"", incoming)  # type: ignore[arg-type] # what is used of a connection
    except (http.HTTPError, ResponseTooLong):
        return
    assert incoming.complete
    assert 200 <= incoming.status <= 999
    assert len(b"".join(incoming.parts)) <= min(len(whole), MAX_BODY_BYTES)
    assert all(part in whole for part in incoming.parts)


_TRANSPORT = Transport("http://127.0.0.1:1/", Config(proxies={}), None, SystemClock())


class _Wire:
    """Connection and socket that return bytes in chunks, then the end of the stream."""

    def __init__(self, content: bytes, size: int) -> None:
        self.sock = self
        self._content = content
        self._size = size

    def sendall(self, _: bytes) -> None:
        pass

    def settimeout(self, _: float) -> None:
        pass

    def recv(self, most: int) -> bytes:
        given_now = self._content[: min(self._size, most)]
        self._content = self._content[len(given_now) :]
        return given_now


def assert_within_bounds(value: object) -> None:
    match value:
        case Page(items=items, token=token):
            assert len(items) <= responses.MAX_ITEMS
            assert token is None or token
            for item in items:
                assert_within_bounds(item)
        case ListedUser(name=name):
            assert 1 <= len(name) <= responses.MAX_TEXT
        case Device():
            texts = (value.key, value.status, *(text for _, text in value.attributes))
            assert all(len(text) <= responses.MAX_TEXT for text in texts)
            assert {name for name, _ in value.attributes} <= WANTED
            for moment in (value.created_ms, value.modified_ms, value.authenticated_ms):
                assert moment is None or responses.EARLIEST_SECONDS <= moment / 1000 <= responses.LATEST_SECONDS
        case PoolDescription():
            assert len(value.name) <= responses.MAX_TEXT
            assert value.account_id is None or len(value.account_id) == 12
            assert value.estimated_users is None or 0 <= value.estimated_users <= responses.MAX_COUNT
        case str():
            assert len(value) == 12
            assert value.isdigit()
        case _:
            assert isinstance(value, float)
            assert value > 0


def assert_equals_response(value: object, content: dict[str, Any]) -> None:
    """Assert that the value has all fields of the response and no others."""
    match value:
        case Page(items=items):
            said = content.get("Users" if any(isinstance(item, ListedUser) for item in items) else "Devices") or []
            if items:
                assert len(items) == len(said)
            for item, raw in zip(items, said if items else (), strict=True):
                if isinstance(item, ListedUser):
                    assert item.name == raw["Username"]
                else:
                    assert item.key == responses.shorten(raw.get("DeviceKey") or "")
                    assert (item.created_ms is None) == (raw.get("DeviceCreateDate") is None)
        case PoolDescription():
            assert value.name == responses.shorten(content["UserPool"].get("Name") or "")
