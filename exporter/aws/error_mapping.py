"""Mapping of AWS error codes and library exceptions to `exporter.errors`."""

from __future__ import annotations

from http import HTTPStatus

import urllib3.exceptions as http
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from exporter.errors import (
    AwsError,
    CallTimeout,
    ConnectionFailed,
    CredentialsError,
    Denied,
    InvalidRequest,
    Malformed,
    ResourceNotFound,
    ServerError,
    Throttled,
    TrackingOff,
    UnexpectedError,
    UserNotFound,
)

_CODES: dict[type[AwsError], tuple[str, ...]] = {
    Denied: ("AccessDenied", "AccessDeniedException", "NotAuthorizedException", "UnauthorizedException"),
    CredentialsError: (
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "RequestExpired",
        "RequestInTheFuture",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    ),
    ServerError: (
        "InternalErrorException",
        "InternalFailure",
        "InternalServerError",
        "ServiceUnavailable",
        "ServiceUnavailableException",
    ),
    InvalidRequest: (
        "InvalidParameterException",
        "InvalidParameterValue",
        "SerializationException",
        "ValidationException",
    ),
    TrackingOff: ("InvalidUserPoolConfigurationException", "OperationNotEnabledException"),
    Throttled: (
        "LimitExceededException",
        "RequestLimitExceeded",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    ),
    ResourceNotFound: ("ResourceNotFoundException",),
    UserNotFound: ("UserNotFoundException",),
}
_BY_CODE = {code: error for error, codes in _CODES.items() for code in codes}

_BY_TYPE: tuple[tuple[tuple[type[Exception], ...], type[AwsError]], ...] = (
    (
        (
            boto.NoCredentialsError,
            boto.PartialCredentialsError,
            boto.CredentialRetrievalError,
            boto.ConfigNotFound,
            boto.ProfileNotFound,
            boto.InfiniteLoopConfigError,
            boto.InvalidConfigError,
            boto.MetadataRetrievalError,
            boto.TokenRetrievalError,
            boto.SSOError,
        ),
        CredentialsError,
    ),
    ((boto.ConnectTimeoutError, boto.ReadTimeoutError), CallTimeout),
    # NewConnectionError is a subclass of TimeoutError in urllib3.
    ((boto.HTTPClientError, boto.ConnectionError, http.NewConnectionError), ConnectionFailed),
    ((http.TimeoutError,), CallTimeout),
    ((http.HTTPError,), ConnectionFailed),
    ((boto.ParamValidationError, boto.UnknownEndpointError, boto.EndpointProviderError), InvalidRequest),
    # Raised by botocore's parser for a field of an unexpected type.
    ((AttributeError, LookupError, TypeError, ValueError, OverflowError, RecursionError), Malformed),
)
"""The first match applies; HTTPClientError and urllib3's HTTPError are the bases of all transport errors."""

_MAX_CODE_LENGTH = 80


def from_exception(operation: str, error: Exception) -> AwsError:
    """Return the error for an exception, with the error code of AWS and no user data."""
    if isinstance(error, boto.ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        # The request that failed may be another one, such as AssumeRole.
        name = operation if error.operation_name == operation else f"{operation} ({error.operation_name})"
        return from_response(name, error.response.get("Error", {}).get("Code", ""), status)
    if isinstance(error, ResponseParserError):
        return Malformed(operation, "the response cannot be parsed")
    for exception_types, aws_error in _BY_TYPE:
        if isinstance(error, exception_types):
            return aws_error(operation, type(error).__name__)
    return UnexpectedError(operation, type(error).__name__)


def unattempted(error: AwsError) -> AwsError:
    """Return the error, marked as raised before a request was sent."""
    error.attempted = False
    return error


def from_response(operation: str, code: object, status: int) -> AwsError:
    """Return the error for a response with this status and error code, which may be of any type."""
    text = _safe_code(code)
    if text in _BY_CODE:
        return _BY_CODE[text](operation, text)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return Throttled(operation, text or "HTTP 429")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return ServerError(operation, text or f"HTTP {status}")
    return UnexpectedError(operation, text or f"HTTP {status}")


def _safe_code(code: object) -> str:
    """Return the error code if it has the form of AWS codes, else an empty string."""
    text = str(code)[:_MAX_CODE_LENGTH]
    return text if text.replace(".", "").isalnum() else ""
