"""Log of the requests to the emulator: arrival time, call and response code."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """Request as the server received it; each attempt of a client is one."""

    arrived: float
    """Monotonic time in seconds, before any injected latency."""
    operation: str
    account_id: str
    region: str
    pool_id: str | None
    code: str
    """`OK`, AWS's error code, or the name of the `Fault` that affected the response: MALFORMED or DROPPED."""


class RequestLog:
    """Thread-safe log of the most recent requests."""

    def __init__(self, longest: int) -> None:
        self._requests: deque[Request] = deque(maxlen=longest)

    def add(self, request: Request) -> None:
        """Add a completed request."""
        self._requests.append(request)

    def clear(self) -> None:
        """Remove all requests."""
        self._requests.clear()

    def read(self) -> tuple[Request, ...]:
        """Return the completed requests, in order of arrival."""
        return tuple(sorted(self._requests.copy(), key=lambda request: request.arrived))
