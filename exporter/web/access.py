"""Access control: rate limit, passwords and client certificates."""

from __future__ import annotations

import ssl
from http import HTTPStatus
from threading import Lock
from typing import Any

from exporter.clock import Clock
from exporter.config.web.settings import RateLimit, Tls, WebSettings
from exporter.config.web.tls import canonical_san
from exporter.web.messages import RETRY_AFTER, Request, Response, busy, text
from exporter.web.passwords import AuthResult, PasswordChecker

_CHALLENGE = ("WWW-Authenticate", 'Basic realm="cognito-device-exporter", charset="UTF-8"')
_SAN_TYPES = frozenset({"DNS", "IP Address", "email", "URI"})


class TokenBucket:
    """Token bucket of `limit.burst` tokens; one is added every `limit.interval` seconds. Thread-safe."""

    def __init__(self, limit: RateLimit, clock: Clock) -> None:
        self.limit = limit
        self._clock = clock
        self._lock = Lock()
        self._tokens = float(limit.burst)
        self._updated = clock.monotonic()

    def try_take(self) -> bool:
        """Take a token; return False if there is none."""
        with self._lock:
            now = self._clock.monotonic()
            added = (now - self._updated) / self.limit.interval
            self._tokens = min(float(self.limit.burst), self._tokens + added)
            self._updated = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True


class Authenticator:
    """Checks requests for pages that are not public."""

    def __init__(self, clock: Clock, passwords: PasswordChecker | None = None) -> None:
        self._clock = clock
        self._passwords = passwords or PasswordChecker()
        self._bucket: TokenBucket | None = None

    def reject(self, request: Request, settings: WebSettings) -> Response | None:
        """Return the response to a request that is rejected, or None if the request is allowed."""
        if settings.rate_limit is not None and not self._bucket_for(settings.rate_limit).try_take():
            return text(HTTPStatus.TOO_MANY_REQUESTS, "too many requests", RETRY_AFTER)
        if not settings.users:
            return None
        match self._passwords.check(request.headers.get("authorization"), settings.users):
            case AuthResult.VALID:
                return None
            case AuthResult.BUSY:
                return busy("too many concurrent password checks")
            case AuthResult.INVALID:
                return text(HTTPStatus.UNAUTHORIZED, "unauthorized", _CHALLENGE)

    def _bucket_for(self, limit: RateLimit) -> TokenBucket:
        bucket = self._bucket
        if bucket is None or bucket.limit != limit:
            self._bucket = bucket = TokenBucket(limit, self._clock)
        return bucket


def client_certificate_allowed(tls: Tls, connection: ssl.SSLObject) -> bool:
    """Return whether the client certificate has an allowed name, or is absent and not required.

    The handshake has already verified the certificate.
    """
    certificate = connection.getpeercert()
    if not certificate:
        return not tls.requires_certificate
    if tls.allowed_sans is None:
        return True
    names: Any = certificate.get("subjectAltName", ())  # pairs, which the stubs do not say
    return any(kind in _SAN_TYPES and canonical_san(value) in tls.allowed_sans for kind, value in names)
