"""Requests and answers held against botocore's service model, through its Stubber."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime
from functools import cache
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.exceptions import ParamValidationError
from botocore.model import ListShape, Shape, StructureShape
from botocore.stub import Stubber

from exporter.aws.api import Category, CognitoApi, Page
from exporter.aws.boto_client import ONE_ATTEMPT, BotoCognito
from exporter.errors import InvalidRequest, Malformed
from exporter.model import Device, ListedUser, Mfa, PoolDescription, RememberedStatus, Tracking
from tests.contract.worlds import REGION
from tests.fakes import ACCOUNT

POOL = f"{REGION}_AbCdEfGhI"
ARN = f"arn:aws:cognito-idp:{REGION}:{ACCOUNT}"
MARY = "mary_major"
KEY = f"{REGION}_a1b2c3d4-5678-90ab-cdef-EXAMPLE22222"
MOMENT = datetime(2024, 6, 11, 13, 30, 33, tzinfo=UTC)
MOMENT_MS = 1_718_112_633_000

# After the sample answers in AWS's reference of each command.
DEVICES = {
    "Devices": [
        {
            "DeviceKey": KEY,
            "DeviceAttributes": [
                {"Name": "device_status", "Value": "valid"},
                {"Name": "device_name", "Value": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Firefox/127.0"},
                {"Name": "dev:device_arn", "Value": f"{ARN}:owner/{MARY}.{POOL}/device/{KEY}"},
                {"Name": "dev:device_owner", "Value": f"{MARY}.{POOL}"},
                {"Name": "last_ip_used", "Value": "192.0.2.1"},
                {"Name": "dev:device_remembered_status", "Value": "remembered"},
                {"Name": "dev:device_sdk", "Value": "aws-sdk"},
            ],
            "DeviceCreateDate": MOMENT,
            "DeviceLastModifiedDate": MOMENT,
            "DeviceLastAuthenticatedDate": MOMENT,
        }
    ],
    "PaginationToken": "next",
}  # fmt: skip
USER = {
    "Username": MARY,
    "Attributes": [{"Name": "sub", "Value": "eaad0219-2117-439f-8d46-4db20e59268f"}],
    "UserCreateDate": MOMENT,
    "UserLastModifiedDate": MOMENT,
    "Enabled": True,
    "UserStatus": "CONFIRMED",
    "MFAOptions": [{"DeliveryMedium": "SMS", "AttributeName": "phone_number"}],
}
USERS = {"Users": [USER], "PaginationToken": "next"}
MEMBERS = {"Users": [USER], "NextToken": "next"}
POOL_DESCRIBED = {
    "UserPool": {
        "Id": POOL,
        "Name": "shop",
        "Arn": f"{ARN}:userpool/{POOL}",
        "MfaConfiguration": "OPTIONAL",
        "EstimatedNumberOfUsers": 42,
        "DeviceConfiguration": {"ChallengeRequiredOnNewDevice": True, "DeviceOnlyRememberedOnUserPrompt": False},
        "CreationDate": MOMENT,
        "LastModifiedDate": MOMENT,
    }
}


CATEGORY = {"LimitClass": "API_CATEGORY", "Attributes": {"Category": "UserList"}}
LIMIT = {"Limit": {"LimitDefinition": CATEGORY, "ProvisionedLimitValue": 30, "FreeLimitValue": 30}}


class Stubbed:
    """The implementation over a client whose answers are given, and whose requests are validated."""

    def __init__(self) -> None:
        session = boto3.Session(aws_access_key_id=ACCOUNT, aws_secret_access_key="secret", region_name=REGION)
        # Off in production, where validating every request only costs time.
        config = ONE_ATTEMPT.merge(botocore.config.Config(parameter_validation=True))
        cognito, sts = session.client("cognito-idp", config=config), session.client("sts", config=config)
        self.cognito, self.sts = Stubber(cognito), Stubber(sts)
        self.api: CognitoApi = BotoCognito(lambda: cognito, lambda: sts)


@pytest.fixture(scope="module")
def shared() -> Stubbed:
    return Stubbed()


@pytest.fixture
def stubbed(shared: Stubbed) -> Iterator[Stubbed]:
    with shared.cognito, shared.sts:
        yield shared
        shared.cognito.assert_no_pending_responses()


Ask = Callable[[CognitoApi], Any]

QUOTA: Ask = lambda api: api.provisioned_quota(Category.USER_LIST)  # noqa: E731 - one row of a table
DESCRIBE: Ask = lambda api: api.describe_user_pool(POOL)  # noqa: E731 - as above
LIST: Ask = lambda api: api.list_users(POOL, user_filter=None, token=None)  # noqa: E731 - as above
LIST_MORE: Ask = lambda api: api.list_users(POOL, user_filter='status = "Enabled"', token="t")  # noqa: E731 - as above
GROUP: Ask = lambda api: api.list_users_in_group(POOL, "staff", token=None)  # noqa: E731 - as above
GROUP_MORE: Ask = lambda api: api.list_users_in_group(POOL, "staff", token="t")  # noqa: E731 - as above
OWNED: Ask = lambda api: api.admin_list_devices(POOL, MARY, token=None, attributes=frozenset())  # noqa: E731 - as above
OWNED_MORE: Ask = lambda api: api.admin_list_devices(POOL, MARY, token="t", attributes=frozenset())  # noqa: E731 - as above

REQUESTS = [
    (QUOTA, "get_provisioned_limit", {"LimitDefinition": CATEGORY}, LIMIT),
    (DESCRIBE, "describe_user_pool", {"UserPoolId": POOL}, POOL_DESCRIBED),
    (LIST, "list_users", {"UserPoolId": POOL, "Limit": 60, "AttributesToGet": ["sub"]}, USERS),
    (
        LIST_MORE,
        "list_users",
        {
            "UserPoolId": POOL,
            "Limit": 60,
            "AttributesToGet": ["sub"],
            "Filter": 'status = "Enabled"',
            "PaginationToken": "t",
        },
        USERS,
    ),
    (GROUP, "list_users_in_group", {"UserPoolId": POOL, "GroupName": "staff", "Limit": 60}, MEMBERS),
    (
        GROUP_MORE,
        "list_users_in_group",
        {"UserPoolId": POOL, "GroupName": "staff", "Limit": 60, "NextToken": "t"},
        MEMBERS,
    ),
    (OWNED, "admin_list_devices", {"UserPoolId": POOL, "Username": MARY, "Limit": 60}, DEVICES),
    (
        OWNED_MORE,
        "admin_list_devices",
        {"UserPoolId": POOL, "Username": MARY, "Limit": 60, "PaginationToken": "t"},
        DEVICES,
    ),
]


@pytest.mark.parametrize(("ask", "method", "wanted", "answer"), REQUESTS)
def test_a_request_asks_for_what_it_should_and_is_of_the_modelled_shape(
    stubbed: Stubbed, ask: Ask, method: str, wanted: dict[str, Any], answer: dict[str, Any]
) -> None:
    stubbed.cognito.add_response(method, answer, wanted)
    ask(stubbed.api)


def test_the_model_really_is_asked(shared: Stubbed) -> None:
    with pytest.raises(InvalidRequest) as caught:
        shared.api.describe_user_pool(5)  # type: ignore[arg-type] # wrong on purpose
    assert isinstance(caught.value.__cause__, ParamValidationError)


def test_the_sample_of_aws_is_understood(stubbed: Stubbed) -> None:
    for method, answer in (
        ("admin_list_devices", DEVICES),
        ("list_users", USERS),
        ("list_users_in_group", MEMBERS),
        ("describe_user_pool", POOL_DESCRIBED),
    ):
        stubbed.cognito.add_response(method, answer)
    stubbed.sts.add_response(
        "get_caller_identity", {"Account": ACCOUNT, "UserId": "AIDA", "Arn": f"arn:aws:iam::{ACCOUNT}:user/x"}
    )

    device = Device(KEY, RememberedStatus.REMEMBERED, "valid", MOMENT_MS, MOMENT_MS, MOMENT_MS)
    assert OWNED(stubbed.api) == Page((device,), "next")
    assert LIST(stubbed.api) == Page((ListedUser(MARY),), "next")
    assert GROUP(stubbed.api) == Page((ListedUser(MARY),), "next")
    assert DESCRIBE(stubbed.api) == PoolDescription(
        POOL, "shop", ACCOUNT, REGION, Tracking.ALWAYS, Mfa.OPTIONAL, mfa_bypass=True, estimated_users=42
    )
    assert stubbed.api.account_id() == ACCOUNT


Path = tuple[str | int, ...]


def paths(content: Any, path: Path = ()) -> Iterator[Path]:
    """Where a field stands in the answer, for every field."""
    children = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, child in children:
        if isinstance(key, str):
            yield (*path, key)
        yield from paths(child, (*path, key))


def without(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """A copy of the answer that lacks one field."""
    copy = deepcopy(content)
    place: Any = copy
    for key in path[:-1]:
        place = place[key]
    del place[path[-1]]
    return copy


@cache
def output_shape(operation: str) -> Shape | None:
    return botocore.session.get_session().get_service_model("cognito-idp").operation_model(operation).output_shape


def is_required(operation: str, path: Path) -> bool:
    """Whether the service model promises the field."""
    shape = output_shape(operation)
    required = False
    for key in path:
        if isinstance(shape, StructureShape):
            required = key in shape.required_members
            shape = shape.members[str(key)]
        elif isinstance(shape, ListShape):
            shape = shape.member
    return required


ANSWERS = [
    ("AdminListDevices", "admin_list_devices", OWNED, DEVICES),
    ("ListUsers", "list_users", LIST, USERS),
    ("ListUsersInGroup", "list_users_in_group", GROUP, MEMBERS),
    ("DescribeUserPool", "describe_user_pool", DESCRIBE, POOL_DESCRIBED),
]
IDENTIFYING = {("Users", 0, "Username"), ("UserPool",)}
"""Optional to the model, but an answer without them says nothing."""


@pytest.mark.parametrize(("operation", "method", "ask", "answer"), ANSWERS)
def test_any_optional_field_may_be_absent(
    stubbed: Stubbed, operation: str, method: str, ask: Ask, answer: dict[str, Any]
) -> None:
    optional = [path for path in paths(answer) if not is_required(operation, path)]
    assert len(optional) >= 9
    for path in optional:
        stubbed.cognito.add_response(method, without(answer, path))
        if path in IDENTIFYING:
            with pytest.raises(Malformed):
                ask(stubbed.api)
        else:
            ask(stubbed.api)
