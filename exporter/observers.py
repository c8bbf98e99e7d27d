"""Observer interfaces of sweeps, discovery and requests. Metrics and traces implement them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from exporter.errors import Reason

UNKNOWN_ACCOUNT = "unknown"


@dataclass(frozen=True, slots=True)
class Target:
    """Account and Region. The account is `UNKNOWN_ACCOUNT` until its ID is known."""

    account_id: str
    region: str


class RequestObserver(Protocol):
    """Observer of requests to AWS."""

    def request_finished(
        self, target: Target, operation: str, seconds: float, reason: Reason | None, *, attempted: bool
    ) -> None:
        """Record a finished request. `reason` is None if it succeeded.

        `attempted` is False if the request failed before it was sent, for example without credentials.
        """
        ...

    def rate_limit_waited(self, target: Target, category: str, seconds: float) -> None:
        """Record the seconds that a request waited for the rate limiter."""
        ...


class AwsObserver(RequestObserver, Protocol):
    """Observer of requests and of the configured accounts and Regions."""

    def target_added(self, target: Target) -> None:
        """Add a target. A target is added once for each role and endpoint that reaches it."""
        ...

    def target_removed(self, target: Target) -> None:
        """Remove a target that was added once."""
        ...

    def target_resolved(self, unknown: Target, known: Target) -> None:
        """Replace a target of an unknown account with the target of the known account."""
        ...


@dataclass(frozen=True, slots=True)
class RequestCounts:
    """Requests of one sweep so far."""

    calls: int
    throttled: int


@dataclass(frozen=True, slots=True)
class SweepResult:
    """Result of a sweep, for traces."""

    reason: Reason | None
    """None if every user was read. Else the error that ended the sweep, or the most frequent user error."""
    complete: bool
    """True if every selected user was processed, even if some could not be read."""
    users: int | None = None
    """Number of users in the published data; None without data."""
    devices: int | None = None
    """Number of devices in the published data; None without data."""
    users_not_read: int = 0
    requests: RequestCounts = RequestCounts(0, 0)


class SweepTrace(RequestObserver, Protocol):
    """Trace of one sweep. Requests are recorded from many threads."""

    def sweep_result(self, result: SweepResult) -> None:
        """Record the result of the sweep. Not called for a canceled sweep."""
        ...

    def close(self) -> None:
        """End the trace."""
        ...


class Tracer(Protocol):
    """Factory of sweep traces."""

    def start_sweep(self, pool_id: str) -> SweepTrace:
        """Start the trace of a sweep."""
        ...

    def stop(self) -> None:
        """Export the remaining spans, with a short timeout."""
        ...


class DiscoveryObserver(Protocol):
    """Observer of discovery. A rule is identified by its index in the configuration."""

    def rules_changed(self, rule_regions: Collection[tuple[str, str]]) -> None:
        """Replace the active pairs of rule and Region."""
        ...

    def discovery_finished(self, rule: str, region: str, reason: Reason | None) -> None:
        """Record a discovery run in one Region. `reason` is None if every pool could be listed and described."""
        ...

    def unexpected_error(self, component: str) -> None:
        """Record an unexpected error. The log has the traceback."""
        ...


class SweepObserver(Protocol):
    """Observer of pools and their sweeps. A pool is identified by its user pool ID."""

    def pool_added(self, pool_id: str) -> None:
        """Add a pool."""
        ...

    def pool_removed(self, pool_id: str) -> None:
        """Remove a pool and all of its series."""
        ...

    def sweep_finished(self, pool_id: str, reason: Reason | None) -> None:
        """Record the end of a sweep. `reason` is None unless the sweep failed as a whole."""
        ...

    def sweep_overran(self, pool_id: str) -> None:
        """Record that a sweep was still running when the next one was due."""
        ...

    def sweep_missed(self, pool_id: str) -> None:
        """Record that a sweep was due and was not started."""
        ...

    def user_read_failed(self, pool_id: str, reason: Reason) -> None:
        """Record that a user could not be read in this sweep. The user keeps its last values."""
        ...

    def users_vanished(self, pool_id: str, users: int) -> None:
        """Record users that were deleted after they were listed, or that a complete listing no longer has."""
        ...

    def unexpected_error(self, component: str) -> None:
        """Record an unexpected error. The log has the traceback."""
        ...

    def state_failed(self) -> None:
        """Record that the state file could not be read or written."""
        ...

    def user_skipped(self, pool_id: str, reason: str) -> None:
        """Record a user that is not read on purpose, such as a federated one."""
        ...


class NullObserver:
    """No-op implementation of all observers. Subclasses override what they record."""

    def request_finished(
        self, target: Target, operation: str, seconds: float, reason: Reason | None, *, attempted: bool
    ) -> None:
        """Do nothing."""

    def rate_limit_waited(self, target: Target, category: str, seconds: float) -> None:
        """Do nothing."""

    def target_added(self, target: Target) -> None:
        """Do nothing."""

    def target_removed(self, target: Target) -> None:
        """Do nothing."""

    def target_resolved(self, unknown: Target, known: Target) -> None:
        """Do nothing."""

    def sweep_result(self, result: SweepResult) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def rules_changed(self, rule_regions: Collection[tuple[str, str]]) -> None:
        """Do nothing."""

    def discovery_finished(self, rule: str, region: str, reason: Reason | None) -> None:
        """Do nothing."""

    def pool_added(self, pool_id: str) -> None:
        """Do nothing."""

    def pool_removed(self, pool_id: str) -> None:
        """Do nothing."""

    def sweep_finished(self, pool_id: str, reason: Reason | None) -> None:
        """Do nothing."""

    def sweep_overran(self, pool_id: str) -> None:
        """Do nothing."""

    def sweep_missed(self, pool_id: str) -> None:
        """Do nothing."""

    def user_read_failed(self, pool_id: str, reason: Reason) -> None:
        """Do nothing."""

    def users_vanished(self, pool_id: str, users: int) -> None:
        """Do nothing."""

    def unexpected_error(self, component: str) -> None:
        """Do nothing."""

    def state_failed(self) -> None:
        """Do nothing."""

    def user_skipped(self, pool_id: str, reason: str) -> None:
        """Do nothing."""


class NullTracer(NullObserver):
    """`Tracer` and `SweepTrace` that record nothing."""

    def start_sweep(self, pool_id: str) -> SweepTrace:  # noqa: ARG002 - not recorded
        """Return a trace that records nothing."""
        return self

    def stop(self) -> None:
        """Do nothing."""


NULL_TRACER = NullTracer()
