"""Credentials of assumed roles, and what is asked of STS for them.

All roles of a Region are assumed through one client: one for each of them would take more memory than everything else
that is kept of an account.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import boto3
from botocore.credentials import (
    AssumeRoleCredentialFetcher,
    CredentialProvider,
    CredentialResolver,
    Credentials,
    DeferredRefreshableCredentials,
)
from botocore.session import Session as BotocoreSession

from exporter.aws.api import CognitoApi
from exporter.aws.boto_client import SendTracker
from exporter.aws.error_mapping import from_exception
from exporter.aws.lean.client import LeanCognito
from exporter.aws.response_limit import limit_response_size
from exporter.clock import Clock
from exporter.errors import Reason

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient
    from mypy_boto3_sts import STSClient

ASSUME_ROLE = "AssumeRole"
"""The value of the label `operation`; nothing that a sweep asks, so that it is none of `exporter.aws.api.Operation`."""

_METHOD = "assume-role"

OnAssumeRole = Callable[[float, Reason | None, bool], None]
"""One AssumeRole ended: the seconds that it took, why it failed or None, and whether it left the process."""


@runtime_checkable
class AssumesRole(Protocol):
    """A `CognitoApi` that assumes a role for what it asks."""

    def tell_of_role(self, heard: OnAssumeRole) -> None:
        """Tell of each AssumeRole from now on."""
        ...


class LeanCognitoByRole(LeanCognito):
    """A `LeanCognito` with the credentials of a role."""

    def __init__(
        self,
        cognito: CognitoIdentityProviderClient,
        credentials: Credentials,
        ca_bundle: str | None,
        role: Role,
        *,
        plain: CognitoApi,
        clock: Clock,
    ) -> None:
        """As `LeanCognito`; the credentials are those that `role` has made."""
        super().__init__(cognito, credentials, ca_bundle, plain=plain, clock=clock)
        self._role = role

    def tell_of_role(self, heard: OnAssumeRole) -> None:
        """Tell of each AssumeRole from now on."""
        self._role.heard = heard


class StsClient:
    """AssumeRole in one Region, for any role; safe to use from many threads."""

    def __init__(self, make_sts: Callable[[], STSClient]) -> None:
        """`make_sts` is called once, when the first role is assumed."""
        self._make_sts = make_sts
        self._lock = threading.Lock()
        self._sts: STSClient | None = None
        self._departures = SendTracker()

    def assume_role(self, wanted: dict[str, Any]) -> Any:
        """One AssumeRole; raises what boto3 raises."""
        self._departures.reset()
        return self._client().assume_role(**wanted)

    def on_send(self) -> bool:
        """Whether what this thread asked last has left the process."""
        return self._departures.seen()

    def _client(self) -> STSClient:
        with self._lock:
            if self._sts is None:
                sts = self._make_sts()
                self._departures.watch(sts)
                limit_response_size(sts)
                self._sts = sts
            return self._sts


class Role:
    """One role, assumed when it is first needed and again before its credentials expire."""

    def __init__(self, arn: str, external_id: str | None, exchange: StsClient, clock: Clock) -> None:
        """Nothing is asked yet."""
        self._arn = arn
        self._external_id = external_id
        self._exchange = exchange
        self._clock = clock
        self.heard: OnAssumeRole = _nobody
        """Who is told."""

    def credentials(self, source: Credentials) -> Credentials:
        """Those of the role; `source` may assume it, and has made the client of the exchange."""
        extra = {"RoleSessionName": "cognito-device-exporter"}
        if self._external_id is not None:
            extra["ExternalId"] = self._external_id
        fetcher = AssumeRoleCredentialFetcher(
            client_creator=lambda *_, **__: self,  # type: ignore[arg-type] # of a client it uses `assume_role`
            source_credentials=source,
            role_arn=self._arn,
            extra_args=extra,
        )
        return DeferredRefreshableCredentials(method=_METHOD, refresh_using=fetcher.fetch_credentials)

    def assume_role(self, **wanted: Any) -> Any:
        """What botocore's fetcher asks of a client for STS."""
        started = self._clock.monotonic()
        reason: Reason | None = None
        try:
            return self._exchange.assume_role(wanted)
        except Exception as error:
            reason = from_exception(ASSUME_ROLE, error).reason
            raise
        finally:
            self.heard(self._clock.monotonic() - started, reason, self._exchange.on_send())


def session_with(credentials: Credentials, like: boto3.Session) -> boto3.Session:
    """A session with other credentials that shares what `like` has loaded from disk."""
    source = like._session  # noqa: SLF001 - boto3 gives no other way to its loader
    session = BotocoreSession()
    session.register_component("data_loader", source.get_component("data_loader"))
    session.register_component("credential_provider", CredentialResolver(providers=[_Given(credentials)]))
    return boto3.Session(botocore_session=session)


class _Given(CredentialProvider):
    """Credentials that are there already."""

    METHOD = _METHOD
    CANONICAL_NAME = "AssumeRole"

    def __init__(self, credentials: Credentials) -> None:
        super().__init__()
        self._credentials = credentials

    def load(self) -> Credentials:
        return self._credentials


def _nobody(_seconds: float, _reason: Reason | None, _attempted: bool) -> None:  # noqa: FBT001 - as `OnAssumeRole`
    """Nobody listens yet."""
