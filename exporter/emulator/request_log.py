"""The log of requests: what arrived at the server, when, and what was answered."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Request:
    """One attempt as the server saw it."""

    arrived: float
    """Monotonic seconds, taken before any delay."""
    operation: str
    account_id: str
    region: str
    pool_id: str | None
    code: str
    """`OK`, AWS's error code, or the name of the `Fault` that spoilt the answer: MALFORMED, DROPPED."""


class RequestLog:
    """The newest requests, up to a number; safe for threads."""

    def __init__(self, longest: int) -> None:
        self._requests: deque[Request] = deque(maxlen=longest)

    def add(self, request: Request) -> None:
        """Take note of an answered request."""
        self._requests.append(request)

    def clear(self) -> None:
        """Forget all requests."""
        self._requests.clear()

    def read(self) -> tuple[Request, ...]:
        """Every request kept, in order of arrival; one still being answered is not among them."""
        return tuple(sorted(self._requests.copy(), key=lambda request: request.arrived))
