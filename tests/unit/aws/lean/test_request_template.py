"""Request templates, compared with the requests that botocore sends."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.compat import HTTPHeaders
from botocore.config import Config

from exporter.aws.api import Operation
from exporter.aws.lean.request_template import capture_templates
from tests.aws_session import aws_session

CALLS: dict[Operation, tuple[str, dict[str, Any]]] = {
    Operation.DESCRIBE_USER_POOL: ("describe_user_pool", {"UserPoolId": "p"}),
    Operation.LIST_USER_POOLS: ("list_user_pools", {"MaxResults": 60}),
    Operation.LIST_TAGS_FOR_RESOURCE: ("list_tags_for_resource", {"ResourceArn": "arn:aws:cognito-idp:r"}),
    Operation.ADMIN_LIST_DEVICES: ("admin_list_devices", {"UserPoolId": "p", "Username": "u"}),
    Operation.LIST_USERS: ("list_users", {"UserPoolId": "p"}),
    Operation.LIST_USERS_IN_GROUP: ("list_users_in_group", {"UserPoolId": "p", "GroupName": "g"}),
}


def client(region: str = "eu-west-1", **options: Any) -> Any:
    session = aws_session("AKIA", region)
    config = Config(user_agent_extra="cognito-device-exporter/1", **options)
    return session.client("cognito-idp", config=config)


def sent(cognito: Any, operation: Operation) -> AWSPreparedRequest:
    """Return the request that botocore makes, stopped before it is sent."""
    caught: list[AWSPreparedRequest] = []

    def catch(request: AWSPreparedRequest, **_: Any) -> Any:
        caught.append(request)
        response = AWSResponse(request.url, 200, HTTPHeaders(), None)
        response._content = b"{}"  # type: ignore[attr-defined] # attribute of botocore for a body that was read
        return response

    cognito.meta.events.register("before-send", catch)
    method, parameters = CALLS[operation]
    getattr(cognito, method)(**parameters)
    cognito.meta.events.unregister("before-send", catch)
    return caught[0]


@pytest.mark.parametrize(
    ("region", "options"),
    [
        ("eu-west-1", {}),
        ("us-east-1", {"use_fips_endpoint": True}),
        ("eu-west-1", {"use_dualstack_endpoint": True}),
        ("us-gov-west-1", {"use_fips_endpoint": True, "use_dualstack_endpoint": True}),
        ("cn-north-1", {}),
    ],
)
def test_template_has_url_headers_and_scope_of_boto3(region: str, options: dict[str, Any]) -> None:
    cognito = client(region, **options)
    for operation, template in capture_templates(cognito).items():
        request = sent(cognito, operation)
        assert template.url == request.url
        for name, value in template.headers.items():
            assert request.headers[name] in {value, value.encode()}, name
        assert {"X-Amz-Target", "Content-Type", "User-Agent"} <= template.headers.keys()
        assert f"/{template.region}/{template.service}/aws4_request".encode() in request.headers["Authorization"]


def test_each_operation_has_a_template() -> None:
    assert capture_templates(client()).keys() == CALLS.keys()


def test_user_agent_names_the_exporter_and_botocore() -> None:
    agent = capture_templates(client())[Operation.LIST_USERS].headers["User-Agent"]
    assert "Botocore" in agent
    assert "cognito-device-exporter/1" in agent


def test_capture_sends_nothing_and_does_not_change_the_client() -> None:
    cognito = client()
    requests: list[Any] = []
    cognito.meta.events.register("before-send", lambda **event: requests.append(event))
    capture_templates(cognito)
    assert not requests
    assert sent(cognito, Operation.LIST_USERS).url == "https://cognito-idp.eu-west-1.amazonaws.com/"
