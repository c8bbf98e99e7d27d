"""Bodies of answers, read by the lean client and by boto3 with `exporter.aws.model_mapping`: never differently."""

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
from exporter.aws.boto_client import ONE_ATTEMPT, BotoCognito
from exporter.aws.lean import responses as answers
from exporter.errors import ErrorAction, Malformed, UnexpectedFailure
from exporter.model import PoolDescription
from tests.aws_session import aws_session

T = TypeVar("T")

POOL = "eu-west-1_AbCdEfGhI"
ATTRIBUTES = frozenset({"device_name", "last_ip_used"})

Read = Callable[[bytes], Page[Any] | PoolDescription]


class BodyOverBoto:
    """The plain implementation, given the bodies of its answers."""

    def __init__(self) -> None:
        session = aws_session("AKIA", "eu-west-1")
        cognito = session.client("cognito-idp", config=ONE_ATTEMPT)
        cognito.meta.events.register("before-send", self._answer)
        self._api: CognitoApi = BotoCognito(lambda: cognito, lambda: session.client("sts"))
        self._body = b""

    def read(self, body: bytes, ask: Callable[[CognitoApi], T]) -> T:
        self._body = body
        return ask(self._api)

    def _answer(self, request: AWSPreparedRequest, **_: Any) -> Any:
        response = AWSResponse(request.url, 200, HTTPHeaders(), None)
        response._content = self._body  # type: ignore[attr-defined] # botocore's place for a body that was read
        return response


BOTO = BodyOverBoto()

READINGS: dict[str, tuple[Read, Read]] = {
    "pool": (
        lambda body: answers.pool_description(POOL, body),
        lambda body: BOTO.read(body, lambda api: api.describe_user_pool(POOL)),
    ),
    "devices": (
        lambda body: answers.devices_page(body, attributes=ATTRIBUTES),
        lambda body: BOTO.read(
            body, lambda api: api.admin_list_devices("p", "u", token=None, attributes=ATTRIBUTES)
        ),
    ),
    "users": (
        answers.users_page,
        lambda body: BOTO.read(body, lambda api: api.list_users("p", user_filter=None, token=None)),
    ),
    "members": (
        answers.members_page,
        lambda body: BOTO.read(body, lambda api: api.list_users_in_group("p", "g", token=None)),
    ),
}  # fmt: skip


def outcome(read: Read, body: bytes) -> Page[Any] | PoolDescription | str:
    try:
        return read(body)
    except (Malformed, UnexpectedFailure) as error:  # the second where botocore trips over a date beyond all calendars
        assert error.action is ErrorAction.RETRY  # noqa: PT017 - refusing is one of two right outcomes
        return "refused"


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
MOMENTS = (
    st.integers(-60_000_000_000, 250_000_000_000)
    | st.integers(0, 4_000_000_000_000).map(lambda ms: ms / 1000)
    | st.sampled_from([0, -0.0, 1e300, -1e300, 10**30, 1e12])
)
"""To the millisecond, which is as fine as AWS gives them."""


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """An object of which any field may be absent or null."""
    return st.fixed_dictionaries({}, optional={name: st.none() | values for name, values in fields.items()})


ATTRIBUTE_NAMES = st.sampled_from(["device_status", "device_name", "last_ip_used", "dev:device_remembered_status", ""])
DEVICE = optional(
    DeviceKey=TEXT,
    DeviceAttributes=st.lists(
        optional(Name=ATTRIBUTE_NAMES, Value=TEXT | st.sampled_from(["remembered", "valid"])), max_size=5
    ),
    DeviceCreateDate=MOMENTS,
    DeviceLastModifiedDate=MOMENTS,
    DeviceLastAuthenticatedDate=MOMENTS,
    Unheard=TEXT,
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
ANSWERS = optional(
    UserPool=DESCRIBED,
    Devices=st.lists(DEVICE, max_size=4),
    Users=st.lists(USER, max_size=4),
    PaginationToken=TEXT,
    NextToken=TEXT,
)


@pytest.mark.parametrize("which", READINGS)
@given(answer=ANSWERS)
def test_whatever_has_the_right_types_is_read_alike_by_both(which: str, answer: dict[str, Any]) -> None:
    lean, plain = READINGS[which]
    body = json.dumps(answer).encode()
    assert outcome(lean, body) == outcome(plain, body)


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
@given(answer=st.dictionaries(FIELDS, ANYTHING) | ANYTHING)
def test_whatever_comes_is_refused_or_read_as_boto3_reads_it(which: str, answer: Any) -> None:
    lean, plain = READINGS[which]
    body = json.dumps(answer).encode()
    found = outcome(lean, body)
    assert found in ("refused", outcome(plain, body))


@pytest.mark.parametrize("which", READINGS)
@given(body=st.binary(max_size=40) | st.text(max_size=40).map(lambda text: text.encode(errors="replace")))
def test_whatever_bytes_come_are_refused_or_read_as_boto3_reads_them(which: str, body: bytes) -> None:
    lean, plain = READINGS[which]
    assert outcome(lean, body) in ("refused", outcome(plain, body))


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
        b'{"Unheard": "\xff"}',
        b'{"Unheard": ' + b"[" * 100_000,
    ],
)
def test_what_is_not_as_the_protocol_has_it_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed, match=r"^AdminListDevices: "):
        answers.devices_page(body, attributes=ATTRIBUTES)


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
def test_the_code_of_an_error(body: bytes, header: str | None, code: str) -> None:
    assert answers.error_code(body, header) == code
