"""Requests and responses, checked against the service model of botocore."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import cache
from typing import Any

import botocore.session
import pytest
from botocore.model import ListShape, OperationModel, Shape, StructureShape
from botocore.validate import ParamValidator

from exporter.aws.api import Category, CognitoApi, Operation, Page
from exporter.errors import Malformed
from exporter.model import Device, ListedUser, Mfa, PoolDescription, RememberedStatus, Tracking
from tests.contract.canned import answering
from tests.contract.worlds import REGION, ApiOver
from tests.fakes import ACCOUNT

POOL = f"{REGION}_AbCdEfGhI"
ARN = f"arn:aws:cognito-idp:{REGION}:{ACCOUNT}"
MARY = "mary_major"
KEY = f"{REGION}_a1b2c3d4-5678-90ab-cdef-EXAMPLE22222"
CREATED = 1_718_112_633
CREATED_MS = 1_718_112_633_000

# From the sample responses in the AWS reference of each command.
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
            "DeviceCreateDate": CREATED,
            "DeviceLastModifiedDate": CREATED,
            "DeviceLastAuthenticatedDate": CREATED,
        }
    ],
    "PaginationToken": "next",
}  # fmt: skip
USER = {
    "Username": MARY,
    "Attributes": [{"Name": "sub", "Value": "eaad0219-2117-439f-8d46-4db20e59268f"}],
    "UserCreateDate": CREATED,
    "UserLastModifiedDate": CREATED,
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
        "CreationDate": CREATED,
        "LastModifiedDate": CREATED,
    }
}


CATEGORY = {"LimitClass": "API_CATEGORY", "Attributes": {"Category": "UserList"}}
LIMIT = {"Limit": {"LimitDefinition": CATEGORY, "ProvisionedLimitValue": 30, "FreeLimitValue": 30}}

Call = Callable[[CognitoApi], Any]

QUOTA: Call = lambda api: api.provisioned_quota(Category.USER_LIST)  # noqa: E731 - a row of a table
DESCRIBE: Call = lambda api: api.describe_user_pool(POOL)  # noqa: E731 - as above
POOLS: Call = lambda api: api.list_user_pools(token=None)  # noqa: E731 - as above
MORE_POOLS: Call = lambda api: api.list_user_pools(token="t")  # noqa: E731 - as above
TAGS: Call = lambda api: api.pool_tags(f"{ARN}:userpool/{POOL}")  # noqa: E731 - as above
LIST: Call = lambda api: api.list_users(POOL, user_filter=None, token=None)  # noqa: E731 - as above
LIST_MORE: Call = lambda api: api.list_users(POOL, user_filter='status = "Enabled"', token="t")  # noqa: E731 - as above
GROUP: Call = lambda api: api.list_users_in_group(POOL, "staff", token=None)  # noqa: E731 - as above
GROUP_MORE: Call = lambda api: api.list_users_in_group(POOL, "staff", token="t")  # noqa: E731 - as above
OWNED: Call = lambda api: api.admin_list_devices(POOL, MARY, token=None, attributes=frozenset())  # noqa: E731 - as above
OWNED_MORE: Call = lambda api: api.admin_list_devices(POOL, MARY, token="t", attributes=frozenset())  # noqa: E731 - as above

REQUESTS: list[tuple[Call, Operation, dict[str, Any], dict[str, Any]]] = [
    (QUOTA, Operation.GET_PROVISIONED_LIMIT, {"LimitDefinition": CATEGORY}, LIMIT),
    (DESCRIBE, Operation.DESCRIBE_USER_POOL, {"UserPoolId": POOL}, POOL_DESCRIBED),
    (POOLS, Operation.LIST_USER_POOLS, {"MaxResults": 60}, {}),
    (MORE_POOLS, Operation.LIST_USER_POOLS, {"MaxResults": 60, "NextToken": "t"}, {}),
    (TAGS, Operation.LIST_TAGS_FOR_RESOURCE, {"ResourceArn": f"{ARN}:userpool/{POOL}"}, {}),
    (LIST, Operation.LIST_USERS, {"UserPoolId": POOL, "Limit": 60, "AttributesToGet": ["sub"]}, USERS),
    (
        LIST_MORE,
        Operation.LIST_USERS,
        {
            "UserPoolId": POOL,
            "Limit": 60,
            "AttributesToGet": ["sub"],
            "Filter": 'status = "Enabled"',
            "PaginationToken": "t",
        },
        USERS,
    ),
    (GROUP, Operation.LIST_USERS_IN_GROUP, {"UserPoolId": POOL, "GroupName": "staff", "Limit": 60}, MEMBERS),
    (
        GROUP_MORE,
        Operation.LIST_USERS_IN_GROUP,
        {"UserPoolId": POOL, "GroupName": "staff", "Limit": 60, "NextToken": "t"},
        MEMBERS,
    ),
    (OWNED, Operation.ADMIN_LIST_DEVICES, {"UserPoolId": POOL, "Username": MARY, "Limit": 60}, DEVICES),
    (
        OWNED_MORE,
        Operation.ADMIN_LIST_DEVICES,
        {"UserPoolId": POOL, "Username": MARY, "Limit": 60, "PaginationToken": "t"},
        DEVICES,
    ),
]


@cache
def model_of(operation: str) -> OperationModel:
    return botocore.session.get_session().get_service_model("cognito-idp").operation_model(operation)


@pytest.mark.parametrize(("call", "operation", "parameters", "response"), REQUESTS)
def test_request_has_the_parameters_and_shape_of_the_model(
    api_over: ApiOver, call: Call, operation: Operation, parameters: dict[str, Any], response: dict[str, Any]
) -> None:
    with answering(json.dumps(response).encode()) as server:
        call(api_over(server.url))
    (body,) = server.requests
    request = json.loads(body)
    assert request == parameters
    shape: Any = model_of(operation).input_shape
    assert not ParamValidator().validate(request, shape).has_errors()


SAMPLES: list[tuple[Call, dict[str, Any], object]] = [
    (
        OWNED,
        DEVICES,
        Page((Device(KEY, RememberedStatus.REMEMBERED, "valid", CREATED_MS, CREATED_MS, CREATED_MS),), "next"),
    ),
    (LIST, USERS, Page((ListedUser(MARY),), "next")),
    (GROUP, MEMBERS, Page((ListedUser(MARY),), "next")),
    (
        DESCRIBE,
        POOL_DESCRIBED,
        PoolDescription(
            POOL, "shop", ACCOUNT, REGION, Tracking.ALWAYS, Mfa.OPTIONAL, mfa_bypass=True, estimated_users=42
        ),
    ),
    (QUOTA, LIMIT, 30.0),
]


@pytest.mark.parametrize(("call", "response", "expected"), SAMPLES)
def test_sample_response_of_aws_is_decoded(
    api_over: ApiOver, call: Call, response: dict[str, Any], expected: object
) -> None:
    with answering(json.dumps(response).encode()) as server:
        assert call(api_over(server.url)) == expected


Path = tuple[str | int, ...]


def paths(content: Any, path: Path = ()) -> Iterator[Path]:
    """Yield the path of every field of a response."""
    children = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, child in children:
        if isinstance(key, str):
            yield (*path, key)
        yield from paths(child, (*path, key))


def without(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return a copy of a response without one field."""
    copy = deepcopy(content)
    parent: Any = copy
    for key in path[:-1]:
        parent = parent[key]
    del parent[path[-1]]
    return copy


def is_required(operation: str, path: Path) -> bool:
    """True if the service model requires the field."""
    shape: Shape | None = model_of(operation).output_shape
    required = False
    for key in path:
        if isinstance(shape, StructureShape):
            required = key in shape.required_members
            shape = shape.members[str(key)]
        elif isinstance(shape, ListShape):
            shape = shape.member
    return required


RESPONSES = [
    ("AdminListDevices", OWNED, DEVICES),
    ("ListUsers", LIST, USERS),
    ("ListUsersInGroup", GROUP, MEMBERS),
    ("DescribeUserPool", DESCRIBE, POOL_DESCRIBED),
]
IDENTIFYING = {("Users", 0, "Username"), ("UserPool",)}
"""Optional in the model, but needed to use the response."""


@pytest.mark.parametrize(("operation", "call", "response"), RESPONSES)
def test_optional_fields_of_a_response_may_be_absent(
    api_over: ApiOver, operation: str, call: Call, response: dict[str, Any]
) -> None:
    optional = [path for path in paths(response) if not is_required(operation, path)]
    assert len(optional) >= 9
    with answering(b"") as server:
        api = api_over(server.url)
        for path in optional:
            server.body = json.dumps(without(response, path)).encode()
            server.length = len(server.body)
            if path in IDENTIFYING:
                with pytest.raises(Malformed):
                    call(api)
            else:
                call(api)
