"""A gate whose comparisons take as long as a test wants."""

from __future__ import annotations

import threading

import bcrypt

from exporter.clock import Clock
from exporter.web.access import Authenticator
from exporter.web.config_watcher import WebConfig
from exporter.web.passwords import PasswordChecker


class SlowGate(Authenticator):
    """Compares while `hold` is set, and counts how many do at once."""

    hold = threading.Event()
    begun = threading.Event()
    most_at_once = 0
    _now = 0
    _lock = threading.Lock()

    def __init__(self, config: WebConfig, clock: Clock) -> None:
        self.hold.set()
        self.begun.clear()
        super().__init__(config, clock, PasswordChecker(compare=self._compare))

    @classmethod
    def _compare(cls, password: bytes, hashed: bytes) -> bool:
        with cls._lock:
            cls._now += 1
            cls.most_at_once = max(cls.most_at_once, cls._now)
        if not cls.hold.is_set():
            cls.begun.set()
        cls.hold.wait(10)
        try:
            return bcrypt.checkpw(password, hashed)
        finally:
            with cls._lock:
                cls._now -= 1
