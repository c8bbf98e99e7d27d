from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.aws import model_mapping as parse
from exporter.aws.api import Page
from exporter.errors import Malformed
from exporter.model import Device, ListedUser, Mfa, RememberedStatus, Tracking

POOL = "eu-west-1_AbCdEfGhI"
ARN = f"arn:aws:cognito-idp:eu-west-1:123456789012:userpool/{POOL}"


def devices(raw: dict[str, Any], *attributes: str) -> Page[Device]:
    return parse.devices_page(raw, attributes=frozenset(attributes))


def attribute(name: str, value: str) -> dict[str, str]:
    return {"Name": name, "Value": value}


def test_a_device_with_everything() -> None:
    raw = {
        "DeviceKey": "eu-west-1_1234",
        "DeviceAttributes": [
            attribute("device_status", "valid"),
            attribute("device_name", "Firefox"),
            attribute("dev:device_remembered_status", "remembered"),
            attribute("last_ip_used", "192.0.2.1"),
        ],
        "DeviceCreateDate": 1_700_000_000.5,
        "DeviceLastModifiedDate": datetime(2024, 1, 1, tzinfo=UTC),
        "DeviceLastAuthenticatedDate": 1_700_000_001,
    }
    assert devices({"Devices": [raw], "PaginationToken": "next"}, "device_name").items == (
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


def test_personal_attributes_are_dropped_unless_asked_for() -> None:
    raw = {"DeviceAttributes": [attribute("last_ip_used", "192.0.2.1")]}
    assert "192.0.2.1" not in repr(devices({"Devices": [raw]}).items[0].attributes)


@pytest.mark.parametrize("answer", [{}, {"Devices": None}, {"Devices": [], "PaginationToken": ""}])
def test_no_devices_is_an_empty_last_page(answer: dict[str, Any]) -> None:
    assert devices(answer) == Page((), None)


def test_a_device_with_nothing_is_still_a_device() -> None:
    assert devices({"Devices": [{}]}).items == (Device(key=""),)


@pytest.mark.parametrize("value", ["lost", "", "REMEMBERED"])
def test_a_remembered_status_that_nobody_documented_is_unknown(value: str) -> None:
    raw = {"DeviceAttributes": [attribute("dev:device_remembered_status", value)]}
    assert devices({"Devices": [raw]}).items[0].remembered is RememberedStatus.UNKNOWN


@pytest.mark.parametrize(
    "raw",
    [
        {"Devices": {}},
        {"Devices": ["x"]},
        {"Devices": [{"DeviceKey": 7}]},
        {"Devices": [{"DeviceAttributes": ["x"]}]},
        {"Devices": [{"DeviceAttributes": [{"Name": "device_status", "Value": 1}]}]},
        {"Devices": [{"DeviceCreateDate": "yesterday"}]},
        {"Devices": [{"DeviceCreateDate": True}]},
        {"Devices": [{"DeviceCreateDate": float("nan")}]},
        {"Devices": [{"DeviceCreateDate": 1e300}]},
        {"Devices": [], "PaginationToken": 5},
    ],
)
def test_a_field_of_a_wrong_type_spoils_the_answer(raw: dict[str, Any]) -> None:
    with pytest.raises(Malformed, match=r"^AdminListDevices: "):
        devices(raw)


@pytest.mark.parametrize("year", [1, 9999])
def test_the_first_and_the_last_year_are_points_in_time(year: int) -> None:
    moment = datetime(year, 1, 1, tzinfo=UTC)
    found = devices({"Devices": [{"DeviceCreateDate": moment}]}).items[0].created_ms
    assert found == round(moment.timestamp()) * 1000


def test_users_by_name_and_kind() -> None:
    raw = {"Users": [{"Username": "a"}, {"Username": "b", "UserStatus": "EXTERNAL_PROVIDER"}], "PaginationToken": "t"}
    page = parse.users_page("ListUsers", raw, next_field="PaginationToken")
    assert page == Page((ListedUser("a"), ListedUser("b", federated=True)), "t")


@pytest.mark.parametrize("raw", [{"Users": [{}]}, {"Users": [{"Username": ""}]}, {"Users": [{"Username": None}]}])
def test_a_user_without_a_name_spoils_the_listing(raw: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        parse.users_page("ListUsers", raw, next_field="PaginationToken")


def described(**pool: Any) -> Any:
    return parse.pool_description(POOL, {"UserPool": {"Arn": ARN, "Name": "shop", **pool}})


@pytest.mark.parametrize(
    ("configuration", "tracking"),
    [
        (None, Tracking.OFF),
        ({}, Tracking.ALWAYS),
        ({"DeviceOnlyRememberedOnUserPrompt": False}, Tracking.ALWAYS),
        ({"DeviceOnlyRememberedOnUserPrompt": True}, Tracking.OPT_IN),
    ],
)
def test_tracking(configuration: dict[str, bool] | None, tracking: Tracking) -> None:
    assert described(DeviceConfiguration=configuration).tracking is tracking


@pytest.mark.parametrize(
    ("mfa", "challenge", "bypass"),
    [("OFF", True, False), ("ON", True, True), ("OPTIONAL", True, True), ("ON", False, False)],
)
def test_a_remembered_device_bypasses_mfa_where_there_is_mfa_and_a_device_challenge(
    mfa: str, challenge: bool, bypass: bool
) -> None:
    found = described(MfaConfiguration=mfa, DeviceConfiguration={"ChallengeRequiredOnNewDevice": challenge})
    assert (found.mfa, found.mfa_bypass) == (Mfa(mfa.lower()), bypass)


def test_the_account_comes_from_the_arn() -> None:
    assert described().account_id == "123456789012"
    assert described(Arn="nonsense").account_id is None
    assert described(Arn=None).account_id is None


@pytest.mark.parametrize("answer", [{}, {"UserPool": []}, {"UserPool": {"Name": 1}}])
def test_a_pool_that_is_no_pool_spoils_the_answer(answer: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        parse.pool_description(POOL, answer)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from([
        "Devices", "DeviceKey", "DeviceAttributes", "Name", "Value", "DeviceCreateDate", "PaginationToken",
        "Users", "Username", "UserStatus", "UserPool", "Arn", "DeviceConfiguration", "MfaConfiguration",
    ]), inner, max_size=5),
    max_leaves=12,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["Devices", "Users", "UserPool", "PaginationToken"]), JSON))
def test_whatever_comes_is_parsed_or_refused(answer: dict[str, Any]) -> None:
    for read in (
        lambda: devices(answer, "device_name"),
        lambda: parse.users_page("ListUsers", answer, next_field="PaginationToken"),
        lambda: parse.pool_description(POOL, answer),
    ):
        try:
            read()
        except Malformed as error:
            assert "\n" not in str(error)  # noqa: PT017 - refusing is one of two right outcomes
