"""Requests as botocore builds them: URL, headers and signing scope per operation.

A boto3 client builds a request and is stopped before it signs and sends it. FIPS, dual-stack, `AWS_ENDPOINT_URL`, the
user agent and all other settings therefore work as in boto3, without a copy of its rules.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders

from exporter.aws.api import Operation

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient

_BEFORE_CALL = "before-call.cognito-identity-provider"
_ANY = "any"
_ANY_ARN = "arn:aws:cognito-idp:any"


@dataclass(frozen=True, slots=True)
class RequestTemplate:
    """Request without body and signature."""

    url: str
    headers: Mapping[str, str]
    service: str
    """Name of the service in signatures."""
    region: str
    """Region in signatures."""


def capture_templates(cognito: CognitoIdentityProviderClient) -> dict[Operation, RequestTemplate]:
    """Return the request templates of the operations that sweeps and discovery use. Sends nothing.

    Raises errors of botocore if there is no endpoint for the settings of the client.
    """
    calls: dict[Operation, Callable[[], object]] = {
        Operation.DESCRIBE_USER_POOL: lambda: cognito.describe_user_pool(UserPoolId=_ANY),
        Operation.LIST_USER_POOLS: lambda: cognito.list_user_pools(MaxResults=1),
        Operation.LIST_TAGS_FOR_RESOURCE: lambda: cognito.list_tags_for_resource(ResourceArn=_ANY_ARN),
        Operation.ADMIN_LIST_DEVICES: lambda: cognito.admin_list_devices(UserPoolId=_ANY, Username=_ANY),
        Operation.LIST_USERS: lambda: cognito.list_users(UserPoolId=_ANY),
        Operation.LIST_USERS_IN_GROUP: lambda: cognito.list_users_in_group(UserPoolId=_ANY, GroupName=_ANY),
    }
    return {operation: _capture(cognito, call) for operation, call in calls.items()}


def _capture(cognito: CognitoIdentityProviderClient, call: Callable[[], object]) -> RequestTemplate:
    captured: list[RequestTemplate] = []

    def stop(*, params: Mapping[str, Any], request_signer: Any, **_: Any) -> Any:
        url = params["url"]
        captured.append(
            RequestTemplate(url, dict(params["headers"]), request_signer.signing_name, request_signer.region_name)
        )
        # botocore takes a returned response as that of the request, and neither signs nor sends it.
        return AWSResponse(url, 200, HTTPHeaders(), None), {}

    cognito.meta.events.register_last(_BEFORE_CALL, stop)
    try:
        call()
    finally:
        cognito.meta.events.unregister(_BEFORE_CALL, stop)
    return captured[0]
