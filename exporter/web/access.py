"""Who is let in: the one place that decides about a client's certificate and a request's credentials."""

from __future__ import annotations

import ssl
from http import HTTPStatus
from typing import Any

from exporter.clock import Clock
from exporter.config.web.settings import RateLimit, Tls, WebSettings
from exporter.config.web.tls import canonical_san
from exporter.web.config_watcher import WebConfig
from exporter.web.messages import Request, Response, text
from exporter.web.passwords import AuthResult, PasswordChecker
from exporter.web.rate_limit import TokenBucket

_REALM = ("WWW-Authenticate", 'Basic realm="cognito-device-exporter", charset="UTF-8"')
_SAN_KINDS = frozenset({"DNS", "IP Address", "email", "URI"})


class Authenticator:
    """Stands before every page that is not public."""

    def __init__(self, config: WebConfig, clock: Clock, passwords: PasswordChecker | None = None) -> None:
        self._config = config
        self._clock = clock
        self._passwords = passwords or PasswordChecker()
        self._pace: TokenBucket | None = None

    @property
    def in_force(self) -> WebSettings:
        """What holds, without a look at the files."""
        return self._config.in_force

    def current(self) -> WebSettings:
        """What holds for a connection or a request that comes now."""
        return self._config.current()

    def refusal(self, request: Request, settings: WebSettings) -> Response | None:
        """Why a request is not let in; None when it is."""
        if settings.rate_limit is not None and not self._paced(settings.rate_limit).admits():
            return text(HTTPStatus.TOO_MANY_REQUESTS, "too many requests", ("Retry-After", "1"))
        if not settings.users:
            return None
        match self._passwords.verdict(request.headers.get("authorization"), settings.users):
            case AuthResult.RIGHT:
                return None
            case AuthResult.BUSY:
                return text(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    "too many passwords to compare at the same time",
                    ("Retry-After", "1"),
                )
            case AuthResult.WRONG:
                return text(HTTPStatus.UNAUTHORIZED, "unauthorized", _REALM)

    def _paced(self, limit: RateLimit) -> TokenBucket:
        pace = self._pace
        if pace is None or pace.limit != limit:
            self._pace = pace = TokenBucket(limit, self._clock)
        return pace


def client_certificate_allowed(tls: Tls, connection: ssl.SSLObject) -> bool:
    """Whether a client whose certificate, if it gave one, is verified has a name that is allowed."""
    certificate = connection.getpeercert()
    if not certificate:
        return not tls.requires_certificate
    if tls.allowed_sans is None:
        return True
    names: Any = certificate.get("subjectAltName", ())  # pairs, which the stubs do not say
    return any(kind in _SAN_KINDS and canonical_san(value) in tls.allowed_sans for kind, value in names)
