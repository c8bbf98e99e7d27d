"""moto's world, seen from the emulator: its pools and users, and its own operations."""

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

from exporter.emulator.errors import JSON_TYPE, OK, XML_TYPE, Answer, Refusal, pool_not_found, user_not_found

TARGET_PREFIX = "AWSCognitoIdentityProviderService"

TOKENS_KEPT = 1000
"""So many tokens of each kind and so many sign-in sessions are kept; moto itself never forgets one."""

_ACCOUNT_ID = re.compile(r"\d{12}")
_XML_CODE = re.compile(r"<Code>([^<]*)</Code>")
_RESPONSES = {"cognito-idp": CognitoIdpResponse, "sts": TokenResponse}


@dataclass(frozen=True, slots=True)
class Call:
    """One request, understood."""

    service: str
    """`cognito-idp` or `sts`."""
    operation: str
    params: dict[str, Any]
    account_id: str
    region: str
    pool_id: str | None
    access_key: str | None
    body: bytes
    """As it came, for moto."""


class World:
    """Finds what moto holds; moto's world is one per process, so emulators in one process share it."""

    def __init__(self) -> None:
        self._accounts: dict[str, str] = {}

    def account_of(self, access_key: str | None) -> str:
        """The account of an access key: a key of twelve digits is an account id, a key that STS gave its role's."""
        if access_key is None:
            return DEFAULT_ACCOUNT_ID
        if _ACCOUNT_ID.fullmatch(access_key):
            return access_key
        if access_key not in self._accounts:
            self._accounts[access_key] = get_account_id_from(access_key)
        return self._accounts[access_key]

    @staticmethod
    def backend(account_id: str, region: str) -> CognitoIdpBackend:
        """The Cognito of moto of one account and Region."""
        return cognitoidp_backends[account_id][region]

    def pool(self, call: Call) -> CognitoIdpUserPool:
        """The pool that the call names.

        Raises `Refusal` when this account and Region have no such pool.
        """
        pool = self.backend(call.account_id, call.region).user_pools.get(call.pool_id or "")
        if pool is None:
            raise pool_not_found(call.pool_id or "")
        return pool

    def pool_by_id(self, pool_id: str) -> CognitoIdpUserPool:
        """The pool, whichever account it stands in.

        Raises `KeyError` when there is none.
        """
        for pool in self._pools():
            if pool.id == pool_id:
                return pool
        raise KeyError(pool_id)

    def pool_of_client(self, client_id: str) -> CognitoIdpUserPool | None:
        """The pool of an app client: requests to sign in are not signed and name no pool."""
        return next((pool for pool in self._pools() if client_id in pool.clients), None)

    def pool_of_token(self, access_token: str) -> CognitoIdpUserPool | None:
        """The pool in which the access token was given."""
        return next((pool for pool in self._pools() if access_token in pool.access_tokens), None)

    @staticmethod
    def user(pool: CognitoIdpUserPool, username: str) -> CognitoIdpUser:
        """A user by name.

        Raises `Refusal` when the pool has no such user.
        """
        user = cast("CognitoIdpUser | None", pool._get_user(username))  # noqa: SLF001 -- moto's own lookup knows aliases
        if user is None:
            raise user_not_found()
        return user

    def ask_moto(self, call: Call) -> Answer:
        """Have moto answer the call.

        Raises `Refusal` for an operation that moto does not have.
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
            raise Refusal("UnknownOperationException", f"Unknown operation {call.operation}") from None
        return _answer(call.service, int(status), body)

    def forget_pools(self, pool_ids: set[str]) -> None:
        """Take pools out of moto's world."""
        for pool in list(self._pools()):
            if pool.id in pool_ids:
                del pool.backend.user_pools[pool.id]

    @staticmethod
    def tidy(pool: CognitoIdpUserPool) -> None:
        """Drop the oldest tokens and sessions, and moto's list of every user ever made: a world can live for long."""
        memories: tuple[dict[str, Any], ...] = (
            pool.access_tokens,
            pool.id_tokens,
            pool.refresh_tokens,
            pool.backend.sessions,
        )
        for memory in memories:
            while len(memory) > TOKENS_KEPT:
                del memory[next(iter(memory))]
        forget_instances()

    @staticmethod
    def _pools() -> Iterator[CognitoIdpUserPool]:
        for account in list(cognitoidp_backends.values()):
            for backend in list(account.values()):
                yield from list(backend.user_pools.values())


def forget_instances() -> None:
    """Empty moto's list of every user ever made, which keeps deleted ones alive."""
    vars(CognitoIdpUser)["instances_tracked"].clear()


def _answer(service: str, status: int, body: str | bytes) -> Answer:
    raw = body.encode() if isinstance(body, str) else body
    if service == "sts":
        match = _XML_CODE.search(raw.decode())
        return Answer(status, raw, OK if match is None else match[1], XML_TYPE)
    code = OK if status < 400 else str(json.loads(raw).get("__type", "InternalErrorException"))
    return Answer(status, raw, code)
