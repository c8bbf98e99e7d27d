"""What the value of a single key of the web configuration must satisfy beyond its type."""

from __future__ import annotations

import re

from exporter.config.duration import parse_duration
from exporter.config.validators import invalid, invalid_type

CIPHERS = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
}
"""The suites of TLS 1.2 that Go counts as secure, and what OpenSSL calls them."""

TLS13_CIPHERS = frozenset({"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"})
"""Always on in TLS 1.3; neither Go nor Python's ssl lets one choose among them."""

CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}

MAX_BCRYPT_COST = 18
"""Each step doubles the work of a comparison: 18 takes seconds, 31 a day."""

_ASKED = {"NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"}
_UNVERIFIED = {"RequestClientCert", "RequireAnyClientCert", "RequireClientCert"}
_OLD_VERSIONS = {"TLS10", "TLS11"}
_VERSIONS = {"TLS12", "TLS13"}
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{21}([./A-Za-z0-9])[./A-Za-z0-9]{31}")
_ENDS_OF_SALTS = frozenset(".Oeu")
"""A salt has 128 bits, which leaves two to its last character: with another, no password can be compared at all."""


def given(value: object) -> object:
    """Anything but nothing."""
    if value is None:
        raise invalid_type()
    return value


def unset(value: object) -> object:
    """Nothing in the place of empty text."""
    return None if value == "" else value


def no_policy(value: object) -> object:
    """The policy that asks for nothing where none is named."""
    return "NoClientCert" if value in (None, "") else value


def client_auth_type(value: str) -> str:
    """One of Go's policies that Python can follow."""
    if value in _UNVERIFIED:
        raise invalid("Python verifies every certificate that it asks for")
    if value not in _ASKED:
        raise invalid("unknown value")
    return value


def version(value: str) -> str:
    """A version of TLS that OpenSSL speaks as it is usually built."""
    if value in _OLD_VERSIONS:
        raise invalid("OpenSSL speaks this version no more")
    if value not in _VERSIONS:
        raise invalid("unknown value")
    return value


def cipher_suite(value: str) -> str:
    """A suite by Go's name."""
    if value not in CIPHERS and value not in TLS13_CIPHERS:
        raise invalid("unknown value")
    return value


def curve(value: str) -> str:
    """A curve by Go's name."""
    if value not in CURVES:
        raise invalid("unknown value")
    return value


def one_curve(values: list[str]) -> list[str]:
    """At most one: `SSLContext.set_ecdh_curve` takes no more."""
    if len(values) > 1:
        raise invalid("Python can be told one curve and not several")
    return values


def number_as_text(value: object) -> object:
    """A whole number as it would be written: `X-XSS-Protection: 1`."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def header_value(value: str) -> str:
    """What can stand in a header."""
    if not _HEADER_VALUE.fullmatch(value):
        raise invalid("more than a header can hold")
    return value.strip()


def zero_as_text(value: object) -> object:
    """The number 0, which needs no unit."""
    return "0" if value == 0 and not isinstance(value, bool) else value


def pause(value: str) -> str:
    """A duration, zero included."""
    try:
        parse_duration(value)
    except ValueError as error:
        raise invalid(str(error)) from None
    return value


def hash_problem(value: object) -> str | None:
    """What is wrong with the hash of a password; never says the hash."""
    match = _BCRYPT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return "not a bcrypt hash"
    if not 4 <= int(match[1]) <= MAX_BCRYPT_COST:
        return "a bcrypt hash of a cost that is out of bounds"
    if match[2] not in _ENDS_OF_SALTS:
        return "a bcrypt hash with a damaged salt"
    return None
