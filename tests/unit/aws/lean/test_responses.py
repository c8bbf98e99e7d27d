"""Decoded responses, compared with those of `tests.contract.boto_cognito`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from hypothesis import given
from hypothesis import strategies as st

from exporter.aws.api import CognitoApi, Page
from exporter.aws.boto_client import ONE_ATTEMPT
from exporter.aws.lean import responses
from exporter.errors import ErrorAction, Malformed, UnexpectedError
from exporter.model import Device, ListedPool, ListedUser, Mfa, PoolDescription, RememberedStatus, Tracking
from tests.aws_session import aws_session
from tests.contract.boto_cognito import BotoCognito

T = TypeVar("T")

POOL = "eu-west-1_AbCdEfGhI"
ATTRIBUTES = frozenset({"device_name", "last_ip_used"})

Read = Callable[[bytes], Page[Any] | PoolDescription]


class BotoWithBody:
    """Client over boto3 that receives given bodies."""

    def __init__(self) -> None:
        session = aws_session("AKIA", "eu-west-1")
        cognito = session.client("cognito-idp", config=ONE_ATTEMPT)
        cognito.meta.events.register("before-send", self._respond)
        self._api: CognitoApi = BotoCognito(lambda: cognito, lambda: session.client("sts"))
        self._body = b""

    def read(self, body: bytes, call: Callable[[CognitoApi], T]) -> T:
        self._body = body
        return call(self._api)

    def _respond(self, request: AWSPreparedRequest, **_: Any) -> Any:
        response = AWSResponse(request.url, 200, HTTPHeaders(), None)
        response._content = self._body  # type: ignore[attr-defined] # attribute of botocore for a body that was read
        return response


BOTO = BotoWithBody()

READINGS: dict[str, tuple[Read, Read]] = {
    "pool": (
        lambda body: responses.pool_description(POOL, body),
        lambda body: BOTO.read(body, lambda api: api.describe_user_pool(POOL)),
    ),
    "devices": (
        lambda body: responses.devices_page(body, attributes=ATTRIBUTES),
        lambda body: BOTO.read(
            body, lambda api: api.admin_list_devices("p", "u", token=None, attributes=ATTRIBUTES)
        ),
    ),
    "users": (
        responses.users_page,
        lambda body: BOTO.read(body, lambda api: api.list_users("p", user_filter=None, token=None)),
    ),
    "members": (
        responses.members_page,
        lambda body: BOTO.read(body, lambda api: api.list_users_in_group("p", "g", token=None)),
    ),
}  # fmt: skip


def outcome(read: Read, body: bytes) -> Page[Any] | PoolDescription | str:
    try:
        return read(body)
    except (Malformed, UnexpectedError) as error:  # the second if botocore fails on the date
        assert error.action is ErrorAction.RETRY  # noqa: PT017 - one of two correct outcomes
        return "malformed"


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
TIMESTAMPS = (
    st.integers(-60_000_000_000, 250_000_000_000)
    | st.integers(0, 4_000_000_000_000).map(lambda ms: ms / 1000)
    | st.sampled_from([0, -0.0, 1e300, -1e300, 10**30, 1e12])
)
"""In milliseconds, the resolution of AWS."""


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return objects of which any field may be absent or null."""
    return st.fixed_dictionaries({}, optional={name: st.none() | values for name, values in fields.items()})


ATTRIBUTE_NAMES = st.sampled_from(["device_status", "device_name", "last_ip_used", "dev:device_remembered_status", ""])
DEVICE = optional(
    DeviceKey=TEXT,
    DeviceAttributes=st.lists(
        optional(Name=ATTRIBUTE_NAMES, Value=TEXT | st.sampled_from(["remembered", "valid"])), max_size=5
    ),
    DeviceCreateDate=TIMESTAMPS,
    DeviceLastModifiedDate=TIMESTAMPS,
    DeviceLastAuthenticatedDate=TIMESTAMPS,
    Unknown=TEXT,
)
USER = optional(Username=TEXT, UserStatus=TEXT | st.just("EXTERNAL_PROVIDER"), Enabled=st.booleans())
DESCRIBED = optional(
    Name=TEXT,
    Arn=TEXT | st.just("arn:aws:cognito-idp:eu-west-1:123456789012:userpool/x"),
    MfaConfiguration=st.sampled_from(["OFF", "ON", "OPTIONAL", "odd"]),
    EstimatedNumberOfUsers=st.integers(),
    DeviceConfiguration=optional(
        ChallengeRequiredOnNewDevice=st.booleans(), DeviceOnlyRememberedOnUserPrompt=st.booleans()
    ),
)
RESPONSES = optional(
    UserPool=DESCRIBED,
    Devices=st.lists(DEVICE, max_size=4),
    Users=st.lists(USER, max_size=4),
    PaginationToken=TEXT,
    NextToken=TEXT,
)


@pytest.mark.parametrize("which", READINGS)
@given(response=RESPONSES)
def test_valid_response_is_decoded_as_by_boto3(which: str, response: dict[str, Any]) -> None:
    lean, boto = READINGS[which]
    body = json.dumps(response).encode()
    assert outcome(lean, body) == outcome(boto, body)


FIELDS = st.sampled_from([
    "Devices", "Users", "PaginationToken", "NextToken", "DeviceKey", "DeviceAttributes", "Name", "Value",
    "DeviceCreateDate", "Username", "UserStatus", "UserPool", "Arn", "MfaConfiguration", "EstimatedNumberOfUsers",
    "DeviceConfiguration", "ChallengeRequiredOnNewDevice",
])  # fmt: skip
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize("which", READINGS)
@given(response=st.dictionaries(FIELDS, ANYTHING) | ANYTHING)
def test_any_json_is_malformed_or_decoded_as_by_boto3(which: str, response: Any) -> None:
    lean, boto = READINGS[which]
    body = json.dumps(response).encode()
    found = outcome(lean, body)
    assert found in ("malformed", outcome(boto, body))


@pytest.mark.parametrize("which", READINGS)
@given(body=st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode(errors="replace")))
def test_any_bytes_are_malformed_or_decoded_as_by_boto3(which: str, body: bytes) -> None:
    lean, boto = READINGS[which]
    assert outcome(lean, body) in ("malformed", outcome(boto, body))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{} {}",
        b'{"Devices": []',
        b'{"Devices": [],}',
        b'{"Devices": {}}',
        b'{"Devices": ""}',
        b'{"Devices": [null]}',
        b'{"Devices": [{"DeviceCreateDate": "1700000000"}]}',
        b'{"Devices": [{"DeviceCreateDate": "2024-01-01T00:00:00Z"}]}',
        b'{"Devices": [{"DeviceCreateDate": true}]}',
        b'{"Devices": [{"DeviceCreateDate": NaN}]}',
        b'{"Devices": [{"DeviceCreateDate": 1e999}]}',
        b'{"Unknown": "\xff"}',
        b'{"Unknown": ' + b"[" * 100_000,
    ],
)
def test_devices_page_against_the_protocol_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed, match=r"^AdminListDevices: "):
        responses.devices_page(body, attributes=ATTRIBUTES)


def devices(*raw: dict[str, Any], attributes: frozenset[str] = ATTRIBUTES) -> tuple[Device, ...]:
    return responses.devices_page(json.dumps({"Devices": raw}).encode(), attributes=attributes).items


def attribute(name: str, value: str) -> dict[str, str]:
    return {"Name": name, "Value": value}


def test_device_with_all_fields_is_decoded() -> None:
    raw = {
        "DeviceKey": "eu-west-1_1234",
        "DeviceAttributes": [
            attribute("device_status", "valid"),
            attribute("device_name", "Firefox"),
            attribute("dev:device_remembered_status", "remembered"),
            attribute("dev:device_sdk", "aws-sdk"),
        ],
        "DeviceCreateDate": 1_700_000_000.5,
        "DeviceLastModifiedDate": 1_704_067_200,
        "DeviceLastAuthenticatedDate": 1_700_000_001,
    }
    assert devices(raw) == (
        Device(
            key="eu-west-1_1234",
            remembered=RememberedStatus.REMEMBERED,
            status="valid",
            created_ms=1_700_000_000_500,
            modified_ms=1_704_067_200_000,
            authenticated_ms=1_700_000_001_000,
            attributes=(("device_name", "Firefox"),),
        ),
    )


def test_device_without_fields_is_decoded() -> None:
    assert devices({}) == (Device(key=""),)


def test_unwanted_attributes_are_dropped() -> None:
    raw = {"DeviceAttributes": [attribute("last_ip_used", "192.0.2.1")]}
    assert "192.0.2.1" not in repr(devices(raw, attributes=frozenset())[0].attributes)


@pytest.mark.parametrize("value", ["lost", "", "REMEMBERED"])
def test_undocumented_remembered_status_is_unknown(value: str) -> None:
    raw = {"DeviceAttributes": [attribute("dev:device_remembered_status", value)]}
    assert devices(raw)[0].remembered is RememberedStatus.UNKNOWN


@pytest.mark.parametrize("seconds", [responses.EARLIEST_SECONDS, responses.LATEST_SECONDS])
def test_first_and_last_timestamp_are_decoded(seconds: int) -> None:
    assert devices({"DeviceCreateDate": seconds})[0].created_ms == seconds * 1000


@pytest.mark.parametrize("seconds", [responses.EARLIEST_SECONDS - 1, responses.LATEST_SECONDS + 1, 1e300])
def test_timestamp_out_of_range_is_malformed(seconds: float) -> None:
    with pytest.raises(Malformed):
        devices({"DeviceCreateDate": seconds})


@pytest.mark.parametrize("body", [b"{}", b'{"Devices": null}', b'{"Devices": [], "PaginationToken": ""}'])
def test_response_without_devices_is_an_empty_last_page(body: bytes) -> None:
    assert responses.devices_page(body, attributes=ATTRIBUTES) == Page((), None)


def test_users_page_has_names_and_federated_users() -> None:
    body = (
        b'{"Users": [{"Username": "a"}, {"Username": "b", "UserStatus": "EXTERNAL_PROVIDER"}], "PaginationToken": "t"}'
    )
    assert responses.users_page(body) == Page((ListedUser("a"), ListedUser("b", federated=True)), "t")


@pytest.mark.parametrize("name", [None, "", "x" * (responses.MAX_TEXT + 1)])
def test_user_without_a_usable_name_is_malformed(name: str | None) -> None:
    with pytest.raises(Malformed):
        responses.users_page(json.dumps({"Users": [{"Username": name}]}).encode())


@pytest.mark.parametrize("pool_id", [None, "", "eu-west-1", "eu-west-1_ü", "eu-west-1_a\n", "e_" + "a" * 54, 7])
def test_listed_pool_with_an_invalid_id_is_malformed(pool_id: object) -> None:
    with pytest.raises(Malformed):
        responses.pools_page(json.dumps({"UserPools": [{"Id": pool_id, "Name": "shop"}]}).encode())


def test_pools_page_has_ids_and_names() -> None:
    body = json.dumps({"UserPools": [{"Id": POOL, "Name": "shop"}, {"Id": "us-east-1_x"}], "NextToken": "t"}).encode()
    assert responses.pools_page(body) == Page((ListedPool(POOL, "shop"), ListedPool("us-east-1_x", "")), "t")


def test_pool_tags_without_a_value_are_empty() -> None:
    assert responses.pool_tags(b'{"Tags": {"team": "a", "stage": null}}') == {"team": "a", "stage": ""}
    assert responses.pool_tags(b"{}") == {}


@pytest.mark.parametrize("tags", [{"a": 1}, ["a"], {str(i): "" for i in range(responses.MAX_ITEMS + 1)}])
def test_invalid_pool_tags_are_malformed(tags: object) -> None:
    with pytest.raises(Malformed):
        responses.pool_tags(json.dumps({"Tags": tags}).encode())


def described(**pool: Any) -> PoolDescription:
    return responses.pool_description(POOL, json.dumps({"UserPool": pool}).encode())


@pytest.mark.parametrize(
    ("configuration", "tracking"),
    [
        (None, Tracking.OFF),
        ({}, Tracking.ALWAYS),
        ({"DeviceOnlyRememberedOnUserPrompt": False}, Tracking.ALWAYS),
        ({"DeviceOnlyRememberedOnUserPrompt": True}, Tracking.OPT_IN),
    ],
)
def test_pool_tracking_is_decoded(configuration: dict[str, bool] | None, tracking: Tracking) -> None:
    assert described(DeviceConfiguration=configuration).tracking is tracking


@pytest.mark.parametrize(
    ("mfa", "challenge", "bypass"),
    [("OFF", True, False), ("ON", True, True), ("OPTIONAL", True, True), ("ON", False, False)],
)
def test_pool_with_mfa_and_device_challenge_has_mfa_bypass(mfa: str, challenge: bool, bypass: bool) -> None:
    found = described(MfaConfiguration=mfa, DeviceConfiguration={"ChallengeRequiredOnNewDevice": challenge})
    assert (found.mfa, found.mfa_bypass) == (Mfa(mfa.lower()), bypass)


def test_pool_account_is_read_from_the_arn() -> None:
    assert described(Arn=f"arn:aws:cognito-idp:eu-west-1:123456789012:userpool/{POOL}").account_id == "123456789012"
    assert described(Arn="nonsense").account_id is None
    assert described(Arn=None).account_id is None


@pytest.mark.parametrize(
    "body",
    [b"{}", b'{"UserPool": null}', b'{"UserPool": []}', b'{"UserPool": {"Name": 1}}',
     b'{"UserPool": {"EstimatedNumberOfUsers": -1}}', b'{"UserPool": {"EstimatedNumberOfUsers": 9007199254740993}}'],
)  # fmt: skip
def test_invalid_pool_description_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed, match=r"^DescribeUserPool: "):
        responses.pool_description(POOL, body)


def test_long_text_is_shortened_and_stays_distinct() -> None:
    long = "x" * (responses.MAX_TEXT + 1)
    first, second = described(Name=long).name, described(Name=f"{long}y").name
    assert len(first) == len(second) == responses.MAX_TEXT
    assert first != second


@pytest.mark.parametrize(
    ("body", "header", "code"),
    [
        (b'{"__type": "TooManyRequestsException", "message": "x"}', None, "TooManyRequestsException"),
        (b'{"__type": "com.amazonaws.cognito#LimitExceededException"}', "Other", "LimitExceededException"),
        (b'{"message": "x"}', "ThrottlingException:http://internal.amazon.com/", "ThrottlingException"),
        (b"", "aws#AccessDeniedException:http://x/#y", "AccessDeniedException"),
        (b"<html>", None, ""),
        (b'{"__type": 5}', None, ""),
        (b"[" * 100_000, None, ""),
        (b"\xff", None, ""),
    ],
)
def test_error_code_is_read_from_body_or_header(body: bytes, header: str | None, code: str) -> None:
    assert responses.error_code(body, header) == code
