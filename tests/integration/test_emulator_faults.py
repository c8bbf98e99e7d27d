"""Faults of the emulator, seen by a client."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from json import JSONDecodeError
from time import monotonic

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError
from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

from exporter.aws.api import Category
from exporter.emulator import ANY_OPERATION, Chain, Emulator, Fault, Paging, Rule
from tests.integration.emulator_client import ACCOUNT_ID, cognito, post, sts
from tests.windows import most_in_any_window


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def pool_id(emulator: Emulator) -> str:
    return emulator.seed_pool("faulty", users=100)


@pytest.fixture
def client(emulator: Emulator) -> CognitoIdentityProviderClient:
    return cognito(emulator.url)


REFUSALS = [
    (Fault.THROTTLED, "TooManyRequestsException", 400),
    (Fault.SERVER_ERROR, "InternalErrorException", 500),
    (Fault.DENIED, "AccessDeniedException", 400),
    (Fault.EXPIRED_CREDENTIALS, "ExpiredTokenException", 400),
]


@pytest.mark.parametrize(("fault", "code", "status"), REFUSALS)
def test_error_response_has_the_type_of_aws(
    emulator: Emulator, pool_id: str, fault: Fault, code: str, status: int
) -> None:
    emulator.faults.rules = (Rule(fault),)
    given, content = post(emulator.url, "ListUsers", {"UserPoolId": pool_id})
    assert (given, content["__type"]) == (status, code)
    assert emulator.requests()[-1].code == code


@pytest.mark.parametrize(
    ("fault", "code", "status"),
    [
        (Fault.THROTTLED, "Throttling", 400),
        (Fault.SERVER_ERROR, "InternalFailure", 500),
        (Fault.DENIED, "AccessDenied", 403),
        (Fault.EXPIRED_CREDENTIALS, "ExpiredToken", 403),
    ],
)
def test_sts_error_response_has_the_type_of_aws(emulator: Emulator, fault: Fault, code: str, status: int) -> None:
    emulator.faults.rules = (Rule(fault, operation="GetCallerIdentity", share=1),)
    with pytest.raises(ClientError) as caught:
        sts(emulator.url, ACCOUNT_ID).get_caller_identity()
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_rule_applies_to_its_pool_and_operation_only(
    emulator: Emulator, pool_id: str, client: CognitoIdentityProviderClient
) -> None:
    other = emulator.seed_pool("healthy", users=1)
    emulator.faults.rules = (Rule(Fault.DENIED, operation="ListUsers", pool_id=pool_id),)
    with pytest.raises(ClientError, match="AccessDeniedException"):
        client.list_users(UserPoolId=pool_id)
    client.describe_user_pool(UserPoolId=pool_id)
    client.list_users(UserPoolId=other)
    emulator.faults.rules = ()
    client.list_users(UserPoolId=pool_id)


def test_share_applies_to_that_part_of_requests(emulator: Emulator, pool_id: str) -> None:
    emulator.faults.rules = (Rule(Fault.THROTTLED, share=0.3),)
    for _ in range(200):
        post(emulator.url, "AdminListDevices", {"UserPoolId": pool_id, "Username": "user-000001"})
    codes = Counter(request.code for request in emulator.requests())
    assert codes.keys() == {"OK", "TooManyRequestsException"}
    assert codes["TooManyRequestsException"] == pytest.approx(60, abs=25)


def test_malformed_body_is_not_json(emulator: Emulator, pool_id: str) -> None:
    emulator.faults.rules = (Rule(Fault.MALFORMED),)
    with pytest.raises(JSONDecodeError):  # boto3 would treat it as a response without users
        post(emulator.url, "ListUsers", {"UserPoolId": pool_id})
    assert emulator.requests()[-1].code == "MALFORMED"


def test_dropped_connection_is_closed(emulator: Emulator, pool_id: str, client: CognitoIdentityProviderClient) -> None:
    emulator.faults.rules = (Rule(Fault.DROPPED),)
    with pytest.raises(ConnectionClosedError):
        client.list_users(UserPoolId=pool_id)
    assert emulator.requests()[-1].code == "DROPPED"


def test_latency_delays_its_operation(emulator: Emulator, pool_id: str, client: CognitoIdentityProviderClient) -> None:
    emulator.faults.latency = {"ListUsers": 0.2}
    begun = monotonic()
    client.list_users(UserPoolId=pool_id)
    assert monotonic() - begun >= 0.2
    assert emulator.requests()[-1].arrived - begun < 0.2
    emulator.faults.latency = {ANY_OPERATION: 60.0, "ListUsers": 0.0}
    client.list_users(UserPoolId=pool_id)


def test_closing_does_not_wait_for_latency(pool_id: str) -> None:
    slow = Emulator()
    slow.start()
    slow.faults.latency = {ANY_OPERATION: 60.0}
    errors: list[Exception] = []

    def ask() -> None:
        try:
            post(slow.url, "ListUsers", {"UserPoolId": pool_id})
        except OSError as error:
            errors.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    begun = monotonic()
    slow.close()
    asking.join(5)
    assert not asking.is_alive()
    assert monotonic() - begun < 5


def listed(client: CognitoIdentityProviderClient, pool_id: str, *, most: int = 10) -> list[int]:
    """Return the sizes of the pages of a listing, up to a number of pages."""
    sizes: list[int] = []
    token: dict[str, str] = {}
    while len(sizes) < most:
        page = client.list_users(UserPoolId=pool_id, Limit=60, **token)
        sizes.append(len(page["Users"]))
        if "PaginationToken" not in page:
            break
        token = {"PaginationToken": page["PaginationToken"]}
    return sizes


@pytest.mark.parametrize(
    ("paging", "sizes"),
    [
        (Paging(), [60, 40]),
        (Paging(longest=30), [30, 30, 30, 10]),
        (Paging(blank_pages=True), [0, 60, 0, 40]),
        (Paging(chain=Chain.REPEATED), [60] * 10),
        (Paging(chain=Chain.ENDLESS), [60, 40, *[0] * 8]),
    ],
)
def test_paging(
    emulator: Emulator, pool_id: str, client: CognitoIdentityProviderClient, paging: Paging, sizes: list[int]
) -> None:
    emulator.faults.paging = {"ListUsers": paging}
    assert listed(client, pool_id) == sizes


def test_paging_of_devices(emulator: Emulator, pool_id: str, client: CognitoIdentityProviderClient) -> None:
    emulator.faults.paging = {ANY_OPERATION: Paging(blank_pages=True)}
    first = client.admin_list_devices(UserPoolId=pool_id, Username="user-000001")
    assert first["Devices"] == []
    second = client.admin_list_devices(
        UserPoolId=pool_id, Username="user-000001", PaginationToken=first["PaginationToken"]
    )
    devices = emulator.truth(pool_id).users["user-000001"]
    assert [device["DeviceKey"] for device in second["Devices"]] == [device.key for device in devices]


def test_quota_applies_to_all_pools_of_the_account(emulator: Emulator, pool_id: str) -> None:
    pools = (pool_id, emulator.seed_pool("second", users=1))
    elsewhere = emulator.seed_pool("elsewhere", "us-east-1", users=1)
    emulator.faults.quotas = {Category.USER_RESOURCE_READ: 20}
    user = "user-000000"
    until = monotonic() + 1.5
    while monotonic() < until:
        for pool in pools:
            post(emulator.url, "AdminListDevices", {"UserPoolId": pool, "Username": user})
    codes = Counter(request.code for request in emulator.requests())
    granted = tuple(request for request in emulator.requests() if request.code == "OK")
    assert most_in_any_window(request.arrived for request in granted) == 20
    assert codes["TooManyRequestsException"] > 0
    assert {request.pool_id for request in granted} == set(pools)
    status, _ = post(emulator.url, "AdminListDevices", {"UserPoolId": elsewhere, "Username": user}, region="us-east-1")
    assert status == 200
    status, _ = post(emulator.url, "ListUsers", {"UserPoolId": pool_id})
    assert status == 200
