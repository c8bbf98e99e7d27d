"""The web configuration as it is written, in the format of Prometheus's exporter-toolkit."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator

from exporter.config.schema import Strict
from exporter.config.schema import key as setting
from exporter.config.validators import distinct, file_path, not_blank, not_empty
from exporter.config.web import validators as web_checks

Text = Annotated[str, AfterValidator(not_blank)]
FileName = Annotated[str, AfterValidator(file_path)]
Pem = Annotated[Text | None, BeforeValidator(web_checks.unset)]
"""Empty is as good as absent, as in the original: templates write it."""
PemFile = Annotated[FileName | None, BeforeValidator(web_checks.unset)]

HeaderText = Annotated[str, BeforeValidator(web_checks.number_as_text), AfterValidator(web_checks.header_value)]
Given = BeforeValidator(web_checks.given)
"""A section that is named and has nothing in it protects nothing: whoever wrote it meant something else."""

_VERSION = "TLS12 or TLS13"
_HEADER = "text of one line, in ASCII"


class TlsServer(Strict):
    """How connections are encrypted."""

    cert: Pem = setting(None, "a certificate in PEM", "The certificate and its chain.")
    key: Pem = setting(None, "a private key in PEM", "The certificate's key.")
    client_ca: Pem = setting(None, "certificates in PEM", "Who may sign the certificates of clients.")
    cert_file: PemFile = setting(None, "the path of a certificate in PEM", "As `cert`, in a file.")
    key_file: PemFile = setting(None, "the path of a private key in PEM", "As `key`, in a file.")
    client_ca_file: PemFile = setting(None, "the path of certificates in PEM", "As `client_ca`, in a file.")
    client_auth_type: Annotated[
        str, BeforeValidator(web_checks.no_policy), AfterValidator(web_checks.client_auth_type)
    ] = setting(
        "NoClientCert",
        "NoClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert",
        "What is asked of clients.",
    )
    client_allowed_sans: Annotated[list[Text], AfterValidator(not_empty)] | None = setting(
        None, "a list of at least one name", "The names of which a client's certificate must have one."
    )
    min_version: Annotated[str, AfterValidator(web_checks.version)] = setting("TLS12", _VERSION, "The oldest version.")
    max_version: Annotated[str, AfterValidator(web_checks.version)] = setting("TLS13", _VERSION, "The newest version.")
    cipher_suites: Annotated[
        list[Annotated[str, AfterValidator(web_checks.cipher_suite)]], AfterValidator(distinct)
    ] = setting([], "names of Go's secure cipher suites, each once", "The suites of TLS 1.2, the best first.")
    prefer_server_cipher_suites: bool = setting(
        True,  # noqa: FBT003 - the default of a key, not a switch
        "true or false",
        "Whose order of suites counts.",
    )
    curve_preferences: Annotated[
        list[Annotated[str, AfterValidator(web_checks.curve)]], AfterValidator(web_checks.one_curve)
    ] = setting([], "one of CurveP256, CurveP384, CurveP521 and X25519", "The curve of key exchanges.")


class Headers(Strict):
    """Headers of every answer; blank is as good as absent."""

    content_security_policy: HeaderText = setting("", _HEADER, "", alias="Content-Security-Policy")
    x_frame_options: Literal["deny", "sameorigin", ""] = setting("", "deny or sameorigin", "", alias="X-Frame-Options")
    x_content_type_options: Literal["nosniff", ""] = setting("", "nosniff", "", alias="X-Content-Type-Options")
    x_xss_protection: HeaderText = setting("", _HEADER, "", alias="X-XSS-Protection")
    strict_transport_security: HeaderText = setting("", _HEADER, "", alias="Strict-Transport-Security")


class HttpServer(Strict):
    """How answers look."""

    http2: bool = setting(
        True,  # noqa: FBT003 - as above
        "true or false",
        "Accepted for files that other exporters share: HTTP/1.1 is what is spoken.",
    )
    headers: Annotated[Headers | None, Given] = setting(None, "a mapping of headers", "Sent with every answer.")


class RateLimits(Strict):
    """How often may be asked."""

    interval: Annotated[str, BeforeValidator(web_checks.zero_as_text), AfterValidator(web_checks.pause)] = setting(
        "0", "a duration such as 1s or 100ms, or 0 for no limit", "The time between two requests."
    )
    burst: int = setting(0, "a whole number", "How many may come at once.")


class WebRoot(Strict):
    """The whole file."""

    tls_server_config: Annotated[TlsServer | None, Given] = setting(None, "a mapping with a certificate and a key", "")
    http_server_config: Annotated[HttpServer | None, Given] = setting(None, "a mapping", "")
    basic_auth_users: Annotated[dict[str, Any] | None, Given] = setting(
        None, "a mapping of user names to bcrypt hashes", "Who may read the pages. The hashes are checked one by one."
    )
    rate_limit: Annotated[RateLimits | None, Given] = setting(None, "a mapping with the keys interval and burst", "")
