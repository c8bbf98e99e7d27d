"""Schema of the web configuration file, in the format of Prometheus' exporter-toolkit."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator

from exporter.config.schema import Strict
from exporter.config.schema import key as setting
from exporter.config.validators import (
    distinct,
    file_path,
    invalid,
    invalid_type,
    milliseconds,
    not_blank,
    not_empty,
)

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
"""TLS 1.2 cipher suites that Go considers secure, with their names in OpenSSL before 3.2."""

TLS13_CIPHERS = frozenset({"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"})
"""Always enabled in TLS 1.3: neither Go nor Python's ssl can select among them."""

CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1", "X25519": "X25519"}
"""Curves by their Go names, with their names in OpenSSL."""

MAX_BCRYPT_COST = 18
"""Maximum cost of a hash. Each step doubles the time of a comparison: 18 takes seconds, 31 takes a day."""

_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")
_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{21}([./A-Za-z0-9])[./A-Za-z0-9]{31}")
_LAST_OF_SALT = frozenset(".Oeu")
"""Last characters of a salt: its 128 bits leave two bits to it, and bcrypt accepts no other."""


def _not_null(value: object) -> object:
    if value is None:
        raise invalid_type()
    return value


def _empty_as_null(value: object) -> object:
    return None if value == "" else value


def _interval(value: object) -> int:
    """Parse a duration to milliseconds; the number 0 needs no unit."""
    return milliseconds("0" if value == 0 and not isinstance(value, bool) else value)


def _number_as_text(value: object) -> object:
    """Convert a whole number, for `X-XSS-Protection: 1`."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _header_value(value: str) -> str:
    if not _HEADER_VALUE.fullmatch(value):
        raise invalid("not printable ASCII")
    return value.strip()


def _one_of(allowed: Collection[str], unsupported: Collection[str] = (), reason: str = "") -> AfterValidator:
    """Return a validator of text that must be one of some values."""

    def validate(value: str) -> str:
        if value not in allowed:
            raise invalid(reason if value in unsupported else "unknown value")
        return value

    return AfterValidator(validate)


def _one_curve(values: list[str]) -> list[str]:
    if len(values) > 1:
        raise invalid("Python's ssl accepts only one curve")
    return values


def hash_problem(value: object) -> str | None:
    """Return the problem of a password hash, without the hash; None if it is valid."""
    match = _BCRYPT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return "not a bcrypt hash"
    if not 4 <= int(match[1]) <= MAX_BCRYPT_COST:
        return "a bcrypt hash with a cost out of range"
    if match[2] not in _LAST_OF_SALT:
        return "a bcrypt hash with an invalid salt"
    return None


ClientAuthType = Annotated[
    str,
    BeforeValidator(lambda value: "NoClientCert" if value in (None, "") else value),
    _one_of(
        ("NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"),
        ("RequestClientCert", "RequireAnyClientCert", "RequireClientCert"),
        "Python verifies every certificate that it requests",
    ),
]
Version = Annotated[str, _one_of(("TLS12", "TLS13"), ("TLS10", "TLS11"), "not supported by OpenSSL")]
CipherSuite = Annotated[str, _one_of(CIPHERS.keys() | TLS13_CIPHERS)]
Curve = Annotated[str, _one_of(CURVES)]
Text = Annotated[str, AfterValidator(not_blank)]
Pem = Annotated[Text | None, BeforeValidator(_empty_as_null)]
"""Empty is the same as absent, as in the exporter-toolkit: templates write it."""
PemFile = Annotated[Annotated[str, AfterValidator(file_path)] | None, BeforeValidator(_empty_as_null)]

HeaderText = Annotated[str, BeforeValidator(_number_as_text), AfterValidator(_header_value)]
NotNull = BeforeValidator(_not_null)
"""A section that is present and empty protects nothing, which the operator cannot have meant."""

_VERSION = "TLS12 or TLS13"
_HEADER = "text of one line, in ASCII"


class TlsServer(Strict):
    """TLS of the server."""

    cert: Pem = setting(None, "a certificate in PEM", "Certificate chain.")
    key: Pem = setting(None, "a private key in PEM", "Private key of the certificate.")
    client_ca: Pem = setting(None, "certificates in PEM", "Trusted issuers of client certificates.")
    cert_file: PemFile = setting(None, "the path of a certificate in PEM", "As `cert`, in a file.")
    key_file: PemFile = setting(None, "the path of a private key in PEM", "As `key`, in a file.")
    client_ca_file: PemFile = setting(None, "the path of certificates in PEM", "As `client_ca`, in a file.")
    client_auth_type: ClientAuthType = setting(
        "NoClientCert",
        "NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert",
        "Whether client certificates are requested and required.",
    )
    client_allowed_sans: Annotated[list[Text], AfterValidator(not_empty)] | None = setting(
        None, "a list of at least one name", "Names of which a client certificate must have at least one."
    )
    min_version: Version = setting("TLS12", _VERSION, "Minimum version.")
    max_version: Version = setting("TLS13", _VERSION, "Maximum version.")
    cipher_suites: Annotated[list[CipherSuite], AfterValidator(distinct)] = setting(
        [], "names of Go's secure cipher suites, each once", "Cipher suites of TLS 1.2, in order of preference."
    )
    prefer_server_cipher_suites: bool = setting(
        True,  # noqa: FBT003 - the default of a key, not a switch
        "true or false",
        "Whether the server's order of cipher suites takes precedence over the client's.",
    )
    curve_preferences: Annotated[list[Curve], AfterValidator(_one_curve)] = setting(
        [], "one of CurveP256, CurveP384, CurveP521 and X25519", "Curve of the key exchange."
    )


class Headers(Strict):
    """Headers of every response; an empty value is the same as absent."""

    content_security_policy: HeaderText = setting("", _HEADER, "", alias="Content-Security-Policy")
    x_frame_options: Literal["deny", "sameorigin", ""] = setting("", "deny or sameorigin", "", alias="X-Frame-Options")
    x_content_type_options: Literal["nosniff", ""] = setting("", "nosniff", "", alias="X-Content-Type-Options")
    x_xss_protection: HeaderText = setting("", _HEADER, "", alias="X-XSS-Protection")
    strict_transport_security: HeaderText = setting("", _HEADER, "", alias="Strict-Transport-Security")


class HttpServer(Strict):
    """Properties of every response."""

    http2: bool = setting(
        True,  # noqa: FBT003 - as above
        "true or false",
        "Accepted for files that are shared with other exporters; only HTTP/1.1 is served.",
    )
    headers: Annotated[Headers | None, NotNull] = setting(None, "a mapping of headers", "Headers of every response.")


class RateLimits(Strict):
    """Rate limit of requests to protected paths."""

    interval: Annotated[int, BeforeValidator(_interval)] = setting(
        "0", "a duration such as 1s or 100ms, or 0 for no limit", "Time between two requests, parsed to milliseconds."
    )
    burst: int = setting(0, "a whole number", "Maximum number of requests at once.")


class WebRoot(Strict):
    """Root of the web configuration file."""

    tls_server_config: Annotated[TlsServer | None, NotNull] = setting(
        None, "a mapping with a certificate and a key", ""
    )
    http_server_config: Annotated[HttpServer | None, NotNull] = setting(None, "a mapping", "")
    basic_auth_users: Annotated[dict[str, Any] | None, NotNull] = setting(
        None, "a mapping of user names to bcrypt hashes", "Users who may read the pages. Each hash is checked later."
    )
    rate_limit: Annotated[RateLimits | None, NotNull] = setting(None, "a mapping with the keys interval and burst", "")
