"""What AWS answers and what the libraries raise, as this program's errors."""

from __future__ import annotations

import urllib3.exceptions as http
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from exporter.errors import (
    AwsError,
    CallTimeout,
    ConnectionFailed,
    CredentialsFault,
    Denied,
    InvalidRequest,
    Malformed,
    ResourceNotFound,
    ServerError,
    Throttled,
    TrackingOff,
    UnexpectedFailure,
    UserNotFound,
)

_BY_CODE: dict[str, type[AwsError]] = {
    "AccessDenied": Denied,
    "AccessDeniedException": Denied,
    "NotAuthorizedException": Denied,
    "UnauthorizedException": Denied,
    "ExpiredToken": CredentialsFault,
    "ExpiredTokenException": CredentialsFault,
    "IncompleteSignature": CredentialsFault,
    "InvalidClientTokenId": CredentialsFault,
    "InvalidSignatureException": CredentialsFault,
    "MissingAuthenticationToken": CredentialsFault,
    "MissingAuthenticationTokenException": CredentialsFault,
    "RequestExpired": CredentialsFault,
    "RequestInTheFuture": CredentialsFault,
    "RequestTimeTooSkewed": CredentialsFault,
    "SignatureDoesNotMatch": CredentialsFault,
    "UnrecognizedClientException": CredentialsFault,
    "InternalErrorException": ServerError,
    "InternalFailure": ServerError,
    "InternalServerError": ServerError,
    "ServiceUnavailable": ServerError,
    "ServiceUnavailableException": ServerError,
    "InvalidParameterException": InvalidRequest,
    "InvalidParameterValue": InvalidRequest,
    "ValidationException": InvalidRequest,
    "SerializationException": InvalidRequest,
    "InvalidUserPoolConfigurationException": TrackingOff,
    "OperationNotEnabledException": TrackingOff,
    "LimitExceededException": Throttled,
    "RequestLimitExceeded": Throttled,
    "SlowDown": Throttled,
    "Throttling": Throttled,
    "ThrottlingException": Throttled,
    "ThrottledException": Throttled,
    "TooManyRequestsException": Throttled,
    "ResourceNotFoundException": ResourceNotFound,
    "UserNotFoundException": UserNotFound,
}

_BY_TYPE: tuple[tuple[type[Exception], type[AwsError]], ...] = (
    (boto.NoCredentialsError, CredentialsFault),
    (boto.PartialCredentialsError, CredentialsFault),
    (boto.CredentialRetrievalError, CredentialsFault),
    (boto.ConfigNotFound, CredentialsFault),
    (boto.ProfileNotFound, CredentialsFault),
    (boto.InfiniteLoopConfigError, CredentialsFault),
    (boto.InvalidConfigError, CredentialsFault),
    (boto.MetadataRetrievalError, CredentialsFault),
    (boto.TokenRetrievalError, CredentialsFault),
    (boto.SSOError, CredentialsFault),
    (boto.ConnectTimeoutError, CallTimeout),
    (boto.ReadTimeoutError, CallTimeout),
    (boto.HTTPClientError, ConnectionFailed),
    (boto.ConnectionError, ConnectionFailed),
    (http.NewConnectionError, ConnectionFailed),  # which urllib3 counts among its time-outs
    (http.TimeoutError, CallTimeout),
    (http.HTTPError, ConnectionFailed),
    (boto.ParamValidationError, InvalidRequest),
    (boto.UnknownEndpointError, InvalidRequest),
    (boto.EndpointProviderError, InvalidRequest),
    # What botocore's parser raises when a field has a type that it does not expect.
    (AttributeError, Malformed),
    (LookupError, Malformed),
    (TypeError, Malformed),
    (ValueError, Malformed),
    (OverflowError, Malformed),
    (RecursionError, Malformed),
)
"""The first that matches; HTTPClientError and urllib3's HTTPError are the bases of all that happens on the wire."""

_HTTP_THROTTLED = 429
_HTTP_SERVER_ERROR = 500
_CODE_LENGTH = 80


def from_exception(operation: str, error: Exception) -> AwsError:
    """The error of ours that says the same, naming AWS's code and nothing that a user typed."""
    if isinstance(error, boto.ClientError):
        return _from_answer(operation, error)
    if isinstance(error, ResponseParserError):
        return Malformed(operation, "the answer cannot be parsed")
    for kind, ours in _BY_TYPE:
        if isinstance(error, kind):
            return ours(operation, type(error).__name__)
    return UnexpectedFailure(operation, type(error).__name__)


def unattempted(error: AwsError) -> AwsError:
    """Return the error, marked as one of a call for which no request left the process."""
    error.attempted = False
    return error


def from_response(operation: str, code: object, status: int) -> AwsError:
    """What an answer with this error code and HTTP status means; the code is whatever stood in its place."""
    known = _printable(code)
    if known in _BY_CODE:
        return _BY_CODE[known](operation, known)
    if status == _HTTP_THROTTLED:
        return Throttled(operation, known or "HTTP 429")
    if status >= _HTTP_SERVER_ERROR:
        return ServerError(operation, known or f"HTTP {status}")
    return UnexpectedFailure(operation, known or f"HTTP {status}")


def _from_answer(operation: str, error: boto.ClientError) -> AwsError:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    asked = operation if error.operation_name == operation else f"{operation} ({error.operation_name})"
    return from_response(asked, error.response.get("Error", {}).get("Code", ""), status)


def _printable(code: object) -> str:
    """AWS's codes are short words; anything else was not sent by AWS."""
    text = str(code)[:_CODE_LENGTH]
    return text if text.replace(".", "").isalnum() else ""
