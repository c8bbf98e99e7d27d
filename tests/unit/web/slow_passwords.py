"""Password comparison that a test can block."""

from __future__ import annotations

import threading

import bcrypt


class SlowComparison:
    """Callable for `PasswordChecker(compare=…)` that counts concurrent calls."""

    def __init__(self) -> None:
        self.blocked = threading.Event()
        """Set while a call is blocked."""
        self.max_concurrent = 0
        self._concurrent = 0
        self._lock = threading.Lock()
        self._open = threading.Event()
        self._open.set()

    def __call__(self, password: bytes, hashed: bytes) -> bool:
        with self._lock:
            self._concurrent += 1
            self.max_concurrent = max(self.max_concurrent, self._concurrent)
        try:
            if not self._open.is_set():
                self.blocked.set()
            self._open.wait(10)
            return bcrypt.checkpw(password, hashed)
        finally:
            with self._lock:
                self._concurrent -= 1

    def block(self) -> None:
        """Block calls from now on."""
        self._open.clear()

    def unblock(self) -> None:
        """Let all calls return."""
        self._open.set()
