"""What the pipe tells its listeners; metrics are one listener, tests another."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from exporter.errors import Reason

UNKNOWN_ACCOUNT = "unknown"


@dataclass(frozen=True, slots=True)
class Target:
    """One account and Region; the account is `UNKNOWN_ACCOUNT` until something names it."""

    account_id: str
    region: str


class RequestObserver(Protocol):
    """Hears of every request to AWS."""

    def request_finished(
        self, target: Target, operation: str, seconds: float, reason: Reason | None, *, attempted: bool
    ) -> None:
        """One request ended; `reason` is None when it succeeded.

        `attempted` is False when it failed before anything left the process, as without credentials.
        """
        ...

    def rate_limit_waited(self, target: Target, category: str, seconds: float) -> None:
        """A request waited so long for its turn in the rate budget."""
        ...


class AwsObserver(RequestObserver, Protocol):
    """Hears of every account and Region in use, too."""

    def target_added(self, target: Target) -> None:
        """One more way to reach this account and Region is configured."""
        ...

    def target_removed(self, target: Target) -> None:
        """One way less."""
        ...

    def target_named(self, unknown: Target, known: Target) -> None:
        """The account behind a target was not known until now."""
        ...


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """What one sweep has asked of AWS so far."""

    calls: int
    throttled: int


@dataclass(frozen=True, slots=True)
class SweepResult:
    """What a sweep came to."""

    reason: Reason | None
    """None when every user was read; else the failure, or the most frequent of them."""
    complete: bool
    """Every user was asked, even if some could not be read."""
    users: int | None = None
    """Users and devices that are shown now; None without data."""
    devices: int | None = None
    users_not_read: int = 0
    spending: RequestCounts = RequestCounts(0, 0)


class SweepTrace(RequestObserver, Protocol):
    """Follows one sweep of one pool: hears of its requests only, from many threads."""

    def sweep_result(self, result: SweepResult) -> None:
        """The sweep came to its end; not told when it was told to stop."""
        ...

    def close(self) -> None:
        """Nothing more is told of the sweep."""
        ...


class Tracer(Protocol):
    """Follows sweeps."""

    def sweep_began(self, pool_id: str) -> SweepTrace:
        """A sweep of a pool begins."""
        ...


class NoTraces:
    """A `Tracer` and `SweepTrace` that follows nothing."""

    def sweep_began(self, pool_id: str) -> SweepTrace:  # noqa: ARG002 - not heard
        """Not followed."""
        return self

    def request_finished(
        self, target: Target, operation: str, seconds: float, reason: Reason | None, *, attempted: bool
    ) -> None:
        """Not heard."""

    def rate_limit_waited(self, target: Target, category: str, seconds: float) -> None:
        """Not heard."""

    def sweep_result(self, result: SweepResult) -> None:
        """Not heard."""

    def close(self) -> None:
        """Not heard."""


NO_TRACES = NoTraces()


class DiscoveryObserver(Protocol):
    """Hears of rules and of how they are gone by; a rule is its index in the configuration."""

    def rules_changed(self, places: Collection[tuple[str, str]]) -> None:
        """From now on pools are looked for in these places and in no others: pairs of rule and Region."""
        ...

    def discovery_finished(self, rule: str, region: str, reason: Reason | None) -> None:
        """A Region was looked at; `reason` is None when everything could be seen."""
        ...

    def unexpected_error(self, component: str) -> None:
        """Something failed in a way that nobody foresaw; the log has the traceback."""
        ...


class SweepObserver(Protocol):
    """Hears of pools and of what happens in their sweeps; a pool is its user pool id."""

    def pool_added(self, pool_id: str) -> None:
        """A pool is configured from now on."""
        ...

    def pool_removed(self, pool_id: str) -> None:
        """A pool is no longer configured: nothing of it may show any more."""
        ...

    def sweep_finished(self, pool_id: str, reason: Reason | None) -> None:
        """A sweep ended, whatever the outcome; `reason` is None unless it failed as a whole."""
        ...

    def sweep_overran(self, pool_id: str) -> None:
        """A sweep was still under way when the next was due."""
        ...

    def sweep_missed(self, pool_id: str) -> None:
        """A run was due and was not started in time."""
        ...

    def user_read_failed(self, pool_id: str, reason: Reason) -> None:
        """A user could not be read in this sweep and keeps its last values."""
        ...

    def users_vanished(self, pool_id: str, users: int) -> None:
        """Users are gone: deleted between the listing and the question, or absent from a complete enumeration."""
        ...

    def unexpected_error(self, component: str) -> None:
        """Something failed in a way that nobody foresaw; the log has the traceback."""
        ...

    def state_failed(self) -> None:
        """The state file could not be read or written."""
        ...

    def user_skipped(self, pool_id: str, reason: str) -> None:
        """A user was not asked on purpose, such as a federated one."""
        ...
