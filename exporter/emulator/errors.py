"""AWS's errors, as they leave the emulator: a code, an HTTP status, a message."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape

JSON_TYPE = "application/x-amz-json-1.1"
XML_TYPE = "text/xml"

OK = "OK"
"""The answered code of a request that succeeded."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, and the code it stands for: `OK` or AWS's error code."""

    status: int
    body: bytes
    code: str = OK
    content_type: str = JSON_TYPE


class Refusal(Exception):
    """A request that AWS answers with an error."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status

    def as_json(self) -> Answer:
        """The error as Cognito's JSON protocol gives it."""
        body = json.dumps({"__type": self.code, "message": self.message}).encode()
        return Answer(self.status, body, self.code)

    def as_xml(self) -> Answer:
        """The error as STS's query protocol gives it."""
        body = (
            '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
            f"<Code>{escape(self.code)}</Code><Message>{escape(self.message)}</Message></Error></ErrorResponse>"
        ).encode()
        return Answer(self.status, body, self.code, XML_TYPE)


def invalid_parameter(message: str) -> Refusal:
    """The parameters are wrong."""
    return Refusal("InvalidParameterException", message)


def not_authorized(message: str) -> Refusal:
    """The access token or password is not accepted."""
    return Refusal("NotAuthorizedException", message)


def pool_not_found(pool_id: str) -> Refusal:
    """There is no such pool in this account and Region."""
    return Refusal("ResourceNotFoundException", f"User pool {pool_id} does not exist.")


def group_not_found() -> Refusal:
    """There is no such group in the pool."""
    return Refusal("ResourceNotFoundException", "Group not found.")


def device_not_found() -> Refusal:
    """The user has no such device."""
    return Refusal("ResourceNotFoundException", "Device does not exist.")


def user_not_found() -> Refusal:
    """There is no such user in the pool."""
    return Refusal("UserNotFoundException", "User does not exist.")


def tracking_off() -> Refusal:
    """The pool does not remember devices."""
    return Refusal("InvalidUserPoolConfigurationException", "User pool does not have device tracking configured.")
