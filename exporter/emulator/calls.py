"""Parser of HTTP requests into calls: operation, parameters, account and Region."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from moto.core.models import DEFAULT_ACCOUNT_ID

from exporter.emulator.errors import ApiError
from exporter.emulator.world import TARGET_PREFIX, Call, World

GLOBAL_REGION = "us-east-1"
"""Region of a request that names none, such as an unsigned one."""

_CREDENTIAL = re.compile(r"Credential=([^/]+)/\d{8}/([^/]+)/([^/]+)/aws4_request")


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """Parts of an HTTP request that the emulator uses: two headers and the body."""

    target: str | None
    """Value of the header X-Amz-Target."""
    authorization: str | None
    body: bytes


def parse_call(world: World, request: HttpRequest) -> Call:
    """Parse a request of Cognito's JSON protocol or of STS's query protocol; signatures are not verified.

    Raises `ApiError` for any other request.
    """
    credential = _CREDENTIAL.search(request.authorization or "")
    access_key = credential[1] if credential else None
    region = credential[2] if credential else GLOBAL_REGION
    if request.target is None:
        return _sts_call(world, request.body, access_key, region)
    prefix, _, operation = request.target.partition(".")
    if prefix != TARGET_PREFIX or not operation:
        raise ApiError("UnknownOperationException", f"Unknown target {request.target}")
    params = _params(request.body)
    if credential:
        account_id, pool_id = world.account_of(access_key), params.get("UserPoolId") or _pool_of_arn(params)
    else:
        account_id, region, pool_id = _resolve_unsigned(world, params)
    return Call("cognito-idp", operation, params, account_id, region, pool_id, access_key, request.body)


def _pool_of_arn(params: dict[str, Any]) -> str | None:
    """Return the pool id in the ARN of a tag operation, None without one."""
    arn = params.get("ResourceArn")
    return arn.rpartition(":userpool/")[2] if isinstance(arn, str) else None


def _params(body: bytes) -> dict[str, Any]:
    try:
        params = json.loads(body or b"{}")
    except ValueError:
        params = None
    if not isinstance(params, dict):
        raise ApiError("SerializationException", "The body is not a JSON object.")
    return params


def _sts_call(world: World, body: bytes, access_key: str | None, region: str) -> Call:
    params = {name: values[0] for name, values in parse_qs(body.decode()).items()}
    if "Action" not in params:
        raise ApiError("UnknownOperationException", "Neither X-Amz-Target nor Action is set.")
    return Call("sts", params["Action"], params, world.account_of(access_key), region, None, access_key, body)


def _resolve_unsigned(world: World, params: dict[str, Any]) -> tuple[str, str, str | None]:
    """Return account, Region and pool of an unsigned request, found by its app client or access token."""
    if "ClientId" in params:
        pool = world.pool_of_client(str(params["ClientId"]))
    elif "AccessToken" in params:
        pool = world.pool_of_token(str(params["AccessToken"]))
    else:
        raise ApiError("MissingAuthenticationTokenException", "Missing Authentication Token")
    if pool is None:
        return DEFAULT_ACCOUNT_ID, GLOBAL_REGION, None
    return pool.account_id, pool.region, pool.id
