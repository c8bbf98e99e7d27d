"""What the pipe tells its listeners; metrics are one listener, tests another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from exporter.errors import Reason


@dataclass(frozen=True, slots=True)
class Target:
    """One account and Region; the account is `unknown` until something names it."""

    account_id: str
    region: str


class AwsObserver(Protocol):
    """Hears of every account and Region in use, and of every request to AWS."""

    def target_added(self, target: Target) -> None:
        """One more way to reach this account and Region is configured."""
        ...

    def target_removed(self, target: Target) -> None:
        """One way less."""
        ...

    def target_named(self, unknown: Target, known: Target) -> None:
        """The account behind a target was not known until now."""
        ...

    def request_finished(
        self, target: Target, operation: str, seconds: float, reason: Reason | None, *, attempted: bool
    ) -> None:
        """One request ended; `reason` is None when it succeeded.

        `attempted` is False when it failed before anything left the process, as without credentials.
        """
        ...

    def waited(self, target: Target, category: str, seconds: float) -> None:
        """A request waited so long for its turn in the rate budget."""
        ...


@dataclass(frozen=True, slots=True)
class Spending:
    """What one sweep has asked of AWS so far."""

    calls: int
    throttled: int


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

    def failed_unexpectedly(self, component: str) -> None:
        """Something failed in a way that nobody foresaw; the log has the traceback."""
        ...

    def state_failed(self) -> None:
        """The state file could not be read or written."""
        ...

    def user_skipped(self, pool_id: str, reason: str) -> None:
        """A user was not asked on purpose, such as a federated one."""
        ...
