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
class Answer:
    """HTTP response, and its code: `OK` or AWS's error code."""

    status: int
    body: bytes
    code: str = OK
    content_type: str = JSON_TYPE


class Refusal(Exception):
    """Error response of AWS."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status

    def as_json(self) -> Answer:
        """Return the error in Cognito's JSON protocol."""
        body = json.dumps({"__type": self.code, "message": self.message}).encode()
        return Answer(self.status, body, self.code)

    def as_xml(self) -> Answer:
        """Return the error in STS's query protocol."""
        body = (
            '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
            f"<Code>{escape(self.code)}</Code><Message>{escape(self.message)}</Message></Error></ErrorResponse>"
        ).encode()
        return Answer(self.status, body, self.code, XML_TYPE)


def invalid_parameter(message: str) -> Refusal:
    """Return the error for invalid parameters."""
    return Refusal("InvalidParameterException", message)


def not_authorized(message: str) -> Refusal:
    """Return the error for an invalid access token or password."""
    return Refusal("NotAuthorizedException", message)


def pool_not_found(pool_id: str) -> Refusal:
    """Return the error for a pool that is not in this account and Region."""
    return Refusal("ResourceNotFoundException", f"User pool {pool_id} does not exist.")


def group_not_found() -> Refusal:
    """Return the error for a group that is not in the pool."""
    return Refusal("ResourceNotFoundException", "Group not found.")


def device_not_found() -> Refusal:
    """Return the error for a device that the user does not have."""
    return Refusal("ResourceNotFoundException", "Device does not exist.")


def user_not_found() -> Refusal:
    """Return the error for a user who is not in the pool."""
    return Refusal("UserNotFoundException", "User does not exist.")


def tracking_off() -> Refusal:
    """Return the error for a pool without device tracking."""
    return Refusal("InvalidUserPoolConfigurationException", "User pool does not have device tracking configured.")
