"""Fault injection: errors, quotas, latency, odd paging and omitted fields.

Each field of `Faults` is replaced as a whole, at any time and from any thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from exporter.aws.api import Category

T = TypeVar("T")

ANY_OPERATION = "*"
"""Key for all operations without a key of their own."""


class Fault(Enum):
    """Kind of fault that a request can have."""

    THROTTLED = "TooManyRequestsException at HTTP 400"
    SERVER_ERROR = "InternalErrorException at HTTP 500"
    DENIED = "AccessDeniedException, as IAM returns it"
    EXPIRED_CREDENTIALS = "ExpiredTokenException"
    MALFORMED = "response truncated in the middle of its body"
    DROPPED = "connection closed without a response"


@dataclass(frozen=True, slots=True)
class Rule:
    """Fault and the requests that it applies to; None matches any operation or any pool."""

    fault: Fault
    operation: str | None = None
    pool_id: str | None = None
    share: float = 1.0
    """Share of the matching requests that get the fault, drawn from the emulator's seeded generator."""

    def covers(self, operation: str, pool_id: str | None) -> bool:
        """Return True if the rule matches this request."""
        return self.operation in {None, operation} and self.pool_id in {None, pool_id}


class Chain(Enum):
    """Behavior of the page tokens of a listing."""

    TRUE = "the last page has no token"
    REPEATED = "every page is the same and has the same token"
    ENDLESS = "every page has a new token, and pages after the last are empty"


@dataclass(frozen=True, slots=True)
class Paging:
    """Division of a listing into pages."""

    longest: int | None = None
    """Maximum items per page, even if the requested Limit is higher."""
    blank_pages: bool = False
    """Return an empty page with a token before every page."""
    chain: Chain = Chain.TRUE


@dataclass(slots=True)
class Faults:
    """Faults that are active; none by default."""

    rules: tuple[Rule, ...] = ()
    """Evaluated in order; the first rule that applies determines the fault."""
    quotas: Mapping[Category, float] = field(default_factory=dict)
    """Requests granted in any one second, by category, for each account and Region; rejected requests do not count. A
    category without an entry has no quota."""
    latency: Mapping[str, float] = field(default_factory=dict)
    """Seconds added before the response, by operation."""
    paging: Mapping[str, Paging] = field(default_factory=dict)
    """Paging by operation."""
    expired: frozenset[str] = frozenset()
    """Access key ids of expired sessions: every request signed with one is rejected."""
    omitted: frozenset[str] = frozenset()
    """Fields and attributes omitted from all Cognito responses, such as `DeviceCreateDate`, `Devices`,
    `dev:device_remembered_status` or `EstimatedNumberOfUsers`."""

    def delay(self, operation: str) -> float:
        """Return the latency of an operation, in seconds."""
        return _for_operation(self.latency, operation, 0.0)

    def paging_of(self, operation: str) -> Paging:
        """Return the paging of an operation."""
        return _for_operation(self.paging, operation, Paging())


def _for_operation(by_operation: Mapping[str, T], operation: str, default: T) -> T:
    return by_operation.get(operation, by_operation.get(ANY_OPERATION, default))
