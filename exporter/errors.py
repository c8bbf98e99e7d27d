"""Exception hierarchy. Every AWS error carries its handling (`action`) and its metric label (`reason`)."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum, StrEnum
from pathlib import Path
from typing import ClassVar


class Reason(StrEnum):
    """Values of the label `reason`."""

    THROTTLED = "throttled"
    DENIED = "denied"
    CREDENTIALS = "credentials"
    NOT_FOUND = "not_found"
    INVALID_REQUEST = "invalid_request"
    TRACKING_OFF = "tracking_off"
    SERVER_ERROR = "server_error"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    MALFORMED = "malformed"
    OTHER = "other"


class ErrorAction(Enum):
    """Handling of a failed request by the sweep that made it."""

    RETRY = "retry"
    """Retry later in the same sweep."""
    SKIP_USER = "skip_user"
    """Continue with the next user."""
    STOP_POOL = "stop_pool"
    """End the sweep: no request for this pool can succeed."""


class ExporterError(Exception):
    """Base class of the exporter's own errors."""


class ConfigError(ExporterError):
    """Invalid configuration."""

    def __init__(self, problems: list[str], *, files: Collection[Path] = ()) -> None:
        # Python represents bytes of a file name that are not UTF-8 as lone surrogates, which cannot be encoded.
        self.problems = tuple(problem.encode(errors="backslashreplace").decode() for problem in problems)
        """All problems found, one line each."""
        super().__init__("\n".join(self.problems))
        self.files = tuple(files)
        """Other files that the configuration refers to; a change of one of them may fix it."""


class Cancelled(ExporterError):
    """The operation was canceled. Not a failure."""


class AwsError(ExporterError):
    """Failed request to AWS.

    The text contains only the operation and the error code: messages of AWS contain ARNs and user names, which must
    not reach logs or pages.
    """

    reason: ClassVar[Reason] = Reason.OTHER
    action: ClassVar[ErrorAction] = ErrorAction.SKIP_USER
    attempted = True
    """False if no request left the process, for example because there are no credentials."""

    def __init__(self, operation: str, code: str) -> None:
        super().__init__(f"{operation}: {code}")
        self.operation = operation
        self.code = code

    @property
    def is_retryable(self) -> bool:
        """True if the same request may succeed later."""
        return self.action is ErrorAction.RETRY


class Throttled(AwsError):
    """AWS throttled the request: the account's quota for the category is exhausted."""

    reason = Reason.THROTTLED
    action = ErrorAction.RETRY


class Denied(AwsError):
    """IAM does not allow the operation on this pool."""

    reason = Reason.DENIED
    action = ErrorAction.STOP_POOL


class CredentialsError(AwsError):
    """Missing, expired or rejected credentials.

    Retried, because refreshable credentials may be renewed between two attempts.
    """

    reason = Reason.CREDENTIALS
    action = ErrorAction.RETRY


class UserNotFound(AwsError):
    """The user was deleted after it was listed. Not a failure."""

    reason = Reason.NOT_FOUND
    action = ErrorAction.SKIP_USER


class ResourceNotFound(AwsError):
    """The pool, a group or a user does not exist; AWS does not say which."""

    reason = Reason.NOT_FOUND
    action = ErrorAction.STOP_POOL


class InvalidRequest(AwsError):
    """AWS rejected the parameters, for example an invalid filter."""

    reason = Reason.INVALID_REQUEST
    action = ErrorAction.SKIP_USER


class TrackingOff(AwsError):
    """The pool is not configured to remember devices."""

    reason = Reason.TRACKING_OFF
    action = ErrorAction.STOP_POOL


class ServerError(AwsError):
    """Internal error of AWS."""

    reason = Reason.SERVER_ERROR
    action = ErrorAction.RETRY


class CallTimeout(AwsError):
    """The response did not arrive in time."""

    reason = Reason.TIMEOUT
    action = ErrorAction.RETRY


class ConnectionFailed(AwsError):
    """The connection to the endpoint could not be opened, or it broke."""

    reason = Reason.CONNECTION
    action = ErrorAction.RETRY


class Malformed(AwsError):
    """The response does not have the documented form.

    Retried, because a truncated response looks the same as a wrong one.
    """

    reason = Reason.MALFORMED
    action = ErrorAction.RETRY


class EndlessListing(Malformed):
    """The pages of a listing do not end. Not retried: a retry would follow the same pages."""

    action = ErrorAction.SKIP_USER


class UnexpectedError(AwsError):
    """Any other error."""

    reason = Reason.OTHER
    action = ErrorAction.RETRY
