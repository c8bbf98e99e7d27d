"""What botocore would send: address, headers and signing scope of an operation, learnt from botocore itself.

A boto3 client is asked to make a request and stopped before it is signed and sent. So FIPS, dual-stack,
`AWS_ENDPOINT_URL`, the user agent and whatever else botocore derives from its many settings are as boto3
users expect them, and no rule of botocore's is repeated here.
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
    """A request without body and signature."""

    url: str
    headers: Mapping[str, str]
    service: str
    """The service's name in a signature."""
    region: str
    """The Region in a signature."""


def capture_templates(cognito: CognitoIdentityProviderClient) -> dict[Operation, RequestTemplate]:
    """The requests of all that sweeps and rules ask; nothing leaves the process.

    Raises what botocore raises when there is no endpoint for the client's settings.
    """
    calls: dict[Operation, Callable[[], object]] = {
        Operation.DESCRIBE_USER_POOL: lambda: cognito.describe_user_pool(UserPoolId=_ANY),
        Operation.LIST_USER_POOLS: lambda: cognito.list_user_pools(MaxResults=1),
        Operation.LIST_TAGS_FOR_RESOURCE: lambda: cognito.list_tags_for_resource(ResourceArn=_ANY_ARN),
        Operation.ADMIN_LIST_DEVICES: lambda: cognito.admin_list_devices(UserPoolId=_ANY, Username=_ANY),
        Operation.LIST_USERS: lambda: cognito.list_users(UserPoolId=_ANY),
        Operation.LIST_USERS_IN_GROUP: lambda: cognito.list_users_in_group(UserPoolId=_ANY, GroupName=_ANY),
    }
    return {operation: _stopped(cognito, call) for operation, call in calls.items()}


def _stopped(cognito: CognitoIdentityProviderClient, call: Callable[[], object]) -> RequestTemplate:
    found: list[RequestTemplate] = []

    def stop(*, params: Mapping[str, Any], request_signer: Any, **_: Any) -> Any:
        url = params["url"]
        found.append(
            RequestTemplate(url, dict(params["headers"]), request_signer.signing_name, request_signer.region_name)
        )
        return AWSResponse(url, 200, HTTPHeaders(), None), {}  # taken for the answer: nothing is signed or sent

    cognito.meta.events.register_last(_BEFORE_CALL, stop)
    try:
        call()
    finally:
        cognito.meta.events.unregister(_BEFORE_CALL, stop)
    return found[0]
