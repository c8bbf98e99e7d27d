"""boto3 sessions, and the API clients that they create."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import boto3
from botocore.config import Config
from botocore.exceptions import NoCredentialsError

import exporter
from exporter.aws.api import CognitoApi
from exporter.aws.assume_role import Role, StsClient, session_with
from exporter.aws.boto_client import ONE_ATTEMPT, AccountClient, limit_response_size
from exporter.aws.error_mapping import from_exception, unattempted
from exporter.aws.lean.client import LeanCognito
from exporter.clock import Clock, SystemClock
from exporter.config.settings import TargetSettings

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient
    from mypy_boto3_sts import STSClient


@dataclass(frozen=True, slots=True, weakref_slot=True)
class _Endpoint:
    """boto3 clients that all accounts of a Region share."""

    config: Config
    cognito: CognitoIdentityProviderClient
    """Provides the endpoint and the headers; the API clients have credentials of their own."""
    sts: StsClient


class AwsApis:
    """Factory of API clients, which share the service models of botocore and the boto3 clients of their Region."""

    def __init__(self, make_session: Callable[[], boto3.Session] = boto3.Session, clock: Clock | None = None) -> None:
        """Call `make_session` once, for the first client."""
        self._make_session = make_session
        self._clock = clock or SystemClock()
        self._lock = threading.RLock()  # sessions of boto3 are not thread-safe; its clients are
        self._session: boto3.Session | None = None
        self._endpoints: WeakValueDictionary[TargetSettings, _Endpoint] = WeakValueDictionary()

    def __call__(self, settings: TargetSettings) -> CognitoApi:
        """Create the client for a target.

        Raises `exporter.errors.AwsError` if the configuration of boto3 is invalid or there are no credentials.
        """
        try:
            with self._lock:
                return self._create(settings)
        except Exception as error:
            raise unattempted(from_exception("creating a client", error)) from error

    def _create(self, settings: TargetSettings) -> CognitoApi:
        if self._session is None:
            self._session = self._make_session()
        session = self._session
        credentials = session.get_credentials()
        if credentials is None:
            # Not cached: the source of credentials, such as a metadata service, may be available at the next sweep.
            raise NoCredentialsError
        endpoint = self._endpoint(session, settings)
        ca_bundle = session._session.get_config_variable("ca_bundle")  # noqa: SLF001 - boto3 has no public access to it
        if settings.role_arn is None:
            account = AccountClient(lambda: endpoint.cognito, lambda: self._sts(session, settings, endpoint.config))
            return LeanCognito(endpoint.cognito, credentials, ca_bundle, account=account, clock=self._clock)
        role = Role(settings.role_arn, settings.external_id, endpoint.sts, self._clock)
        role_credentials = role.credentials(credentials)
        account = AccountClient(
            lambda: self._cognito(session_with(role_credentials, session), settings, endpoint.config),
            lambda: self._sts(session_with(role_credentials, session), settings, endpoint.config),
        )
        return LeanCognito(endpoint.cognito, role_credentials, ca_bundle, account=account, clock=self._clock, role=role)

    def _endpoint(self, session: boto3.Session, settings: TargetSettings) -> _Endpoint:
        key = replace(settings, role_arn=None, external_id=None)
        endpoint = self._endpoints.get(key)
        if endpoint is None:
            config = ONE_ATTEMPT.merge(
                Config(
                    user_agent_extra=f"cognito-device-exporter/{exporter.__version__}",
                    use_fips_endpoint=settings.use_fips_endpoint,
                    use_dualstack_endpoint=settings.use_dualstack_endpoint,
                )
            )
            sts = StsClient(lambda: self._sts(session, settings, config))
            endpoint = _Endpoint(config, self._cognito(session, settings, config), sts)
            self._endpoints[key] = endpoint
        return endpoint

    def _cognito(
        self, session: boto3.Session, settings: TargetSettings, config: Config
    ) -> CognitoIdentityProviderClient:
        with self._lock:
            cognito = session.client(
                "cognito-idp", region_name=settings.region, endpoint_url=settings.endpoint_url, config=config
            )
        limit_response_size(cognito)
        return cognito

    def _sts(self, session: boto3.Session, settings: TargetSettings, config: Config) -> STSClient:
        with self._lock:
            sts = session.client("sts", region_name=settings.region, config=config)
        limit_response_size(sts)
        return sts
