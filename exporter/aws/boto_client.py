"""boto3 clients: their configuration, the requests made through them, and limits that botocore does not have.

The retries of boto3 are disabled, because each attempt must pass the rate limiter and be counted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.httpsession import URLLib3Session
from botocore.parsers import ResponseParserError

from exporter.aws.api import Category, Operation
from exporter.aws.arns import is_account_id
from exporter.aws.error_mapping import from_exception
from exporter.aws.lean.responses import MAX_COUNT
from exporter.aws.lean.transport import MAX_BODY_BYTES
from exporter.errors import Malformed

if TYPE_CHECKING:
    from mypy_boto3_cognito_idp import CognitoIdentityProviderClient
    from mypy_boto3_sts import STSClient

MAX_CONNECTIONS = 256
"""Limit of idle connections. With more requests in flight, each further request would open a connection."""

ONE_ATTEMPT = Config(
    retries={"mode": "standard", "total_max_attempts": 1},
    # Cognito responds in tens of milliseconds. A stalled request must not block a sweep.
    connect_timeout=5.0,
    read_timeout=15.0,
    max_pool_connections=MAX_CONNECTIONS,
    tcp_keepalive=True,
    parameter_validation=False,  # Cognito validates the parameters
)
"""Client configuration without retries."""

_CHUNK_BYTES = 65_536


class AccountClient:
    """Client for the rare account-level requests, which are made through boto3."""

    def __init__(
        self, make_cognito: Callable[[], CognitoIdentityProviderClient], make_sts: Callable[[], STSClient]
    ) -> None:
        """Use clients with the configuration `ONE_ATTEMPT`, created when they are first needed."""
        self._make_cognito = make_cognito
        self.make_sts = make_sts
        """Creates a client for STS."""
        self._tracker = SendTracker()

    @cached_property
    def cognito(self) -> CognitoIdentityProviderClient:
        """Client for Cognito."""
        cognito = self._make_cognito()
        self._tracker.watch(cognito)
        return cognito

    def account_id(self) -> str:
        """Make a GetCallerIdentity request."""
        response = self._call(Operation.GET_CALLER_IDENTITY, self._get_caller_identity)
        account = response.get("Account")
        if not isinstance(account, str) or not is_account_id(account):
            raise Malformed(Operation.GET_CALLER_IDENTITY, "the response has no account id")
        return account

    def provisioned_quota(self, category: Category) -> float:
        """Make a GetProvisionedLimit request."""
        definition: Any = {"LimitClass": "API_CATEGORY", "Attributes": {"Category": category.value}}
        operation = Operation.GET_PROVISIONED_LIMIT
        response = self._call(operation, lambda: self.cognito.get_provisioned_limit(LimitDefinition=definition))
        limit = response.get("Limit")
        value = limit.get("ProvisionedLimitValue") if isinstance(limit, dict) else None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= MAX_COUNT:
            raise Malformed(operation, "the response has no positive ProvisionedLimitValue")
        return float(value)

    def _get_caller_identity(self) -> Mapping[str, Any]:
        sts = self.make_sts()
        self._tracker.watch(sts)
        return sts.get_caller_identity()

    def _call(self, operation: Operation, call: Callable[[], Mapping[str, Any]]) -> Mapping[str, Any]:
        self._tracker.reset()
        try:
            return call()
        except Exception as error:
            failure = from_exception(operation, error)
            failure.attempted = self._tracker.sent
            raise failure from error


class SendTracker:
    """Record of whether the current request of each thread was sent."""

    def __init__(self) -> None:
        self._local = threading.local()

    def watch(self, client: CognitoIdentityProviderClient | STSClient) -> None:
        """Track the requests of this client too."""
        client.meta.events.register("before-send", self._on_send)

    def reset(self) -> None:
        """Start tracking a new request of this thread."""
        self._local.sent = False

    @property
    def sent(self) -> bool:
        """True if the request of this thread was sent."""
        return bool(self._local.sent)

    def _on_send(self, **_: Any) -> None:
        self._local.sent = True


class LimitedSession:
    """HTTP session for botocore that rejects responses longer than `MAX_BODY_BYTES`."""

    def __init__(self, session: URLLib3Session) -> None:
        self._session = session

    def send(self, request: AWSPreparedRequest) -> AWSResponse:
        """Send a request and read the response.

        Raises `ResponseParserError` if the response is too long, and the errors of `session` and urllib3.
        """
        request.stream_output = True  # otherwise the session reads the whole body
        response = self._session.send(request)
        headers: Any = response.headers  # the stubs declare another type
        return AWSResponse(response.url, response.status_code, headers, _Body(_read(response.raw)))

    def close(self) -> None:
        """Close all connections."""
        self._session.close()


class _Body:
    """Response body in the form that `AWSResponse` expects."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self) -> Iterator[bytes]:
        yield self._content


def _read(raw: Any) -> bytes:
    chunks: list[bytes] = []
    length = 0
    for chunk in raw.stream(_CHUNK_BYTES):
        length += len(chunk)
        if length > MAX_BODY_BYTES:
            raw.close()
            raise ResponseParserError("the body is too long")
        chunks.append(chunk)
    return b"".join(chunks)


def limit_response_size(client: Any) -> None:
    """Limit the length of the responses that a boto3 client reads; botocore itself has no limit."""
    endpoint = client._endpoint  # noqa: SLF001 - botocore has no public access to the HTTP session
    if not isinstance(endpoint.http_session, LimitedSession):
        endpoint.http_session = LimitedSession(endpoint.http_session)
