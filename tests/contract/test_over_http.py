"""Errors that every implementation of `CognitoApi` over HTTP raises."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from exporter.aws.api import Category, CognitoApi, Operation
from exporter.emulator import Emulator, Fault, Rule
from exporter.errors import (
    AwsError,
    CallTimeout,
    ConnectionFailed,
    CredentialsError,
    Denied,
    ErrorAction,
    InvalidRequest,
    Malformed,
    ServerError,
    Throttled,
    UnexpectedError,
)
from tests.contract.canned import answering
from tests.contract.worlds import ApiOver

POOL = "eu-west-1_AbCdEfGhI"
NAME = "anna.secret@example.com"
ARN = f"arn:aws:cognito-idp:eu-west-1:123456789012:userpool/{POOL}"

Call = Callable[[CognitoApi, str], object]

CALLS: dict[Operation, Call] = {
    Operation.DESCRIBE_USER_POOL: lambda api, pool: api.describe_user_pool(pool),
    Operation.LIST_USERS: lambda api, pool: api.list_users(pool, user_filter=None, token=None),
    Operation.LIST_USERS_IN_GROUP: lambda api, pool: api.list_users_in_group(pool, "staff", token=None),
    Operation.ADMIN_LIST_DEVICES: lambda api, pool: api.admin_list_devices(
        pool, NAME, token=None, attributes=frozenset()
    ),
    Operation.GET_PROVISIONED_LIMIT: lambda api, _: api.provisioned_quota(Category.USER_LIST),
    Operation.GET_CALLER_IDENTITY: lambda api, _: api.account_id(),
}
DEVICES = CALLS[Operation.ADMIN_LIST_DEVICES]

FAULTS: dict[Fault, type[AwsError]] = {
    Fault.THROTTLED: Throttled,
    Fault.SERVER_ERROR: ServerError,
    Fault.DENIED: Denied,
    Fault.EXPIRED_CREDENTIALS: CredentialsError,
    Fault.MALFORMED: Malformed,
    Fault.DROPPED: ConnectionFailed,
}


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def pool_id(emulator: Emulator) -> str:
    pool_id = emulator.seed_pool("faulty", users=[NAME])
    emulator.call("CreateGroup", {"UserPoolId": pool_id, "GroupName": "staff"})
    return pool_id


def raises_exactly(kind: type[AwsError], call: Callable[[], object]) -> AwsError:
    """Return the error, which must be of exactly this class: a subclass can have another action or label."""
    with pytest.raises(kind) as caught:
        call()
    assert type(caught.value) is kind
    return caught.value


@pytest.mark.parametrize("fault", FAULTS)
def test_call_makes_one_attempt_for_each_fault(
    api_over: ApiOver, emulator: Emulator, pool_id: str, fault: Fault
) -> None:
    api = api_over(emulator.url)
    for operation, call in CALLS.items():
        emulator.faults.rules = (Rule(fault),)
        emulator.clear_requests()
        error = raises_exactly(FAULTS[fault], partial(call, api, pool_id))
        assert [request.operation for request in emulator.requests()] == [operation]
        assert error.attempted
        assert error.operation == operation

        emulator.faults.rules = ()
        call(api, pool_id)


def test_missing_response_is_a_timeout_after_one_attempt(api_over: ApiOver) -> None:
    with answering(b"{}", stalled=True) as server:
        api = api_over(server.url, read_timeout=0.1)
        for number, call in enumerate(CALLS.values(), 1):
            error = raises_exactly(CallTimeout, partial(call, api, POOL))
            assert len(server.requests) == number
            assert error.attempted


def test_refused_connection_is_a_connection_failure(api_over: ApiOver) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and never listens
        api = api_over(f"http://127.0.0.1:{taken.getsockname()[1]}")
        for call in CALLS.values():
            raises_exactly(ConnectionFailed, partial(call, api, POOL))


BROKEN = {
    "truncated": b'{"Devices": [{"DeviceKey": "eu-we',
    "empty": b"",
    "a list": b"[]",
    "a string": b'"Devices"',
    "null": b"null",
    "invalid UTF-8": b'{"Devices": [{"DeviceKey": "\xff\xfe"}]}',
    "page of a proxy": b"<html><body>Please log in</body></html>",
    "nested too deep": b"[" * 100_000,
}


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_body_other_than_a_json_object_is_malformed(api_over: ApiOver, body: bytes) -> None:
    with answering(body) as server:
        api = api_over(server.url)
        calls = [call for operation, call in CALLS.items() if operation != Operation.GET_CALLER_IDENTITY]
        for number, call in enumerate(calls, 1):
            raises_exactly(Malformed, partial(call, api, POOL))
            assert len(server.requests) == number


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"<GetCallerIdentityResponse>",
        b"<GetCallerIdentityResponse/>",
        b"<A><GetCallerIdentityResult><Account>me</Account></GetCallerIdentityResult></A>",
    ],
)
def test_sts_response_without_an_account_is_malformed(api_over: ApiOver, body: bytes) -> None:
    with answering(body) as server:
        raises_exactly(Malformed, lambda: api_over(server.url).account_id())


@pytest.mark.parametrize(
    ("operation", "content"),
    [
        (Operation.ADMIN_LIST_DEVICES, {"Devices": {"DeviceKey": "eu-west-1_1"}}),
        (Operation.ADMIN_LIST_DEVICES, {"Devices": [1]}),
        (Operation.ADMIN_LIST_DEVICES, {"Devices": "many"}),
        (Operation.ADMIN_LIST_DEVICES, {"Devices": [{"DeviceKey": 7}]}),
        (Operation.ADMIN_LIST_DEVICES, {"Devices": [{"DeviceCreateDate": "yesterday"}]}),
        (Operation.ADMIN_LIST_DEVICES, {"Devices": [{"DeviceCreateDate": []}]}),
        (Operation.ADMIN_LIST_DEVICES, {"Devices": [{"DeviceAttributes": {"Name": "device_status"}}]}),
        (Operation.ADMIN_LIST_DEVICES, {"Devices": [{"DeviceAttributes": [{"Name": "device_status", "Value": 1}]}]}),
        (Operation.ADMIN_LIST_DEVICES, {"Devices": [], "PaginationToken": 5}),
        (Operation.LIST_USERS, {"Users": "all"}),
        (Operation.LIST_USERS, {"Users": [{}]}),
        (Operation.LIST_USERS, {"Users": [{"Username": 5}]}),
        (Operation.LIST_USERS_IN_GROUP, {"Users": [{"Username": "ann", "UserStatus": {}}]}),
        (Operation.GET_PROVISIONED_LIMIT, {}),
        (Operation.GET_PROVISIONED_LIMIT, {"Limit": {"ProvisionedLimitValue": 0}}),
        (Operation.GET_PROVISIONED_LIMIT, {"Limit": {"ProvisionedLimitValue": "many"}}),
        (Operation.DESCRIBE_USER_POOL, {}),
        (Operation.DESCRIBE_USER_POOL, {"UserPool": []}),
        (Operation.DESCRIBE_USER_POOL, {"UserPool": {"DeviceConfiguration": "on"}}),
        (Operation.DESCRIBE_USER_POOL, {"UserPool": {"EstimatedNumberOfUsers": "many"}}),
    ],
)
def test_field_of_a_wrong_type_is_malformed(api_over: ApiOver, operation: Operation, content: object) -> None:
    with answering(json.dumps(content).encode()) as server:
        raises_exactly(Malformed, lambda: CALLS[operation](api_over(server.url), POOL))


def test_timestamp_out_of_range_is_retryable(api_over: ApiOver) -> None:
    with answering(b'{"Devices": [{"DeviceCreateDate": 1e300}]}') as server:
        # botocore may fail on it first.
        with pytest.raises((Malformed, UnexpectedError)) as caught:
            DEVICES(api_over(server.url), POOL)
        assert caught.value.action is ErrorAction.RETRY


def test_broken_connection_during_response_is_an_error(api_over: ApiOver) -> None:
    with answering(b'{"Devices": [], "Pag', length=1000) as server:
        with pytest.raises((Malformed, ConnectionFailed)):
            DEVICES(api_over(server.url), POOL)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (503, b"<html>Service Unavailable</html>", ServerError),
        (500, b"", ServerError),
        (429, b"", Throttled),
        (403, b"<html>no</html>", UnexpectedError),
        (400, b'{"__type": "com.amazonaws.cognito#TooManyRequestsException"}', Throttled),
        (400, b'{"__type": "SomethingNewException", "message": "x"}', UnexpectedError),
    ],
)
def test_unusual_error_response_maps_to_error(
    api_over: ApiOver, status: int, body: bytes, kind: type[AwsError]
) -> None:
    with answering(body, status) as server:
        raises_exactly(kind, lambda: DEVICES(api_over(server.url), POOL))
        assert len(server.requests) == 1


@pytest.mark.parametrize("code", ["InvalidParameterException", "AccessDeniedException", f"{NAME} {ARN}"])
def test_error_text_has_no_user_name_and_no_arn(api_over: ApiOver, code: str) -> None:
    content = {"__type": code, "message": f"{NAME} is not authorized on {ARN}"}
    with answering(json.dumps(content).encode(), 400) as server:
        kinds = {"InvalidParameterException": InvalidRequest, "AccessDeniedException": Denied}
        error = raises_exactly(kinds.get(code, UnexpectedError), lambda: DEVICES(api_over(server.url), POOL))
    for text in (str(error), repr(error), error.code):
        assert NAME not in text
        assert "arn:" not in text
