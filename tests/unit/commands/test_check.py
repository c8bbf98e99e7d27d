"""Findings of the permission check of one pool."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from exporter.aws.api import Operation
from exporter.aws.permissions import AccessNeed
from exporter.commands.aws_access import retrier
from exporter.commands.check import PoolAccess, check_pool
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
    retry = retrier(FAST_RETRIES, threading.Event())
    need = AccessNeed(TargetSettings("eu-west-1", **target), POOL_ID, users, reads_quotas)
    access = PoolAccess(reader_of(api, POOL_ID), api, retry)
    return [("" if one.is_fault else "(no fault) ") + one.text for one in check_pool(need, access, quotas=quotas)]


def refusing(
    *operations: Operation, error: type[AwsError] = Denied, code: str = "AccessDeniedException"
) -> FakeCognito:
    api = cognito()
    api.fault = lambda operation, _: error(operation, code) if operation in operations else None
    return api


def test_readable_pool_has_no_findings_in_three_calls() -> None:
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
def test_missing_permission_is_reported_with_the_arn(operation: Operation, selection: UserSelection) -> None:
    expected = [f"cognito-idp:{operation.value} is not allowed on {ARN}"]
    assert findings(refusing(operation), selection) == expected


def test_every_missing_permission_is_reported() -> None:
    api = refusing(Operation.DESCRIBE_USER_POOL, Operation.LIST_USERS, Operation.ADMIN_LIST_DEVICES)
    assert [text.split()[0] for text in findings(api)] == [
        "cognito-idp:DescribeUserPool",
        "cognito-idp:ListUsers",
        "cognito-idp:AdminListDevices",
    ]


def test_unknown_account_is_a_wildcard_in_the_arn() -> None:
    (text,) = findings(refusing(Operation.DESCRIBE_USER_POOL, Operation.GET_CALLER_IDENTITY))
    assert text.endswith(f"arn:aws:cognito-idp:eu-west-1:*:userpool/{POOL_ID}")


def test_permission_that_is_not_needed_is_not_checked() -> None:
    api = cognito()
    assert findings(api, UserSelection(usernames=("alice",))) == []
    assert not api.calls[Operation.LIST_USERS]
    assert findings(refusing(Operation.LIST_USERS), UserSelection(groups=("staff",))) == []


def test_quota_permission_is_checked_once_per_account() -> None:
    api = refusing(Operation.GET_PROVISIONED_LIMIT)
    assert findings(api, reads_quotas=False) == []
    assert findings(api, reads_quotas=True, quotas=False) == []
    assert findings(api, reads_quotas=True) == ["cognito-idp:GetProvisionedLimit is not allowed on *"]


def test_missing_pool_is_reported_with_account_and_region() -> None:
    assert findings(FakeCognito()) == ["user pool does not exist in Region eu-west-1 of account 123456789012"]


def test_missing_groups_are_reported() -> None:
    assert findings(cognito(), UserSelection(groups=("staff", "board", "guests"))) == [
        "group 'board' does not exist in the user pool",
        "group 'guests' does not exist in the user pool",
    ]


def test_rejected_filter_is_reported_without_its_text() -> None:
    (text,) = findings(cognito(), UserSelection(filter="nonsense"))
    assert text == "Cognito rejects the user filter"


def test_tracking_off_is_a_remark() -> None:
    (text,) = findings(cognito(tracking=Tracking.OFF))
    assert text.startswith("(no fault) device tracking is off")


def test_device_permission_is_checked_with_an_unknown_user() -> None:
    usernames = []
    api = cognito()

    def note(operation: Operation, subject: str) -> AwsError | None:
        if operation is Operation.ADMIN_LIST_DEVICES:
            usernames.append(subject)
            return ResourceNotFound(operation, "ResourceNotFoundException")
        return None

    api.fault = note
    assert findings(api) == []
    assert usernames != ["alice"]


def test_missing_credentials_end_the_check_of_a_pool() -> None:
    api = cognito()
    api.unprepared = CredentialsError(Operation.DESCRIBE_USER_POOL, "NoCredentialsError")
    (text,) = findings(api)
    assert text.startswith("no valid AWS credentials (NoCredentialsError), expected them where boto3 looks for them")


@pytest.mark.parametrize("external_id", [None, "secret"])
@pytest.mark.parametrize("kind", [Denied, CredentialsError])
def test_refused_role_is_reported_without_its_external_id(kind: type[AwsError], external_id: str | None) -> None:
    api = cognito()
    api.unprepared = kind("DescribeUserPool (AssumeRole)", "AccessDenied")
    (text,) = findings(api, role_arn=ROLE, external_id=external_id)
    assert text.startswith(f"sts:AssumeRole on {ROLE} denied (AccessDenied), expected a policy")
    assert text.endswith(" and the configured external id") is (external_id is not None)
    assert "secret" not in text


@pytest.mark.parametrize(
    "error",
    [ConnectionFailed("x", "EndpointConnectionError"), Throttled("x", "Throttling"), InvalidRequest("x", "Invalid")],
)
@pytest.mark.parametrize("operation", [Operation.DESCRIBE_USER_POOL, Operation.LIST_USERS])
def test_other_error_is_reported_as_a_failed_check(operation: Operation, error: AwsError) -> None:
    api = cognito()
    api.fault = lambda called, _: error if called is operation else None
    assert findings(api) == [f"check failed: {error}"]


def test_retryable_error_is_retried() -> None:
    api = cognito()
    failures = [Throttled(Operation.LIST_USERS, "TooManyRequestsException")]
    api.fault = lambda operation, _: failures.pop() if operation is Operation.LIST_USERS and failures else None
    assert findings(api) == []
