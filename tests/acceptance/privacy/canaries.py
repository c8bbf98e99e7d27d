"""Unique values that must not appear anywhere; finding one means a leak."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from dataclasses import dataclass, field

NAME = "canary-alice-5f1c"
SECOND_NAME = "canary-bob-77aa"
EMAIL = "canary-mail-31d9@example.com"
SUB = "cafecafe-0001-4000-8000-c0ffeec0ffee"
IP = "203.0.113.77"
DEVICE_NAME = "canary-laptop-e210"
GROUP = "canary-group-42b7"
ROLE = "canary-role-9d3e"
ROLE_ARN = f"arn:aws:iam::123456789012:role/{ROLE}"
CALLER_ARN = "arn:aws:sts::123456789012:assumed-role/canary-caller-6e55/canary-session-a0b1"
EXTERNAL_ID = "canary-external-id-c4d5"
ACCESS_KEY = "AKIACANARY0000000001"
SECRET_KEY = "canary/secret+key/90ab12cd"
SESSION_TOKEN = "canary-session-token-ef34"
ROLE_ACCESS_KEY = "ASIACANARY0000000002"
ROLE_SECRET_KEY = "canary/role+secret/77ff"
ROLE_TOKEN = "canary-role-token-1b2c"
PASSWORD = "canary-password-88e1"
WRONG_PASSWORD = "canary-guess-d00d"
WEB_USER = "canary-web-user-1a2b"
IDENTITY_KEY = "canary-identity-key-3c4d5e6f"
ENDPOINT_PASSWORD = "canary-endpoint-password-0f0f"
AWS_MESSAGE = "canary-message-of-aws-a9a9"
"""Part of every AWS error message, which may contain anything."""

PEOPLE = (NAME, SECOND_NAME, EMAIL, SUB)
SECRETS = (
    EXTERNAL_ID,
    ACCESS_KEY,
    SECRET_KEY,
    SESSION_TOKEN,
    ROLE_ACCESS_KEY,
    ROLE_SECRET_KEY,
    ROLE_TOKEN,
    PASSWORD,
    WRONG_PASSWORD,
    IDENTITY_KEY,
    ENDPOINT_PASSWORD,
)


@dataclass(frozen=True, slots=True)
class Canaries:
    """Set of values to search for; bcrypt hashes are created for each test."""

    texts: tuple[str, ...]
    password_hash: str = field(repr=False)

    def without(self, *allowed: str) -> Canaries:
        """Return the set without values that the operator has chosen to show."""
        return Canaries(tuple(text for text in self.texts if text not in allowed), self.password_hash)

    def found_in(self, content: bytes) -> list[str]:
        """Return the values that the content contains, as they are or in a reversible encoding."""
        forms = [(text, form) for text in self.texts for form in _forms(text)]
        forms += [("bcrypt hash", self.password_hash.encode()), ("bcrypt hash", self.password_hash[29:].encode())]
        for user, password in ((WEB_USER, PASSWORD), (WEB_USER, WRONG_PASSWORD)):
            forms.append(("Authorization header", b64encode(f"{user}:{password}".encode())))
        return sorted({text for text, form in forms if form in content})


def _forms(text: str) -> tuple[bytes, ...]:
    """Return encodings of a value, including unkeyed digests, which allow guessing."""
    plain = text.encode()
    digest = hashlib.sha256(plain).digest()
    return (
        plain,
        plain.hex().encode(),
        b64encode(plain).rstrip(b"="),
        text.encode("utf-16-le"),
        digest[:8],
        digest[:8].hex().encode(),
    )


def everything(password_hash: str) -> Canaries:
    """Return all canaries."""
    texts = (*PEOPLE, *SECRETS, IP, DEVICE_NAME, GROUP, ROLE, ROLE_ARN, CALLER_ARN, "canary-caller", AWS_MESSAGE)
    return Canaries(texts, password_hash)
