"""The exception tree; every failure carries its verdict and its metric label."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum, StrEnum
from pathlib import Path
from typing import ClassVar


class Reason(StrEnum):
    """The closed list behind the labels `reason` and `error`."""

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
    """What a failed call means for the sweep that made it."""

    RETRY = "ask again later in the same sweep"
    SKIP_USER = "this user cannot be read; go on with the next"
    STOP_POOL = "no call of this pool can succeed now; end the sweep"


class ExporterError(Exception):
    """Base of every error this program raises on purpose."""


class ConfigError(ExporterError):
    """The configuration is wrong; `faults` lists every fault found, one line each, all of which UTF-8 can carry.

    `files` are those beside the configuration itself with which it may become right.
    """

    def __init__(self, faults: list[str], *, files: Collection[Path] = ()) -> None:
        # The name of a file may hold bytes that are no UTF-8; Python has halves of surrogate pairs for them.
        self.faults = tuple(fault.encode(errors="backslashreplace").decode() for fault in faults)
        super().__init__("\n".join(self.faults))
        self.files = tuple(files)


class Cancelled(ExporterError):
    """What was under way was told to stop; no failure."""


class AwsError(ExporterError):
    """A call to AWS failed.

    The text names the operation and AWS's error code only: AWS's own messages carry ARNs and user
    names, which belong neither in logs nor on a page.
    """

    reason: ClassVar[Reason] = Reason.OTHER
    verdict: ClassVar[ErrorAction] = ErrorAction.SKIP_USER
    attempted = True
    """False when no request left the process, as without credentials."""

    def __init__(self, operation: str, code: str) -> None:
        super().__init__(f"{operation}: {code}")
        self.operation = operation
        self.code = code

    @property
    def is_retryable(self) -> bool:
        """Whether the same call may succeed later."""
        return self.verdict is ErrorAction.RETRY


class Throttled(AwsError):
    """The account's quota for the category is used up at the moment."""

    reason = Reason.THROTTLED
    verdict = ErrorAction.RETRY


class Denied(AwsError):
    """IAM does not allow the operation on this pool."""

    reason = Reason.DENIED
    verdict = ErrorAction.STOP_POOL


class CredentialsFault(AwsError):
    """There are no credentials, or they have expired or are not accepted.

    Retried, because refreshable credentials may be renewed between two attempts.
    """

    reason = Reason.CREDENTIALS
    verdict = ErrorAction.RETRY


class UserNotFound(AwsError):
    """The user vanished between the listing and the question; no failure."""

    reason = Reason.NOT_FOUND
    verdict = ErrorAction.SKIP_USER


class ResourceNotFound(AwsError):
    """The pool, a group or a user does not exist; AWS does not say which of them."""

    reason = Reason.NOT_FOUND
    verdict = ErrorAction.STOP_POOL


class InvalidRequest(AwsError):
    """AWS refuses the parameters, such as a filter it does not understand."""

    reason = Reason.INVALID_REQUEST
    verdict = ErrorAction.SKIP_USER


class TrackingOff(AwsError):
    """The pool is not configured to remember devices."""

    reason = Reason.TRACKING_OFF
    verdict = ErrorAction.STOP_POOL


class ServerError(AwsError):
    """AWS answered with an internal error."""

    reason = Reason.SERVER_ERROR
    verdict = ErrorAction.RETRY


class CallTimeout(AwsError):
    """No answer came in time."""

    reason = Reason.TIMEOUT
    verdict = ErrorAction.RETRY


class ConnectionFailed(AwsError):
    """The endpoint could not be reached, or the connection broke."""

    reason = Reason.CONNECTION
    verdict = ErrorAction.RETRY


class Malformed(AwsError):
    """The answer is not what the API promises.

    Retried, because a truncated answer looks the same as a wrong one.
    """

    reason = Reason.MALFORMED
    verdict = ErrorAction.RETRY


class EndlessListing(Malformed):
    """The pages of a listing do not end: asking again would only follow them again."""

    verdict = ErrorAction.SKIP_USER


class UnexpectedFailure(AwsError):
    """An error that nothing above describes."""

    reason = Reason.OTHER
    verdict = ErrorAction.RETRY
