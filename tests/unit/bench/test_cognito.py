from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.session import Session

from bench.cognito.arrivals import ArrivalLog
from bench.cognito.responses import SIGN_IN_EVERY, Population, UnknownOperation, username_of

NOW = 1_800_000_000.0


def asked(population: Population, operation: str, **parameters: Any) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(population.respond(operation, json.dumps(parameters).encode(), NOW))
    return answer


def strangers(shape: Any, value: Any) -> list[str]:
    """Return the fields of a response that are not in AWS's model of the operation."""
    if shape.type_name == "list":
        return [name for item in value for name in strangers(shape.member, item)]
    if shape.type_name != "structure":
        return []
    unknown = [name for name in value if name not in shape.members]
    known = [name for name in value if name in shape.members]
    return unknown + [name for field in known for name in strangers(shape.members[field], value[field])]


@pytest.mark.parametrize(
    ("operation", "parameters"),
    [
        ("AdminListDevices", {"UserPoolId": "eu-west-1_Bench0000", "Username": "someone", "Limit": 60}),
        ("ListUsers", {"UserPoolId": "eu-west-1_Bench0000", "Limit": 60}),
        ("DescribeUserPool", {"UserPoolId": "eu-west-1_Bench0000"}),
    ],
)
def test_responses_match_the_service_model(operation: str, parameters: dict[str, Any]) -> None:
    model = Session().get_service_model("cognito-idp").operation_model(operation)
    answer = asked(Population(100, 2), operation, **parameters)
    assert answer
    assert strangers(model.output_shape, answer) == []


def test_pages_list_every_user_once() -> None:
    population = Population(users=150, devices_per_user=2)
    names: list[str] = []
    page = asked(population, "ListUsers", Limit=60)
    names += [user["Username"] for user in page["Users"]]
    while "PaginationToken" in page:
        page = asked(population, "ListUsers", Limit=60, PaginationToken=page["PaginationToken"])
        names += [user["Username"] for user in page["Users"]]
    assert names == [username_of(number) for number in range(150)]


def test_devices_of_a_user_are_stable() -> None:
    assert asked(Population(9, 2), "AdminListDevices", Username="a") == asked(
        Population(9, 2), "AdminListDevices", Username="a"
    )


def test_devices_of_two_users_have_different_keys() -> None:
    population = Population(9, 3)
    keys = [
        device["DeviceKey"]
        for name in ("a", "b")
        for device in asked(population, "AdminListDevices", Username=name)["Devices"]
    ]
    assert len(set(keys)) == 6


def test_some_responses_have_a_new_sign_in_that_stays() -> None:
    population = Population(9, 2)
    last = [
        asked(population, "AdminListDevices", Username="a")["Devices"][0]["DeviceLastAuthenticatedDate"]
        for _ in range(SIGN_IN_EVERY + 1)
    ]
    assert last[:-2] == [last[0]] * (SIGN_IN_EVERY - 1)
    assert last[-2:] == [NOW, NOW]


def test_assumed_role_has_long_lived_credentials() -> None:
    answer = Population(9, 2).respond("AssumeRole", b"", NOW)
    assert b"<Expiration>2100-" in answer


def test_unknown_operation_is_rejected() -> None:
    with pytest.raises(UnknownOperation):
        Population(9, 2).respond("AdminDeleteUser", b"{}", NOW)


def test_arrival_log_counts_by_operation_since_reset() -> None:
    arrivals = ArrivalLog(0.0)
    arrivals.record_arrival("ListUsers", 1.0)
    arrivals.reset(10.0)
    for moment in (9.9, 10.0, 10.5, 11.2, 11.3, 11.4):
        arrivals.record_arrival("AdminListDevices", moment)
    arrivals.record_arrival("ListUsers", 10.1)
    statistics = arrivals.statistics(14.0, cpu=0.5)
    assert statistics.seconds == 4.0
    assert statistics.calls == {"AdminListDevices": 5, "ListUsers": 1}
    assert statistics.max_per_second == {"AdminListDevices": 4, "ListUsers": 1}


def test_arrival_log_reports_lateness() -> None:
    arrivals = ArrivalLog(0.0)
    for milliseconds in range(1, 101):
        arrivals.record_response(milliseconds / 1000)
    assert arrivals.statistics(1.0, cpu=0.0).lateness_p99 == 0.099
