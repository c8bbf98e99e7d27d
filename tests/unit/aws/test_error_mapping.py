from __future__ import annotations

import pytest
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from exporter.aws.error_mapping import from_exception
from exporter.errors import ErrorAction, Reason


def client_error(code: str, status: int = 400, operation: str = "AdminListDevices") -> boto.ClientError:
    message = "User: arn:aws:iam::123456789012:user/alice is not authorized"
    response = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return boto.ClientError(response, operation)  # type: ignore[arg-type] # less metadata than AWS sends


@pytest.mark.parametrize(
    ("code", "status", "reason", "action"),
    [
        ("TooManyRequestsException", 400, Reason.THROTTLED, ErrorAction.RETRY),
        ("ThrottlingException", 400, Reason.THROTTLED, ErrorAction.RETRY),
        ("Unknown", 429, Reason.THROTTLED, ErrorAction.RETRY),
        ("AccessDeniedException", 400, Reason.DENIED, ErrorAction.STOP_POOL),
        ("NotAuthorizedException", 400, Reason.DENIED, ErrorAction.STOP_POOL),
        ("ExpiredTokenException", 400, Reason.CREDENTIALS, ErrorAction.RETRY),
        ("UnrecognizedClientException", 400, Reason.CREDENTIALS, ErrorAction.RETRY),
        ("InternalErrorException", 500, Reason.SERVER_ERROR, ErrorAction.RETRY),
        ("Unknown", 503, Reason.SERVER_ERROR, ErrorAction.RETRY),
        ("", 500, Reason.SERVER_ERROR, ErrorAction.RETRY),
        ("InvalidParameterException", 400, Reason.INVALID_REQUEST, ErrorAction.SKIP_USER),
        ("InvalidUserPoolConfigurationException", 400, Reason.TRACKING_OFF, ErrorAction.STOP_POOL),
        ("UserNotFoundException", 400, Reason.NOT_FOUND, ErrorAction.SKIP_USER),
        ("ResourceNotFoundException", 400, Reason.NOT_FOUND, ErrorAction.STOP_POOL),
        ("Unknown", 400, Reason.OTHER, ErrorAction.RETRY),
    ],
)
def test_error_code_maps_to_reason_and_action(code: str, status: int, reason: Reason, action: ErrorAction) -> None:
    error = from_exception("AdminListDevices", client_error(code, status))
    assert (error.reason, error.action) == (reason, action)


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (boto.NoCredentialsError(), Reason.CREDENTIALS),
        (boto.CredentialRetrievalError(provider="x", error_msg="secret"), Reason.CREDENTIALS),
        (boto.ProfileNotFound(profile="x"), Reason.CREDENTIALS),
        (boto.ReadTimeoutError(endpoint_url="http://x"), Reason.TIMEOUT),
        (boto.ConnectTimeoutError(endpoint_url="http://x"), Reason.TIMEOUT),
        (boto.EndpointConnectionError(endpoint_url="http://x"), Reason.CONNECTION),
        (boto.ConnectionClosedError(endpoint_url="http://x"), Reason.CONNECTION),
        (boto.SSLError(endpoint_url="http://x", error=OSError()), Reason.CONNECTION),
        (boto.ParamValidationError(report="r"), Reason.INVALID_REQUEST),
        (ResponseParserError("r"), Reason.MALFORMED),
        (AttributeError("'str' object has no attribute 'get'"), Reason.MALFORMED),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"), Reason.MALFORMED),
        (MemoryError(), Reason.OTHER),
    ],
)
def test_library_exception_maps_to_reason(raised: Exception, reason: Reason) -> None:
    assert from_exception("ListUsers", raised).reason is reason


def test_error_text_has_operation_and_code_but_no_message() -> None:
    assert str(from_exception("AdminListDevices", client_error("AccessDeniedException"))) == (
        "AdminListDevices: AccessDeniedException"
    )


def test_error_of_assume_role_names_both_operations() -> None:
    error = from_exception("ListUsers", client_error("AccessDenied", 403, operation="AssumeRole"))
    assert str(error) == "ListUsers (AssumeRole): AccessDenied"
    assert error.reason is Reason.DENIED


def test_error_code_of_another_form_is_not_repeated() -> None:
    assert (
        str(from_exception("ListUsers", client_error('x\n"evil', 500, operation="ListUsers"))) == "ListUsers: HTTP 500"
    )
