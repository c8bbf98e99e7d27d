"""A token bucket: how many requests are let through."""

from __future__ import annotations

from threading import Lock

from exporter.clock import Clock
from exporter.config.web.settings import RateLimit


class TokenBucket:
    """`limit.burst` requests at once, and one more for each interval that passes."""

    def __init__(self, limit: RateLimit, clock: Clock) -> None:
        self.limit = limit
        self._clock = clock
        self._lock = Lock()
        self._tokens = float(limit.burst)
        self._counted = clock.monotonic()

    def admits(self) -> bool:
        """Take a token if there is one."""
        with self._lock:
            now = self._clock.monotonic()
            gained = (now - self._counted) / self.limit.interval
            self._tokens = min(float(self.limit.burst), self._tokens + gained)
            self._counted = now
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True
