"""Which answers of AWS are findings, and what they say."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from exporter.aws.api import Operation
from exporter.aws.permissions import AccessNeed
from exporter.commands.check.preflight import PoolAccess, preflight
from exporter.commands.pool_access import retrier
from exporter.config.settings import TargetSettings, UserSelection
from exporter.errors import (
    AwsError,
    ConnectionFailed,
    CredentialsError,
    Denied,
    InvalidRequest,
    ResourceNotFound,
    Throttled,
)
from exporter.model import Tracking
from tests.fakes import FakeCognito, FakePool, reader_of
from tests.harness import FAST_RETRIES
from tests.unit.collect.listed_pools import POOL_ID

ARN = f"arn:aws:cognito-idp:eu-west-1:123456789012:userpool/{POOL_ID}"
ROLE = "arn:aws:iam::210987654321:role/reader"
EVERYONE = UserSelection()


def cognito(**changes: Any) -> FakeCognito:
    return FakeCognito({POOL_ID: FakePool(users={"alice": ()}, groups={"staff": ["alice"]}, **changes)})


def findings(
    api: FakeCognito, users: UserSelection = EVERYONE, *, reads_quotas: bool = False, quotas: bool = True, **target: Any
) -> list[str]:
    ask = retrier(FAST_RETRIES, threading.Event())
    use = AccessNeed(TargetSettings("eu-west-1", **target), POOL_ID, users, reads_quotas)
    way = PoolAccess(reader_of(api, POOL_ID), api, ask)
    return [("" if one.is_fault else "(no fault) ") + one.text for one in preflight(use, way, quotas=quotas)]


def refusing(
    *operations: Operation, error: type[AwsError] = Denied, code: str = "AccessDeniedException"
) -> FakeCognito:
    api = cognito()
    api.fault = lambda operation, _: error(operation, code) if operation in operations else None
    return api


def test_a_pool_that_can_be_read_has_no_findings_and_takes_three_calls() -> None:
    api = cognito()
    assert findings(api) == []
    assert api.calls == {
        Operation.DESCRIBE_USER_POOL: 1,
        Operation.LIST_USERS: 1,
        Operation.ADMIN_LIST_DEVICES: 1,
    }


@pytest.mark.parametrize(
    ("operation", "selection"),
    [
        (Operation.DESCRIBE_USER_POOL, EVERYONE),
        (Operation.LIST_USERS, EVERYONE),
        (Operation.LIST_USERS, UserSelection(filter='status = "Enabled"')),
        (Operation.LIST_USERS_IN_GROUP, UserSelection(groups=("staff",))),
        (Operation.ADMIN_LIST_DEVICES, EVERYONE),
        (Operation.ADMIN_LIST_DEVICES, UserSelection(usernames=("alice",))),
    ],
)
def test_a_missing_permission_is_named_with_the_arn(operation: Operation, selection: UserSelection) -> None:
    expected = [f"cognito-idp:{operation.value} is not allowed on {ARN}"]
    assert findings(refusing(operation), selection) == expected


def test_every_missing_permission_is_named() -> None:
    api = refusing(Operation.DESCRIBE_USER_POOL, Operation.LIST_USERS, Operation.ADMIN_LIST_DEVICES)
    assert [text.split()[0] for text in findings(api)] == [
        "cognito-idp:DescribeUserPool",
        "cognito-idp:ListUsers",
        "cognito-idp:AdminListDevices",
    ]


def test_the_account_stays_open_where_nothing_tells_it() -> None:
    (text,) = findings(refusing(Operation.DESCRIBE_USER_POOL, Operation.GET_CALLER_IDENTITY))
    assert text.endswith(f"arn:aws:cognito-idp:eu-west-1:*:userpool/{POOL_ID}")


def test_what_the_selection_does_not_need_is_not_tried() -> None:
    api = cognito()
    assert findings(api, UserSelection(usernames=("alice",))) == []
    assert not api.calls[Operation.LIST_USERS]
    assert findings(refusing(Operation.LIST_USERS), UserSelection(groups=("staff",))) == []


def test_quotas_are_tried_where_a_rate_is_a_share_of_them_and_once_per_account() -> None:
    api = refusing(Operation.GET_PROVISIONED_LIMIT)
    assert findings(api, reads_quotas=False) == []
    assert findings(api, reads_quotas=True, quotas=False) == []
    assert findings(api, reads_quotas=True) == ["cognito-idp:GetProvisionedLimit is not allowed on *"]


def test_a_pool_that_is_not_there_is_told_with_where_it_was_looked_for() -> None:
    assert findings(FakeCognito()) == ["there is no such pool in Region eu-west-1 of account 123456789012"]


def test_groups_that_are_not_there_are_told_each() -> None:
    assert findings(cognito(), UserSelection(groups=("staff", "board", "guests"))) == [
        "there is no group 'board' in the pool",
        "there is no group 'guests' in the pool",
    ]


def test_a_filter_that_cognito_refuses_is_told_and_not_repeated() -> None:
    (text,) = findings(cognito(), UserSelection(filter="nonsense"))
    assert text == "Cognito does not accept the filter of users"


def test_tracking_off_is_told_and_is_no_fault() -> None:
    (text,) = findings(cognito(tracking=Tracking.OFF))
    assert text.startswith("(no fault) device tracking is off")


def test_a_user_whom_nobody_knows_is_asked_for_and_that_he_is_not_found_is_what_is_expected() -> None:
    asked = []
    api = cognito()

    def note(operation: Operation, subject: str) -> AwsError | None:
        if operation is Operation.ADMIN_LIST_DEVICES:
            asked.append(subject)
            return ResourceNotFound(operation, "ResourceNotFoundException")
        return None

    api.fault = note
    assert findings(api) == []
    assert asked != ["alice"]


def test_credentials_that_are_absent_end_the_trial_of_a_pool() -> None:
    api = cognito()
    api.unprepared = CredentialsError(Operation.DESCRIBE_USER_POOL, "NoCredentialsError")
    (text,) = findings(api)
    assert text.startswith("no credentials that AWS accepts (NoCredentialsError): expected them where boto3 finds them")


@pytest.mark.parametrize("external_id", [None, "secret"])
@pytest.mark.parametrize("kind", [Denied, CredentialsError])
def test_a_role_that_is_refused_is_told_and_its_external_id_is_not(
    kind: type[AwsError], external_id: str | None
) -> None:
    api = cognito()
    api.unprepared = kind("DescribeUserPool (AssumeRole)", "AccessDenied")
    (text,) = findings(api, role_arn=ROLE, external_id=external_id)
    assert text.startswith(f"sts:AssumeRole is refused on {ROLE} (AccessDenied): expected a policy")
    assert text.endswith("and the external id of the configuration") is (external_id is not None)
    assert "secret" not in text


@pytest.mark.parametrize(
    "error",
    [ConnectionFailed("x", "EndpointConnectionError"), Throttled("x", "Throttling"), InvalidRequest("x", "Invalid")],
)
@pytest.mark.parametrize("operation", [Operation.DESCRIBE_USER_POOL, Operation.LIST_USERS])
def test_what_says_nothing_about_permissions_is_told_as_such(operation: Operation, error: AwsError) -> None:
    api = cognito()
    api.fault = lambda asked, _: error if asked is operation else None
    assert findings(api) == [f"could not be tried: {error}"]


def test_what_fails_for_a_moment_is_tried_again() -> None:
    api = cognito()
    failures = [Throttled(Operation.LIST_USERS, "TooManyRequestsException")]
    api.fault = lambda operation, _: failures.pop() if operation is Operation.LIST_USERS and failures else None
    assert findings(api) == []
