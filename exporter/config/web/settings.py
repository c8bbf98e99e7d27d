"""What protects the pages, as the server uses it: frozen, checked, ready."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Stamp:
    """What tells one content of a file, and who may read it, from another without reading it."""

    modified_ns: int
    size: int
    inode: int
    device: int
    mode: int
    owner: int
    group: int


@dataclass(frozen=True, slots=True)
class RateLimit:
    """A token bucket: a request each `interval` seconds, and `burst` of them at once."""

    interval: float
    burst: int


@dataclass(frozen=True, slots=True)
class Tls:
    """How connections are encrypted, and what a client must show for it."""

    context: ssl.SSLContext = field(compare=False, repr=False)
    fingerprint: bytes = field(repr=False)
    """Of everything that went into the context: equal fingerprints, equal TLS."""
    demands: bytes = field(repr=False)
    """Of what is asked of a client: equal demands admit the same clients."""
    requires_certificate: bool
    """Whether only a client with a verified certificate is served."""
    allowed_sans: frozenset[str] | None
    """A client's certificate must have one of these names; None allows every name."""


@dataclass(frozen=True, slots=True)
class WebSettings:
    """The whole file; without one, nothing is asked of anybody."""

    tls: Tls | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with every answer, by their names as in the file."""
    users: Mapping[bytes, bytes] = field(default_factory=dict, repr=False)
    """The bcrypt hash of each user; with none, nobody is asked for a password."""
    rate_limit: RateLimit | None = None
    stamps: Mapping[Path, Stamp | None] = field(default_factory=dict, repr=False)
    """Of every file that was read for this, from just before."""
    doubts: tuple[str, ...] = ()
    """What is no fault, and yet will not work for everybody: a certificate that has expired."""

    @property
    def authenticates(self) -> bool:
        """Whether nobody reads a page without a password or a verified certificate."""
        return bool(self.users) or (self.tls is not None and self.tls.requires_certificate)
