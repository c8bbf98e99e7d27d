"""Identity of a user on `/metrics`: a keyed hash of the name, or the name itself if the operator chose `raw`.

All stages after the sweep use identities only. Names are dropped as soon as their devices have been read.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Protocol

from exporter.files import NotRegular, read_regular

IDENTITY_BYTES = 16
"""Size of an HMAC identity: 128 bits."""

KEY_BYTES_MIN = 16
"""A shorter key could be guessed, and with it every user name."""

KEY_FILE_BYTES_MAX = 1 << 16
"""Maximum size of a key file."""

_FINGERPRINT_OF = b"cognito-device-exporter"
"""Message whose HMAC identifies the key. It is not the message of any user: those begin with a pool id and NUL."""


class Identity(Protocol):
    """Maps user names to what is stored and exposed."""

    @property
    def fingerprint(self) -> str:
        """Identifies the mode and the key without revealing it. With equal fingerprints, identities are equal."""
        ...

    def of(self, pool_id: str, username: str) -> bytes:
        """Return the identity of a user, the key under which it is stored."""
        ...

    def label(self, identity: bytes) -> str:
        """Return the value of the label `user`."""
        ...

    def order(self, identity: bytes) -> bytes:
        """Return a stable pseudo-random sort key, which decides which users stay within the series limit."""
        ...


class HmacIdentity:
    """HMAC-SHA256(key, pool id ‖ 0x00 ‖ user name), truncated to 128 bits; hexadecimal in the label."""

    def __init__(self, key: bytes) -> None:
        self._base = hmac.new(key, digestmod=hashlib.sha256)
        self.fingerprint = f"hmac {self._digest(_FINGERPRINT_OF)[:8].hex()}"

    def of(self, pool_id: str, username: str) -> bytes:
        """Return the first 16 bytes of the digest."""
        return self._digest(_encoded(pool_id) + b"\x00" + _encoded(username))[:IDENTITY_BYTES]

    def label(self, identity: bytes) -> str:
        """Return 32 hexadecimal digits."""
        return identity.hex()

    def order(self, identity: bytes) -> bytes:
        """Return the identity, which is pseudo-random already."""
        return identity

    def _digest(self, message: bytes) -> bytes:
        digest = self._base.copy()
        digest.update(message)
        return digest.digest()


class RawIdentity:
    """User name as it is."""

    fingerprint = "raw"

    def of(self, pool_id: str, username: str) -> bytes:  # noqa: ARG002 - names do not depend on the pool
        """Return the name in UTF-8; lone surrogates are kept."""
        return _encoded(username)

    def label(self, identity: bytes) -> str:
        """Return the name; if it is invalid UTF-8, with replacement characters and a digest that keeps it unique."""
        try:
            return identity.decode()
        except UnicodeDecodeError:
            return f"{identity.decode('utf-8', 'replace')} {self.order(identity).hex()}"

    def order(self, identity: bytes) -> bytes:
        """Return an unkeyed hash, because names themselves are not evenly distributed."""
        return hashlib.sha256(identity).digest()[:IDENTITY_BYTES]


def read_key(path: Path) -> bytes:
    """Return the content of a key file without trailing line ends.

    Raises `OSError` if the file cannot be read, and `ValueError`, whose text says what was expected, if it is a pipe or
    a device, if others may access it, or if it is too long or too short.
    """
    try:
        content, status = read_regular(path, KEY_FILE_BYTES_MAX + 1)
    except NotRegular as error:
        raise ValueError(str(error)) from None
    mode, allowed = status.st_mode & 0o777, allowed_mode(status.st_uid)
    if mode & 0o077 & ~allowed:
        raise ValueError(f"expected mode {allowed:04o} or stricter, found {mode:04o}: others could read the key")
    if len(content) > KEY_FILE_BYTES_MAX:
        raise ValueError(f"too large, expected a key in a file of at most {KEY_FILE_BYTES_MAX} bytes")
    key = content.rstrip(b"\r\n")
    if len(key) < KEY_BYTES_MIN:
        raise ValueError(f"expected a key of at least {KEY_BYTES_MIN} bytes, found {len(key)}")
    return key


def allowed_mode(owner: int) -> int:
    """Return the least strict mode allowed for a key file with this owner id.

    A Secret mounted by Kubernetes belongs to root. A process without root reads it through the pod's `fsGroup`, for
    which the kubelet changes 0400 to 0440. PostgreSQL has the same rule for its keys.
    """
    return 0o640 if owner == 0 else 0o600


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
