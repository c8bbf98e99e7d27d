"""The knobs: what the emulator does wrong, and how hard.

Every field is replaced as a whole, at any time and from any thread; a request sees the value of the
moment at which it arrived.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from exporter.aws.api import Category

T = TypeVar("T")

ANY_OPERATION = "*"
"""The key that stands for every operation without a key of its own."""


class Fault(Enum):
    """One way in which a request goes wrong."""

    THROTTLED = "TooManyRequestsException at HTTP 400"
    SERVER_ERROR = "InternalErrorException at HTTP 500"
    DENIED = "AccessDeniedException, as IAM gives it"
    EXPIRED_CREDENTIALS = "ExpiredTokenException"
    MALFORMED = "the right answer, cut off in the middle of its body"
    DROPPED = "the connection closes without an answer"


@dataclass(frozen=True, slots=True)
class Rule:
    """Where a fault strikes; None is any operation, any pool."""

    fault: Fault
    operation: str | None = None
    pool_id: str | None = None
    share: float = 1.0
    """The share of the matching requests that is struck, drawn from the emulator's seeded generator."""

    def covers(self, operation: str, pool_id: str | None) -> bool:
        """Whether the rule speaks of this request."""
        return self.operation in {None, operation} and self.pool_id in {None, pool_id}


class Chain(Enum):
    """What becomes of the tokens of a listing."""

    TRUE = "they end with the last page"
    REPEATED = "the same token for ever, with the same page"
    ENDLESS = "new tokens for ever, with empty pages after the last"


@dataclass(frozen=True, slots=True)
class Paging:
    """How a listing is cut into pages."""

    longest: int | None = None
    """No page holds more items than this, whatever the Limit asked for."""
    blank_pages: bool = False
    """Every page is preceded by an empty one that carries a token."""
    chain: Chain = Chain.TRUE


@dataclass(slots=True)
class Faults:
    """What is wrong at the moment; nothing, unless told."""

    rules: tuple[Rule, ...] = ()
    """Tried in this order; the first that strikes decides."""
    quotas: Mapping[Category, float] = field(default_factory=dict)
    """Requests granted per category, account and Region in any one second; a refused request counts
    for nothing. A category without an entry has no quota."""
    latency: Mapping[str, float] = field(default_factory=dict)
    """Seconds between arrival and answer, by operation."""
    paging: Mapping[str, Paging] = field(default_factory=dict)
    """By operation."""
    expired: frozenset[str] = frozenset()
    """Access key ids whose session is over: every request signed with one is refused."""
    omitted: frozenset[str] = frozenset()
    """Fields and attributes left out of every answer of Cognito, such as `DeviceCreateDate`, `Devices`,
    `dev:device_remembered_status` or `EstimatedNumberOfUsers`."""

    def delay(self, operation: str) -> float:
        """Seconds to wait before the operation is answered."""
        return _chosen(self.latency, operation, 0.0)

    def paging_of(self, operation: str) -> Paging:
        """How the operation's pages are cut."""
        return _chosen(self.paging, operation, Paging())


def _chosen(by_operation: Mapping[str, T], operation: str, default: T) -> T:
    return by_operation.get(operation, by_operation.get(ANY_OPERATION, default))
