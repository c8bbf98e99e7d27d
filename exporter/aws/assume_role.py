"""Credentials of assumed roles.

All roles of a Region are assumed through one STS client: a client per role would take more memory than everything else
of an account.
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

from exporter.aws.boto_client import SendTracker
from exporter.aws.error_mapping import from_exception
from exporter.clock import Clock
from exporter.errors import Reason

if TYPE_CHECKING:
    from mypy_boto3_sts import STSClient

ASSUME_ROLE = "AssumeRole"
"""Value of the label `operation`. Not in `exporter.aws.api.Operation`, because no method of `CognitoApi` makes it."""

_METHOD = "assume-role"


class OnAssumeRole(Protocol):
    """Callback for each AssumeRole request."""

    def __call__(self, seconds: float, reason: Reason | None, *, attempted: bool) -> None:
        """Handle a request that took `seconds`; `attempted` is False if it was not sent."""
        ...


@runtime_checkable
class AssumesRole(Protocol):
    """`CognitoApi` that may assume a role."""

    def on_assume_role(self, callback: OnAssumeRole) -> None:
        """Call `callback` for each AssumeRole request from now on."""
        ...


class StsClient:
    """Client for AssumeRole requests in one Region. Thread-safe."""

    def __init__(self, make_sts: Callable[[], STSClient]) -> None:
        """Call `make_sts` once, when the first role is assumed."""
        self._make_sts = make_sts
        self._lock = threading.Lock()
        self._sts: STSClient | None = None
        self._tracker = SendTracker()

    def assume_role(self, parameters: dict[str, Any]) -> Any:
        """Make an AssumeRole request. Raises errors of boto3."""
        self._tracker.reset()
        with self._lock:
            if self._sts is None:
                sts = self._make_sts()
                self._tracker.watch(sts)
                self._sts = sts
        return self._sts.assume_role(**parameters)

    @property
    def sent(self) -> bool:
        """True if the last request of this thread was sent."""
        return self._tracker.sent


class Role:
    """IAM role that is assumed on first use, and again before its credentials expire."""

    def __init__(self, arn: str, external_id: str | None, sts: StsClient, clock: Clock) -> None:
        self._arn = arn
        self._external_id = external_id
        self._sts = sts
        self._clock = clock
        self.callback: OnAssumeRole | None = None
        """Called for each AssumeRole request."""

    def credentials(self, source: Credentials) -> Credentials:
        """Return the credentials of the role; `source` are the credentials of the STS client."""
        extra = {"RoleSessionName": "cognito-device-exporter"}
        if self._external_id is not None:
            extra["ExternalId"] = self._external_id
        fetcher = AssumeRoleCredentialFetcher(
            client_creator=lambda *_, **__: self,  # type: ignore[arg-type] # it only calls `assume_role`
            source_credentials=source,
            role_arn=self._arn,
            extra_args=extra,
        )
        return DeferredRefreshableCredentials(method=_METHOD, refresh_using=fetcher.fetch_credentials)

    def assume_role(self, **parameters: Any) -> Any:
        """Make an AssumeRole request; called by botocore's credential fetcher in place of an STS client."""
        started = self._clock.monotonic()
        reason: Reason | None = None
        try:
            return self._sts.assume_role(parameters)
        except Exception as error:
            reason = from_exception(ASSUME_ROLE, error).reason
            raise
        finally:
            if self.callback is not None:
                self.callback(self._clock.monotonic() - started, reason, attempted=self._sts.sent)


def session_with(credentials: Credentials, base: boto3.Session) -> boto3.Session:
    """Return a session with other credentials that shares the service models that `base` has loaded."""
    source = base._session  # noqa: SLF001 - boto3 has no public access to its loader
    session = BotocoreSession()
    session.register_component("data_loader", source.get_component("data_loader"))
    session.register_component("credential_provider", CredentialResolver(providers=[_StaticProvider(credentials)]))
    return boto3.Session(botocore_session=session)


class _StaticProvider(CredentialProvider):
    """Provider of existing credentials."""

    METHOD = _METHOD
    CANONICAL_NAME = "AssumeRole"

    def __init__(self, credentials: Credentials) -> None:
        super().__init__()
        self._credentials = credentials

    def load(self) -> Credentials:
        return self._credentials
