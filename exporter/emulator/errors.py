"""AWS errors that the emulator returns: code, HTTP status and message."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape

JSON_TYPE = "application/x-amz-json-1.1"
XML_TYPE = "text/xml"

OK = "OK"
"""Code of a successful response."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """HTTP response, and its code: `OK` or AWS's error code."""

    status: int
    body: bytes
    code: str = OK
    content_type: str = JSON_TYPE


class ApiError(Exception):
    """Error response of AWS."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status

    def as_json(self) -> HttpResponse:
        """Return the error in Cognito's JSON protocol."""
        body = json.dumps({"__type": self.code, "message": self.message}).encode()
        return HttpResponse(self.status, body, self.code)

    def as_xml(self) -> HttpResponse:
        """Return the error in STS's query protocol."""
        body = (
            '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
            f"<Code>{escape(self.code)}</Code><Message>{escape(self.message)}</Message></Error></ErrorResponse>"
        ).encode()
        return HttpResponse(self.status, body, self.code, XML_TYPE)


def invalid_parameter(message: str) -> ApiError:
    """Return the error for invalid parameters."""
    return ApiError("InvalidParameterException", message)


def not_authorized(message: str) -> ApiError:
    """Return the error for an invalid access token or password."""
    return ApiError("NotAuthorizedException", message)


def pool_not_found(pool_id: str) -> ApiError:
    """Return the error for a pool that is not in this account and Region."""
    return ApiError("ResourceNotFoundException", f"User pool {pool_id} does not exist.")


def group_not_found() -> ApiError:
    """Return the error for a group that is not in the pool."""
    return ApiError("ResourceNotFoundException", "Group not found.")


def device_not_found() -> ApiError:
    """Return the error for a device that the user does not have."""
    return ApiError("ResourceNotFoundException", "Device does not exist.")


def user_not_found() -> ApiError:
    """Return the error for a user who is not in the pool."""
    return ApiError("UserNotFoundException", "User does not exist.")


def tracking_off() -> ApiError:
    """Return the error for a pool without device tracking."""
    return ApiError("InvalidUserPoolConfigurationException", "User pool does not have device tracking configured.")
