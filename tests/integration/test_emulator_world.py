"""Consistency of the emulator: moto's operations and its own see the same data."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

from exporter.emulator import SEED_PASSWORD, DeviceMix, Emulator
from tests.integration.emulator_client import ACCOUNT_ID, cognito, post_valid, sts

OTHER_ACCOUNT = "210987654321"


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def client(emulator: Emulator) -> CognitoIdentityProviderClient:
    return cognito(emulator.url)


def listed(client: CognitoIdentityProviderClient, pool_id: str, expression: str = "") -> list[str]:
    users = client.list_users(UserPoolId=pool_id, Limit=60, Filter=expression)["Users"]
    return [user["Username"] for user in users]


def test_users_are_added_and_removed(emulator: Emulator, client: CognitoIdentityProviderClient) -> None:
    pool_id = emulator.seed_pool("coming", users=["ada", "bob"], devices=DeviceMix(per_user={2: 1}))
    client.admin_create_user(UserPoolId=pool_id, Username="cleo", MessageAction="SUPPRESS")
    client_id = client.create_user_pool_client(UserPoolId=pool_id, ClientName="app")["UserPoolClient"]["ClientId"]
    client.sign_up(ClientId=client_id, Username="dora", Password=SEED_PASSWORD)
    client.admin_delete_user(UserPoolId=pool_id, Username="ada")
    assert listed(client, pool_id) == list(emulator.truth(pool_id).users) == ["bob", "cleo", "dora"]
    assert client.describe_user_pool(UserPoolId=pool_id)["UserPool"]["EstimatedNumberOfUsers"] == 3


def test_deleted_user_loses_its_devices(emulator: Emulator, client: CognitoIdentityProviderClient) -> None:
    pool_id = emulator.seed_pool("going", users=["ada"], devices=DeviceMix(per_user={2: 1}))
    client.admin_delete_user(UserPoolId=pool_id, Username="ada")
    with pytest.raises(client.exceptions.UserNotFoundException):
        client.admin_list_devices(UserPoolId=pool_id, Username="ada")
    client.admin_create_user(UserPoolId=pool_id, Username="ada", MessageAction="SUPPRESS")
    assert client.admin_list_devices(UserPoolId=pool_id, Username="ada")["Devices"] == []


def test_disabled_user_is_found_by_status(emulator: Emulator, client: CognitoIdentityProviderClient) -> None:
    pool_id = emulator.seed_pool("disabled", users=["ada", "bob"])
    client.admin_disable_user(UserPoolId=pool_id, Username="ada")
    assert listed(client, pool_id, 'status = "Enabled"') == ["bob"]
    assert listed(client, pool_id, 'status = "Disabled"') == ["ada"]


def test_user_deleted_between_pages_shifts_no_other(emulator: Emulator, client: CognitoIdentityProviderClient) -> None:
    pool_id = emulator.seed_pool("shifting", users=["a", "b", "c", "d", "e"])
    first = client.list_users(UserPoolId=pool_id, Limit=2)
    for name in ("a", "d"):
        client.admin_delete_user(UserPoolId=pool_id, Username=name)
    second = client.list_users(UserPoolId=pool_id, Limit=2, PaginationToken=first["PaginationToken"])
    third = client.list_users(UserPoolId=pool_id, Limit=2, PaginationToken=second["PaginationToken"])
    assert [[user["Username"] for user in page["Users"]] for page in (first, second, third)] == [
        ["a", "b"],
        ["c"],
        ["e"],
    ]


def test_groups_have_members(emulator: Emulator, client: CognitoIdentityProviderClient) -> None:
    pool_id = emulator.seed_pool("grouped", users=150)
    client.create_group(UserPoolId=pool_id, GroupName="staff")
    names = [f"user-{number:06d}" for number in range(0, 150, 2)]
    for name in names:
        client.admin_add_user_to_group(UserPoolId=pool_id, GroupName="staff", Username=name)
    params = {"UserPoolId": pool_id, "GroupName": "staff", "Limit": 60}
    first = post_valid(emulator.url, "ListUsersInGroup", params)
    second = post_valid(emulator.url, "ListUsersInGroup", {**params, "NextToken": first["NextToken"]})
    assert [user["Username"] for user in first["Users"] + second["Users"]] == names
    assert "NextToken" not in second
    client.admin_remove_user_from_group(UserPoolId=pool_id, GroupName="staff", Username=names[0])
    assert client.list_users_in_group(UserPoolId=pool_id, GroupName="staff")["Users"][0]["Username"] == names[1]


@pytest.mark.parametrize("account_id", [ACCOUNT_ID, OTHER_ACCOUNT])
def test_access_key_of_twelve_digits_is_the_account(emulator: Emulator, account_id: str) -> None:
    assert sts(emulator.url, account_id).get_caller_identity()["Account"] == account_id


def test_assumed_role_selects_its_account(emulator: Emulator) -> None:
    pool_id = emulator.seed_pool("elsewhere", users=1, account_id=OTHER_ACCOUNT)
    role = sts(emulator.url, ACCOUNT_ID).assume_role(
        RoleArn=f"arn:aws:iam::{OTHER_ACCOUNT}:role/reader", RoleSessionName="test", ExternalId="agreed"
    )
    key = role["Credentials"]["AccessKeyId"]
    identity = sts(emulator.url, key, role["Credentials"]["SessionToken"]).get_caller_identity()
    assert identity["Account"] == OTHER_ACCOUNT
    assert identity["Arn"] == f"arn:aws:sts::{OTHER_ACCOUNT}:assumed-role/reader/test"
    pool = cognito(emulator.url, access_key=key).describe_user_pool(UserPoolId=pool_id)["UserPool"]
    assert pool["Arn"].split(":")[4] == OTHER_ACCOUNT


def test_pools_are_listed(emulator: Emulator, client: CognitoIdentityProviderClient) -> None:
    pool_id = emulator.seed_pool("listed", users=1)
    assert pool_id in {pool["Id"] for pool in client.list_user_pools(MaxResults=60)["UserPools"]}
