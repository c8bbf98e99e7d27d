"""Who a user is on `/metrics`: a keyed fingerprint, or the name itself where the operator chose so.

A user is handled as its identity everywhere behind the sweep, so that names are forgotten as soon as
their devices are read.
"""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path
from typing import Protocol

from exporter.files import NotRegular, read_regular

IDENTITY_BYTES = 16
"""An HMAC identity has 128 bits."""

KEY_BYTES_MIN = 16
"""A shorter key could be guessed, and with it every name."""

KEY_FILE_BYTES_MAX = 1 << 16
"""A larger file is no key."""

_FINGERPRINT_OF = b"cognito-device-exporter"
"""No pool's user: pool ids have an underscore, and a zero byte follows them."""


class Identity(Protocol):
    """Turns user names into what is kept and shown."""

    @property
    def fingerprint(self) -> str:
        """Names the mode and the key without giving the key away: the same names under it, the same identities."""
        ...

    def of(self, pool_id: str, username: str) -> bytes:
        """The identity of a user of a pool, the key under which it is stored."""
        ...

    def label(self, identity: bytes) -> str:
        """The value of the label `user`."""
        ...

    def order(self, identity: bytes) -> bytes:
        """A stable pseudo-random sort key, by which users are kept under the series limit."""
        ...


class HmacIdentity:
    """HMAC-SHA256(key, pool id ‖ 0x00 ‖ user name), the first 128 bits, hexadecimal in the label."""

    def __init__(self, key: bytes) -> None:
        self._base = hmac.new(key, digestmod=hashlib.sha256)
        self.fingerprint = f"hmac {self._digest(_FINGERPRINT_OF)[:8].hex()}"

    def of(self, pool_id: str, username: str) -> bytes:
        """The first 16 bytes of the digest."""
        return self._digest(_encoded(pool_id) + b"\x00" + _encoded(username))[:IDENTITY_BYTES]

    def label(self, identity: bytes) -> str:
        """32 hexadecimal digits."""
        return identity.hex()

    def order(self, identity: bytes) -> bytes:
        """The digest is already pseudo-random."""
        return identity

    def _digest(self, message: bytes) -> bytes:
        digest = self._base.copy()
        digest.update(message)
        return digest.digest()


class RawIdentity:
    """The user name as it is."""

    fingerprint = "raw"

    def of(self, pool_id: str, username: str) -> bytes:  # noqa: ARG002 - the pool plays no part in a raw name
        """The name in UTF-8; lone surrogates survive."""
        return _encoded(username)

    def label(self, identity: bytes) -> str:
        """The name. Of one that UTF-8 cannot carry a stand-in, with a digest that keeps two such names apart."""
        try:
            return identity.decode()
        except UnicodeDecodeError:
            return f"{identity.decode('utf-8', 'replace')} {self.order(identity).hex()}"

    def order(self, identity: bytes) -> bytes:
        """A hash without a key: the name itself is no even order."""
        return hashlib.sha256(identity).digest()[:IDENTITY_BYTES]


def read_key(path: Path) -> bytes:
    """The key in a file: all of its bytes, but for line ends at the close.

    Raises `OSError` when the file cannot be read and `ValueError`, whose text says what was expected,
    when it is a pipe or a device, others may reach it, or it is too long or too short.
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
    """The most that a key file's mode may permit, by the id of its owner.

    A Secret that Kubernetes mounts belongs to root, and a process without root reads it through the pod's
    `fsGroup`, for which the kubelet makes 0400 into 0440: root chose that group. PostgreSQL draws the same line for
    its keys.
    """
    return 0o640 if owner == 0 else 0o600


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
