"""Web configuration as the server uses it: checked and frozen."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Token bucket: one request per `interval` seconds, and up to `burst` at once."""

    interval: float
    burst: int


@dataclass(frozen=True, slots=True)
class Tls:
    """TLS of the server, and what it requires of clients."""

    context: ssl.SSLContext = field(compare=False, repr=False)
    fingerprint: bytes = field(repr=False)
    """Digest of everything that the context is made of."""
    client_auth_digest: bytes = field(repr=False)
    """Digest of what is required of clients: with equal digests, the same clients are allowed."""
    requires_certificate: bool
    """True if only clients with a verified certificate are served."""
    allowed_sans: frozenset[str] | None
    """Names of which a client certificate must have at least one; None allows all names."""


@dataclass(frozen=True, slots=True)
class WebSettings:
    """Web configuration; the default is plain HTTP without authentication."""

    tls: Tls | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of every response, by their names in the file."""
    users: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    """bcrypt hash by user name; empty if no password is required."""
    rate_limit: RateLimit | None = None
    files: tuple[Path, ...] = ()
    """Files that were read for it."""
    warnings: tuple[str, ...] = ()
    """Reasons why clients may fail to connect, such as an expired certificate."""

    @property
    def authenticates(self) -> bool:
        """True if every client needs a password or a verified certificate."""
        return bool(self.users) or (self.tls is not None and self.tls.requires_certificate)
