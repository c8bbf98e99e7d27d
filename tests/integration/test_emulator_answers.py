"""Responses of the emulator, compared with botocore's service model and the sample of AWS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from exporter.emulator import DeviceMix, Emulator
from exporter.model import Mfa, Tracking
from tests.integration.emulator_client import ACCOUNT_ID, REGION, cognito, post, post_valid

ONE_DEVICE = DeviceMix(per_user={1: 1}, remembered_share=1)


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def pool_id(emulator: Emulator) -> str:
    return emulator.seed_pool("answers", users=150, federated_share=0.1, devices=DeviceMix(unknown_share=0.3))


@pytest.mark.parametrize("extra", [{}, {"Limit": 60}, {"AttributesToGet": ["sub"]}, {"Filter": 'username ^= "user"'}])
def test_list_users_matches_the_model(emulator: Emulator, pool_id: str, extra: dict[str, Any]) -> None:
    assert post_valid(emulator.url, "ListUsers", {"UserPoolId": pool_id, **extra})["Users"]


def test_user_is_listed_once(emulator: Emulator, pool_id: str) -> None:
    pages = cognito(emulator.url).get_paginator("list_users").paginate(UserPoolId=pool_id, AttributesToGet=["sub"])
    users = [user for page in pages for user in page["Users"]]
    truth = emulator.truth(pool_id)
    assert [user["Username"] for user in users] == list(truth.users)
    federated = {user["Username"] for user in users if user["UserStatus"] == "EXTERNAL_PROVIDER"}
    assert federated == truth.federated


def test_device_is_listed_with_its_values(emulator: Emulator, pool_id: str) -> None:
    for name, devices in emulator.truth(pool_id).users.items():
        given = post_valid(emulator.url, "AdminListDevices", {"UserPoolId": pool_id, "Username": name, "Limit": 60})
        assert [device["DeviceKey"] for device in given["Devices"]] == [device.key for device in devices]
        for device, expected in zip(given["Devices"], devices, strict=True):
            attributes = {one["Name"]: one["Value"] for one in device["DeviceAttributes"]}
            assert attributes.get("dev:device_remembered_status", "unknown") == expected.remembered
            assert round(device["DeviceCreateDate"] * 1000) == expected.created_ms
            assert round(device["DeviceLastModifiedDate"] * 1000) == expected.modified_ms
            assert round(device["DeviceLastAuthenticatedDate"] * 1000) == expected.authenticated_ms


def test_device_has_the_attributes_of_the_aws_sample(emulator: Emulator) -> None:
    pool_id = emulator.seed_pool("sample", users=["diego"], devices=ONE_DEVICE)
    (device,) = post_valid(emulator.url, "AdminListDevices", {"UserPoolId": pool_id, "Username": "diego"})["Devices"]
    key = device["DeviceKey"]
    assert key.startswith(f"{REGION}_")
    attributes = {one["Name"]: one["Value"] for one in device["DeviceAttributes"]}
    assert attributes.pop("device_name").startswith("Mozilla/5.0")
    assert attributes.pop("last_ip_used").startswith("192.0.2.")
    assert attributes == {
        "device_status": "valid",
        "dev:device_arn": f"arn:aws:cognito-idp:{REGION}:{ACCOUNT_ID}:owner/diego.{pool_id}/device/{key}",
        "dev:device_owner": f"diego.{pool_id}",
        "dev:device_remembered_status": "remembered",
        "dev:device_sdk": "aws-sdk",
    }


def test_devices_are_returned_in_pages(emulator: Emulator) -> None:
    pool_id = emulator.seed_pool("hoarder", users=["hoarder"], devices=DeviceMix(per_user={130: 1}))
    keys, params = [], {"UserPoolId": pool_id, "Username": "hoarder", "Limit": 60}
    sizes = []
    while True:
        page = post_valid(emulator.url, "AdminListDevices", params)
        sizes.append(len(page["Devices"]))
        keys += [device["DeviceKey"] for device in page["Devices"]]
        if "PaginationToken" not in page:
            break
        params["PaginationToken"] = page["PaginationToken"]
    assert sizes == [60, 60, 10]
    assert keys == [device.key for device in emulator.truth(pool_id).devices]


@pytest.mark.parametrize("tracking", list(Tracking))
@pytest.mark.parametrize("mfa", list(Mfa))
def test_describe_user_pool_has_the_tracking_mode(emulator: Emulator, tracking: Tracking, mfa: Mfa) -> None:
    pool_id = emulator.seed_pool("described", users=3, tracking=tracking, mfa=mfa, mfa_bypass=False)
    pool = post_valid(emulator.url, "DescribeUserPool", {"UserPoolId": pool_id})["UserPool"]
    assert pool["Id"] == pool_id
    assert pool["Name"] == "described"
    assert pool["Arn"] == f"arn:aws:cognito-idp:{REGION}:{ACCOUNT_ID}:userpool/{pool_id}"
    assert pool["EstimatedNumberOfUsers"] == 3
    assert pool["MfaConfiguration"] == mfa.upper()
    expected = {
        Tracking.OFF: None,
        Tracking.OPT_IN: {"ChallengeRequiredOnNewDevice": False, "DeviceOnlyRememberedOnUserPrompt": True},
        Tracking.ALWAYS: {"ChallengeRequiredOnNewDevice": False, "DeviceOnlyRememberedOnUserPrompt": False},
    }
    assert pool.get("DeviceConfiguration") == expected[tracking]


ERRORS: list[tuple[str, dict[str, Any], str]] = [
    ("AdminListDevices", {"UserPoolId": "eu-west-1_nowhere"}, "ResourceNotFoundException"),
    ("DescribeUserPool", {"UserPoolId": "eu-west-1_nowhere"}, "ResourceNotFoundException"),
    ("ListUsers", {"UserPoolId": "eu-west-1_nowhere"}, "ResourceNotFoundException"),
    ("ListUsersInGroup", {"GroupName": "nobody"}, "ResourceNotFoundException"),
    ("AdminListDevices", {"Username": "nobody"}, "UserNotFoundException"),
    ("AdminListDevices", {"Limit": 61}, "InvalidParameterException"),
    ("AdminListDevices", {"Limit": -1}, "InvalidParameterException"),
    ("AdminListDevices", {"Username": None}, "InvalidParameterException"),
    ("AdminListDevices", {"PaginationToken": "invented"}, "InvalidParameterException"),
    ("ListUsers", {"Limit": 61}, "InvalidParameterException"),
    ("ListUsers", {"PaginationToken": "invented"}, "InvalidParameterException"),
    ("ListUsers", {"Filter": "nonsense"}, "InvalidParameterException"),
    ("ListUsers", {"AttributesToGet": ["phone_number"]}, "InvalidParameterException"),
    ("AdminGetDevice", {"DeviceKey": "eu-west-1_0"}, "ResourceNotFoundException"),
    ("AdminForgetDevice", {"DeviceKey": "eu-west-1_0"}, "ResourceNotFoundException"),
    ("AdminUpdateDeviceStatus", {"DeviceKey": "eu-west-1_0"}, "ResourceNotFoundException"),
    ("NoSuchOperation", {}, "UnknownOperationException"),
]


@pytest.mark.parametrize(("operation", "params", "code"), ERRORS)
def test_errors_are_those_of_aws(
    emulator: Emulator, pool_id: str, operation: str, params: dict[str, Any], code: str
) -> None:
    name = next(iter(emulator.truth(pool_id).users))
    status, content = post(emulator.url, operation, {"UserPoolId": pool_id, "Username": name, **params})
    assert (status, content["__type"]) == (400, code)
    assert emulator.requests()[-1].code == code


def test_devices_are_rejected_without_tracking(emulator: Emulator) -> None:
    pool_id = emulator.seed_pool("untracked", users=["ada"], tracking=Tracking.OFF)
    client = cognito(emulator.url)
    with pytest.raises(client.exceptions.InvalidUserPoolConfigurationException):
        client.admin_list_devices(UserPoolId=pool_id, Username="ada")


def test_pool_exists_only_in_its_account_and_region(emulator: Emulator, pool_id: str) -> None:
    for client in (cognito(emulator.url, region="us-east-1"), cognito(emulator.url, access_key="210987654321")):
        with pytest.raises(client.exceptions.ResourceNotFoundException):
            client.describe_user_pool(UserPoolId=pool_id)


def test_token_is_rejected_with_other_parameters(emulator: Emulator, pool_id: str) -> None:
    client = cognito(emulator.url)
    token = client.list_users(UserPoolId=pool_id, Limit=60)["PaginationToken"]
    with pytest.raises(client.exceptions.InvalidParameterException):
        client.list_users(UserPoolId=pool_id, Limit=59, PaginationToken=token)


def test_names_in_any_script_are_returned_unchanged(emulator: Emulator) -> None:
    names = ["q\"uo'te", "back\\slash", "two\nlines", "tab\there", "Ἑλλάς", "漢字", "עברית", "🙂", "e\u0301"]
    pool_id = emulator.seed_pool("scripts", users=names, devices=ONE_DEVICE)
    client = cognito(emulator.url)
    assert [user["Username"] for user in client.list_users(UserPoolId=pool_id)["Users"]] == names
    for name in names:
        (device,) = client.admin_list_devices(UserPoolId=pool_id, Username=name)["Devices"]
        assert device["DeviceKey"] == emulator.truth(pool_id).users[name][0].key


@pytest.mark.parametrize(
    "field",
    ["DeviceAttributes", "DeviceCreateDate", "DeviceLastModifiedDate", "DeviceLastAuthenticatedDate", "DeviceKey"],
)
def test_any_device_field_can_be_absent(emulator: Emulator, field: str) -> None:
    pool_id = emulator.seed_pool("omitting", users=["ada"], devices=ONE_DEVICE)
    emulator.faults.omitted = frozenset({field})
    try:
        (device,) = post_valid(emulator.url, "AdminListDevices", {"UserPoolId": pool_id, "Username": "ada"})["Devices"]
    finally:
        emulator.faults.omitted = frozenset()
    assert field not in device
    assert len(device) == 4


def test_attributes_and_lists_can_be_absent(emulator: Emulator, pool_id: str) -> None:
    emulator.faults.omitted = frozenset({"Devices", "sub", "EstimatedNumberOfUsers"})
    try:
        user = post_valid(emulator.url, "ListUsers", {"UserPoolId": pool_id, "Limit": 1})["Users"][0]
        name = user["Username"]
        assert [one["Name"] for one in user["Attributes"]] == ["email"]
        assert post_valid(emulator.url, "AdminListDevices", {"UserPoolId": pool_id, "Username": name}) == {}
        description = post_valid(emulator.url, "DescribeUserPool", {"UserPoolId": pool_id})["UserPool"]
        assert "EstimatedNumberOfUsers" not in description
        assert "Arn" in description
    finally:
        emulator.faults.omitted = frozenset()
