"""Clients of the emulator: boto3, and plain HTTP with responses checked against botocore's service model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlsplit

import boto3
import botocore.session
from botocore.config import Config
from botocore.model import ListShape, ServiceModel, Shape, StringShape, StructureShape
from botocore.validate import validate_parameters
from mypy_boto3_cognito_idp import CognitoIdentityProviderClient
from mypy_boto3_sts import STSClient

ACCOUNT_ID = "123456789012"
REGION = "eu-west-1"
ONE_ATTEMPT = Config(retries={"total_max_attempts": 1, "mode": "standard"}, read_timeout=10)


def cognito(url: str, *, access_key: str = ACCOUNT_ID, region: str = REGION) -> CognitoIdentityProviderClient:
    """Return a client that makes exactly one attempt per call."""
    return boto3.client(
        "cognito-idp",
        region,
        endpoint_url=url,
        aws_access_key_id=access_key,
        aws_secret_access_key="secret",
        config=ONE_ATTEMPT,
    )


def sts(url: str, access_key: str, token: str | None = None) -> STSClient:
    """Return a client that makes exactly one attempt per call."""
    return boto3.client(
        "sts",
        REGION,
        endpoint_url=url,
        aws_access_key_id=access_key,
        aws_secret_access_key="secret",
        aws_session_token=token,
        config=ONE_ATTEMPT,
    )


@cache
def service_model() -> ServiceModel:
    return botocore.session.get_session().get_service_model("cognito-idp")


def headers(operation: str, *, region: str = REGION) -> dict[str, str]:
    """Return the headers of an SDK; the emulator does not check the signature."""
    scope = f"Credential={ACCOUNT_ID}/20260101/{region}/cognito-idp/aws4_request"
    return {
        "Content-Type": "application/x-amz-json-1.1",
        "X-Amz-Target": f"AWSCognitoIdentityProviderService.{operation}",
        "Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0",
    }


def post(url: str, operation: str, params: dict[str, Any], *, region: str = REGION) -> tuple[int, dict[str, Any]]:
    """Return status and body of a request over a new connection."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=10)
    try:
        connection.request("POST", "/", json.dumps(params), headers(operation, region=region))
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"{}")
    finally:
        connection.close()


def post_valid(url: str, operation: str, params: dict[str, Any]) -> dict[str, Any]:
    """Return the raw body of a successful response; assert that it has the output shape of the operation."""
    status, content = post(url, operation, params)
    assert status == 200, content
    shape = service_model().operation_model(operation).output_shape
    if shape is None:
        assert content == {}
    else:
        validate_parameters(content, shape)
        strays = list(model_violations(content, shape))
        assert not strays, strays
    return content


def model_violations(content: Any, shape: Shape, path: str = "$") -> Iterator[str]:
    """Return members that the model does not define, and strings that violate their pattern or length."""
    if isinstance(shape, StructureShape):
        for name, value in content.items():
            if name not in shape.members:
                yield f"{path}.{name}"
            else:
                yield from model_violations(value, shape.members[name], f"{path}.{name}")
    elif isinstance(shape, ListShape):
        for number, item in enumerate(content):
            yield from model_violations(item, shape.member, f"{path}[{number}]")
    elif isinstance(shape, StringShape) and not fits(content, shape):
        yield f"{path} = {content!r}"
    elif shape.type_name == "timestamp" and not isinstance(content, (int, float)):
        yield f"{path} is not a JSON number: {content!r}"


def fits(text: str, shape: StringShape) -> bool:
    longest = shape.metadata.get("max", len(text))
    pattern = shape.metadata.get("pattern", "")
    if "\\p{" in pattern:  # Java's classes of characters, which Python does not know
        pattern = ""
    allowed = not shape.enum or text in shape.enum
    if shape.name == "CustomAttributeNameType":  # AWS's own `phone_number_verified` is longer than its model allows
        return True
    return allowed and len(text) <= longest and (not pattern or re.fullmatch(pattern, text) is not None)
