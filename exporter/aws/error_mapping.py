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

_BY_CODE: dict[str, type[AwsError]] = {
    "AccessDenied": Denied,
    "AccessDeniedException": Denied,
    "NotAuthorizedException": Denied,
    "UnauthorizedException": Denied,
    "ExpiredToken": CredentialsError,
    "ExpiredTokenException": CredentialsError,
    "IncompleteSignature": CredentialsError,
    "InvalidClientTokenId": CredentialsError,
    "InvalidSignatureException": CredentialsError,
    "MissingAuthenticationToken": CredentialsError,
    "MissingAuthenticationTokenException": CredentialsError,
    "RequestExpired": CredentialsError,
    "RequestInTheFuture": CredentialsError,
    "RequestTimeTooSkewed": CredentialsError,
    "SignatureDoesNotMatch": CredentialsError,
    "UnrecognizedClientException": CredentialsError,
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
    (boto.NoCredentialsError, CredentialsError),
    (boto.PartialCredentialsError, CredentialsError),
    (boto.CredentialRetrievalError, CredentialsError),
    (boto.ConfigNotFound, CredentialsError),
    (boto.ProfileNotFound, CredentialsError),
    (boto.InfiniteLoopConfigError, CredentialsError),
    (boto.InvalidConfigError, CredentialsError),
    (boto.MetadataRetrievalError, CredentialsError),
    (boto.TokenRetrievalError, CredentialsError),
    (boto.SSOError, CredentialsError),
    (boto.ConnectTimeoutError, CallTimeout),
    (boto.ReadTimeoutError, CallTimeout),
    (boto.HTTPClientError, ConnectionFailed),
    (boto.ConnectionError, ConnectionFailed),
    (http.NewConnectionError, ConnectionFailed),  # a subclass of TimeoutError in urllib3
    (http.TimeoutError, CallTimeout),
    (http.HTTPError, ConnectionFailed),
    (boto.ParamValidationError, InvalidRequest),
    (boto.UnknownEndpointError, InvalidRequest),
    (boto.EndpointProviderError, InvalidRequest),
    # Raised by botocore's parser for a field of an unexpected type.
    (AttributeError, Malformed),
    (LookupError, Malformed),
    (TypeError, Malformed),
    (ValueError, Malformed),
    (OverflowError, Malformed),
    (RecursionError, Malformed),
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
    for exception_type, aws_error in _BY_TYPE:
        if isinstance(error, exception_type):
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
