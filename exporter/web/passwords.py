"""Whether a request shows the name and the password of a user."""

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

CACHED = 1000
"""How many passwords that proved right are remembered; of a failed one nothing is."""

WAIT_SECONDS = 5.0
"""How long a request waits for its turn to be compared."""

WAITING = 16
"""How many wait for their turn; who comes then is told to come back, and holds no connection meanwhile."""

MAX_PASSWORD = 72
"""bcrypt looks at no more bytes: of a longer password it would take any that begins the same."""

_MAX_CREDENTIALS = 4096

Compare = Callable[[bytes, bytes], bool]


class AuthResult(Enum):
    """What became of a request's credentials."""

    RIGHT = auto()
    WRONG = auto()
    BUSY = auto()
    """Too many are being compared."""


class PasswordChecker:
    """Compares passwords one at a time, and remembers those that were right.

    bcrypt is slow by intent, so one thread at a time may use a processor for it, and a request with a password that has
    been right before does not queue behind those who guess.
    """

    def __init__(self, *, compare: Compare = bcrypt.checkpw, wait_seconds: float = WAIT_SECONDS) -> None:
        self._compare = compare
        self._wait_seconds = wait_seconds
        self._secret = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._lock = Lock()
        self._turn = Lock()
        self._places = BoundedSemaphore(WAITING + 1)

    def verdict(self, authorization: str | None, users: Mapping[bytes, bytes]) -> AuthResult:
        """Judge the value of an Authorization header; `users` has the hash of each name, and is not empty."""
        credentials = _credentials(authorization)
        if credentials is None:
            return AuthResult.WRONG
        name, password = credentials
        known = users.get(name)
        # An unknown user costs as much time as a known one, so that time does not tell who exists.
        hashed = self._someone(name, users) if known is None else known
        proof = self._digest(name, hashed, password)
        if known is not None and self._was_right(proof):
            return AuthResult.RIGHT
        if not self._places.acquire(blocking=False):
            return AuthResult.BUSY
        try:
            matches = self._compared(password, hashed)
        finally:
            self._places.release()
        if matches is None:
            return AuthResult.BUSY
        if not matches or known is None:
            return AuthResult.WRONG
        self._remember(proof)
        return AuthResult.RIGHT

    def _compared(self, password: bytes, hashed: bytes) -> bool | None:
        """Whether they match; None when the turn does not come in time."""
        if not self._turn.acquire(timeout=self._wait_seconds):
            return None
        try:
            return self._compare(password, hashed)
        finally:
            self._turn.release()

    def _someone(self, name: bytes, users: Mapping[bytes, bytes]) -> bytes:
        """The hash of some user, always the same for a name: hashes may differ in what they cost."""
        place = int.from_bytes(self._digest(name), "big") % len(users)
        return sorted(users.values())[place]

    def _digest(self, *parts: bytes) -> bytes:
        digest = hmac.new(self._secret, digestmod=hashlib.sha256)
        for part in parts:
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return digest.digest()

    def _was_right(self, proof: bytes) -> bool:
        with self._lock:
            if proof not in self._right:
                return False
            self._right.move_to_end(proof)
            return True

    def _remember(self, proof: bytes) -> None:
        with self._lock:
            self._right[proof] = None
            while len(self._right) > CACHED:
                self._right.popitem(last=False)


def _credentials(authorization: str | None) -> tuple[bytes, bytes] | None:
    """Name and password of an Authorization header; None for all that is not exactly one of Basic."""
    if authorization is None or len(authorization) > _MAX_CREDENTIALS:
        return None
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = b64decode(encoded.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        return None
    name, colon, password = decoded.partition(b":")
    # To bcrypt a NUL ends a password and begins it anew: several would be as good as the right one.
    if not colon or len(password) > MAX_PASSWORD or b"\0" in password:
        return None
    return name, password
