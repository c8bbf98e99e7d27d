"""Sweep of one pool: describe it, list its users, read the devices of each user, publish the result."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from exporter.aws.api import Operation, PoolReader
from exporter.clock import Clock
from exporter.collect.snapshot import PoolView
from exporter.collect.sweeping.pagination import MAX_DEVICE_PAGES, deduplicate, iter_pages, selected_users
from exporter.collect.sweeping.workers import ReadTask, WorkerPool
from exporter.config.settings import PoolSettings
from exporter.errors import AwsError, Cancelled, Reason, ResourceNotFound, TrackingOff, UserNotFound
from exporter.identity import Identity
from exporter.model import Device, ListedUser, PoolDescription, Tracking
from exporter.observers import SweepObserver
from exporter.retry import DEFAULT_RETRY_POLICY, RetryPolicy
from exporter.shard import Shard

log = structlog.get_logger()


class Connect(Protocol):
    """Factory of pool readers, one per sweep."""

    def __call__(self, pool: PoolSettings, cancelled: Callable[[], bool]) -> PoolReader:
        """Return a reader, which polls `cancelled` while it waits.

        Raises `AwsError` if the pool's account cannot be accessed.
        """
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """Result of a sweep."""

    reason: Reason | None
    """None if every selected user was read. Else the error that ended the sweep, or the most frequent user error."""
    complete: bool
    """True if every selected user was processed, even if some could not be read."""


class SweepSink(Protocol):
    """Receiver of the results of a sweep, such as `PoolStore`. Users are passed by identity, from many threads."""

    @property
    def settings(self) -> PoolSettings:
        """Settings of the pool."""
        ...

    @property
    def shard(self) -> Shard:
        """Shard whose users are read."""
        ...

    def view(self) -> PoolView:
        """Return the current view of the pool."""
        ...

    def sweep_started(self) -> None:
        """Start a sweep."""
        ...

    def described(self, description: PoolDescription) -> None:
        """Record the description of the pool."""
        ...

    def enumerated(self, users: int) -> None:
        """Record the number of users that this sweep reads."""
        ...

    def mark_if_read(self, identity: bytes) -> bool:
        """Return True, and mark the user as seen, if this sweep has already read it."""
        ...

    def knows_users(self) -> bool:
        """Return True if any user is known."""
        ...

    def put(self, identity: bytes, devices: tuple[Device, ...]) -> None:
        """Record the devices of a user."""
        ...

    def mark_unreadable(self, identity: bytes) -> None:
        """Record that a user could not be read."""
        ...

    def remove(self, identity: bytes) -> None:
        """Record that a user no longer exists."""
        ...

    def sweep_completed(self, *, every_user_read: bool) -> int:
        """Finish a sweep that processed every user. Return the number of known users that no longer exist."""
        ...

    def tracking_is_off(self) -> None:
        """Finish a sweep of a pool that does not remember devices. No user was read."""
        ...

    def sweep_failed(self, reason: Reason) -> None:
        """Finish a sweep that ended before it had processed every user."""
        ...

    def pool_missing(self) -> None:
        """Finish a sweep of a pool that does not exist."""
        ...

    def sweep_abandoned(self) -> None:
        """Finish a sweep that was canceled."""
        ...


class Sweep:
    """One sweep of one pool. An instance runs once."""

    def __init__(
        self,
        sink: SweepSink,
        reader: PoolReader,
        identity: Identity,
        observer: SweepObserver,
        clock: Clock,
        *,
        cancelled: Callable[[], bool],
        sleep: Callable[[float], object],
        retry_policy: RetryPolicy = DEFAULT_RETRY_POLICY,
    ) -> None:
        """Create a sweep. `sleep` returns at once if the sweep is canceled."""
        self._pool: PoolSettings = sink.settings
        self._sink = sink
        self._reader = reader
        self._identity = identity
        self._observer = observer
        self._clock = clock
        self._cancelled = cancelled
        self._counts: Counter[str] = Counter()
        self._error: str | None = None
        self._counts_lock = threading.Lock()
        self._retry_policy = retry_policy
        self._retry = retry_policy.retrier(retry_policy.attempts, sleep)
        self._retry_first = retry_policy.retrier(retry_policy.first_attempts, sleep)

    def run(self) -> Outcome:
        """Run the sweep and report the result to the sink, the observer and the log.

        Raises `Cancelled`, without reporting a result to the observer, if the sweep is canceled.
        """
        started = self._clock.monotonic()
        self._sink.sweep_started()
        try:
            outcome = self._sweep()
        except Cancelled:
            self._sink.sweep_abandoned()
            raise
        except AwsError as error:
            outcome = self._handle_error(error)
        self._observer.sweep_finished(self._pool.id, None if outcome.complete else outcome.reason)
        self._report(outcome, self._clock.monotonic() - started)
        return outcome

    def _report(self, outcome: Outcome, seconds: float) -> None:
        view = self._sink.view()
        requests = self._reader.request_counts()
        fields = {
            "user_pool_id": self._pool.id,
            "state": view.state.value,
            "reason": outcome.reason and outcome.reason.value,
            "error": self._error,
            "complete": outcome.complete,
            "users": view.data and view.data.users,
            "devices": view.data and sum(view.data.devices.values()),
            "users_read": self._counts["read"],
            "users_failed": self._counts["failed"],
            "users_vanished": self._counts["vanished"],
            "users_skipped": self._counts["skipped"],
            "seconds": round(seconds, 3),
            "calls": requests.calls,
            "throttled": requests.throttled,
        }
        log_event = log.info if outcome.reason is None else log.warning
        log_event("sweep finished", **{name: value for name, value in fields.items() if value is not None})

    def _count(self, what: str) -> None:
        with self._counts_lock:
            self._counts[what] += 1

    def _sweep(self) -> Outcome:
        description = self._retry_first(self._reader.describe)
        self._sink.described(description)
        if description.tracking is Tracking.OFF:
            self._sink.tracking_is_off()
            return Outcome(None, complete=True)
        failures = self._read_users()
        if failures and not self._sink.knows_users():
            # No user was read in this or any earlier sweep. Publishing zero users would be wrong.
            reason = max(failures, key=failures.__getitem__)
            self._sink.sweep_failed(reason)
            return Outcome(reason, complete=False)
        self._count_vanished(self._sink.sweep_completed(every_user_read=not failures))
        return Outcome(max(failures, key=failures.__getitem__, default=None), complete=True)

    def _read_users(self) -> dict[Reason, int]:
        workers = WorkerPool(
            self._read_user,
            self._on_give_up,
            self._clock,
            self._cancelled,
            target=self._pool.target,
            name=f"reader-{self._pool.id}",
            retry_policy=self._retry_policy,
        )
        try:
            users = 0
            for user in selected_users(self._pool.users, self._reader, self._retry):
                if self._is_skipped(user):
                    continue
                users += 1
                identity = self._identity.of(self._pool.id, user.name)
                if not self._sink.mark_if_read(identity) and not workers.submit(user.name, identity):
                    break
            else:
                self._sink.enumerated(users)
            workers.finish()
        finally:
            workers.stop()
        return workers.failures

    def _is_skipped(self, user: ListedUser) -> bool:
        if not self._sink.shard.owns(user.name):
            return True
        if user.federated and self._pool.skip_federated_users:
            self._observer.user_skipped(self._pool.id, "federated")
            self._count("skipped")
            return True
        return False

    def _read_user(self, task: ReadTask, on_send: Callable[[], None]) -> None:
        try:
            chain = iter_pages(
                Operation.ADMIN_LIST_DEVICES,
                lambda token: self._reader.devices(task.username, token=token, on_send=on_send),
                max_pages=MAX_DEVICE_PAGES,
            )
            devices = deduplicate(device for page in chain for device in page)
        except UserNotFound:
            self._drop_user(task)
        except ResourceNotFound:
            self._reader.describe()  # raises an error if it is the pool that is missing, and not the user
            self._drop_user(task)
        else:
            self._sink.put(task.identity, devices)
            self._count("read")

    def _drop_user(self, task: ReadTask) -> None:
        self._sink.remove(task.identity)
        self._count_vanished(1)

    def _count_vanished(self, users: int) -> None:
        self._observer.users_vanished(self._pool.id, users)
        with self._counts_lock:
            self._counts["vanished"] += users

    def _on_give_up(self, task: ReadTask, reason: Reason) -> None:
        self._sink.mark_unreadable(task.identity)
        self._observer.user_read_failed(self._pool.id, reason)
        self._count("failed")

    def _handle_error(self, error: AwsError) -> Outcome:
        self._error = str(error)
        if isinstance(error, ResourceNotFound) and self._pool_is_missing(error):
            self._sink.pool_missing()
        elif isinstance(error, TrackingOff) and self._tracking_is_off():
            self._sink.tracking_is_off()
            return Outcome(None, complete=True)
        else:
            self._sink.sweep_failed(error.reason)
        return Outcome(error.reason, complete=False)

    def _pool_is_missing(self, error: AwsError) -> bool:
        """Return True if the pool itself was not found, and not one of its groups."""
        if error.operation == Operation.DESCRIBE_USER_POOL:
            return True
        try:
            self._sink.described(self._retry(self._reader.describe))
        except ResourceNotFound:
            return True
        except AwsError:
            return False
        return False

    def _tracking_is_off(self) -> bool:
        try:
            description = self._retry(self._reader.describe)
        except AwsError:
            return False
        self._sink.described(description)
        return description.tracking is Tracking.OFF
