"""Access to moto: its pools and users, and its own operations."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from moto.cognitoidp.models import CognitoIdpBackend, CognitoIdpUser, CognitoIdpUserPool, cognitoidp_backends
from moto.cognitoidp.responses import CognitoIdpResponse
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.request import Request
from moto.iam.models import get_account_id_from
from moto.sts.responses import TokenResponse

from exporter.emulator.errors import JSON_TYPE, OK, XML_TYPE, ApiError, HttpResponse, pool_not_found, user_not_found

TARGET_PREFIX = "AWSCognitoIdentityProviderService"

TOKENS_KEPT = 1000
"""Maximum number of tokens of each kind and of sign-in sessions; moto itself never removes any."""

_ACCOUNT_ID = re.compile(r"\d{12}")
_XML_CODE = re.compile(r"<Code>([^<]*)</Code>")
_RESPONSES = {"cognito-idp": CognitoIdpResponse, "sts": TokenResponse}


@dataclass(frozen=True, slots=True)
class Call:
    """Parsed request."""

    service: str
    """`cognito-idp` or `sts`."""
    operation: str
    params: dict[str, Any]
    account_id: str
    region: str
    pool_id: str | None
    access_key: str | None
    body: bytes
    """Unparsed request body, for moto."""


class World:
    """Access to moto's state, which all emulators in one process share."""

    def __init__(self) -> None:
        self._accounts: dict[str, str] = {}

    def account_of(self, access_key: str | None) -> str:
        """Return the account of an access key: its twelve digits, or the role's account if STS issued the key."""
        if access_key is None:
            return DEFAULT_ACCOUNT_ID
        if _ACCOUNT_ID.fullmatch(access_key):
            return access_key
        if access_key not in self._accounts:
            self._accounts[access_key] = get_account_id_from(access_key)
        return self._accounts[access_key]

    @staticmethod
    def backend(account_id: str, region: str) -> CognitoIdpBackend:
        """Return moto's Cognito backend of one account and Region."""
        return cognitoidp_backends[account_id][region]

    def pool(self, call: Call) -> CognitoIdpUserPool:
        """Return the pool that the call names.

        Raises `ApiError` if this account and Region have no such pool.
        """
        pool = self.backend(call.account_id, call.region).user_pools.get(call.pool_id or "")
        if pool is None:
            raise pool_not_found(call.pool_id or "")
        return pool

    def pool_by_id(self, pool_id: str) -> CognitoIdpUserPool:
        """Return a pool of any account.

        Raises `KeyError` if there is no such pool.
        """
        for pool in self._pools():
            if pool.id == pool_id:
                return pool
        raise KeyError(pool_id)

    def pool_of_client(self, client_id: str) -> CognitoIdpUserPool | None:
        """Return the pool of an app client: sign-in requests are unsigned and name no pool."""
        return next((pool for pool in self._pools() if client_id in pool.clients), None)

    def pool_of_token(self, access_token: str) -> CognitoIdpUserPool | None:
        """Return the pool that issued an access token."""
        return next((pool for pool in self._pools() if access_token in pool.access_tokens), None)

    @staticmethod
    def user(pool: CognitoIdpUserPool, username: str) -> CognitoIdpUser:
        """Return a user by name or alias.

        Raises `ApiError` if the pool has no such user.
        """
        user = cast("CognitoIdpUser | None", pool._get_user(username))  # noqa: SLF001 -- moto's lookup resolves aliases
        if user is None:
            raise user_not_found()
        return user

    def call_moto(self, call: Call) -> HttpResponse:
        """Return moto's response to the call.

        Raises `ApiError` for an operation that moto does not implement.
        """
        content_type = (
            JSON_TYPE if call.service == "cognito-idp" else "application/x-www-form-urlencoded; charset=utf-8"
        )
        url = f"https://{call.service}.{call.region}.amazonaws.com/"
        headers = {"Content-Type": content_type, "x-moto-account-id": call.account_id}
        if call.service == "cognito-idp":
            headers["X-Amz-Target"] = f"{TARGET_PREFIX}.{call.operation}"
        if call.access_key is not None:
            headers["Authorization"] = f"AWS4-HMAC-SHA256 Credential={call.access_key}/"
        request = Request.from_primitives("POST", url, headers, call.body)
        try:
            status, _, body = _RESPONSES[call.service].dispatch(request, url, request.headers)
        except NotImplementedError:
            raise ApiError("UnknownOperationException", f"Unknown operation {call.operation}") from None
        return _response(call.service, int(status), body)

    def delete_pools(self, pool_ids: set[str]) -> None:
        """Delete pools from moto."""
        for pool in list(self._pools()):
            if pool.id in pool_ids:
                del pool.backend.user_pools[pool.id]

    @staticmethod
    def evict_tokens(pool: CognitoIdpUserPool) -> None:
        """Delete the oldest tokens and sessions and moto's list of created users, to bound memory in a long run."""
        memories: tuple[dict[str, Any], ...] = (
            pool.access_tokens,
            pool.id_tokens,
            pool.refresh_tokens,
            pool.backend.sessions,
        )
        for memory in memories:
            while len(memory) > TOKENS_KEPT:
                del memory[next(iter(memory))]
        clear_instances()

    @staticmethod
    def _pools() -> Iterator[CognitoIdpUserPool]:
        for account in list(cognitoidp_backends.values()):
            for backend in list(account.values()):
                yield from list(backend.user_pools.values())


def clear_instances() -> None:
    """Clear moto's list of created users, which keeps deleted users in memory."""
    vars(CognitoIdpUser)["instances_tracked"].clear()


def _response(service: str, status: int, body: str | bytes) -> HttpResponse:
    raw = body.encode() if isinstance(body, str) else body
    if service == "sts":
        match = _XML_CODE.search(raw.decode())
        return HttpResponse(status, raw, OK if match is None else match[1], XML_TYPE)
    code = OK if status < 400 else str(json.loads(raw).get("__type", "InternalErrorException"))
    return HttpResponse(status, raw, code)
