"""Password check for HTTP Basic authentication."""

from __future__ import annotations

import binascii
import hashlib
import hmac
import secrets
from base64 import b64decode
from collections import OrderedDict
from collections.abc import Callable, Mapping
from enum import Enum, auto
from threading import BoundedSemaphore, Lock

import bcrypt

MAX_CACHED = 1000
"""Correct passwords to cache; failed ones are not cached."""

WAIT_SECONDS = 5.0
"""Timeout for a request to wait for other comparisons."""

MAX_WAITING = 16
"""Requests that wait; further ones are rejected at once, so that they do not hold connections."""

MAX_PASSWORD_BYTES = 72
"""bcrypt ignores the bytes that follow, so it would accept any longer password with the same start."""

_MAX_HEADER_LENGTH = 4096

Compare = Callable[[bytes, bytes], bool]


class AuthResult(Enum):
    """Result of a password check."""

    VALID = auto()
    INVALID = auto()
    BUSY = auto()
    """Not checked: too many other checks are in progress."""


class PasswordChecker:
    """Compares passwords with bcrypt hashes, one at a time, and caches correct ones. Thread-safe.

    bcrypt is slow by design: password guessing uses one processor at most. A cached password does not wait.
    """

    def __init__(self, *, compare: Compare = bcrypt.checkpw, wait_seconds: float = WAIT_SECONDS) -> None:
        self._compare = compare
        self._wait_seconds = wait_seconds
        self._secret = secrets.token_bytes(32)
        self._cache: OrderedDict[bytes, None] = OrderedDict()  # keyed digests, the least recently used first
        self._cache_lock = Lock()
        self._compare_lock = Lock()
        self._slots = BoundedSemaphore(MAX_WAITING + 1)

    def check(self, authorization: str | None, users: Mapping[bytes, bytes]) -> AuthResult:
        """Check the value of an Authorization header; `users` has the hash of each user and is not empty."""
        credentials = _parse_basic(authorization)
        if credentials is None:
            return AuthResult.INVALID
        name, password = credentials
        known = users.get(name)
        # Comparing for an unknown user, too, keeps the response time from revealing which users exist.
        hashed = self._decoy_hash(name, users) if known is None else known
        digest = self._digest(name, hashed, password)
        if known is not None and self._is_cached(digest):
            return AuthResult.VALID
        if not self._slots.acquire(blocking=False):
            return AuthResult.BUSY
        try:
            if not self._compare_lock.acquire(timeout=self._wait_seconds):
                return AuthResult.BUSY
            try:
                matches = self._compare(password, hashed)
            finally:
                self._compare_lock.release()
        finally:
            self._slots.release()
        if not matches or known is None:
            return AuthResult.INVALID
        self._add_to_cache(digest)
        return AuthResult.VALID

    def _decoy_hash(self, name: bytes, users: Mapping[bytes, bytes]) -> bytes:
        """Return the hash of some user, always the same for a name, because hashes may differ in cost."""
        index = int.from_bytes(self._digest(name), "big") % len(users)
        return sorted(users.values())[index]

    def _digest(self, *parts: bytes) -> bytes:
        digest = hmac.new(self._secret, digestmod=hashlib.sha256)
        for part in parts:
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return digest.digest()

    def _is_cached(self, digest: bytes) -> bool:
        with self._cache_lock:
            if digest not in self._cache:
                return False
            self._cache.move_to_end(digest)
            return True

    def _add_to_cache(self, digest: bytes) -> None:
        with self._cache_lock:
            self._cache[digest] = None
            if len(self._cache) > MAX_CACHED:
                self._cache.popitem(last=False)


def _parse_basic(authorization: str | None) -> tuple[bytes, bytes] | None:
    """Return the user name and password of a Basic Authorization header, or None if it is anything else."""
    if authorization is None or len(authorization) > _MAX_HEADER_LENGTH:
        return None
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = b64decode(encoded.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return None
    name, colon, password = decoded.partition(b":")
    # bcrypt repeats a password with a NUL after it: without this check, several passwords would match one hash.
    if not colon or len(password) > MAX_PASSWORD_BYTES or b"\0" in password:
        return None
    return name, password
