"""Store of one pool's data and state, written by sweeps and read through published views.

No data is published before the first sweep has completed, because counts of a part of the pool would be wrong. Later
sweeps replace the data user by user and publish in between.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from exporter.clock import Clock
from exporter.collect.persistence.sqlite import Restored
from exporter.collect.persistence.writer import NULL_WRITER, PoolHeader, PoolWriter
from exporter.collect.snapshot import PoolView, SweepFailure, SweepProgress
from exporter.collect.store.state_reasons import explain
from exporter.collect.store.users import Users
from exporter.config.settings import PoolSettings
from exporter.errors import Reason
from exporter.identity import Identity
from exporter.model import Device, PoolDescription, PoolState, Tracking
from exporter.shard import UNSHARDED, Shard

PUBLISH_SECONDS = 1.0
"""Minimum number of seconds between publications during a sweep."""

PUBLISH_SHARE = 0.02
"""Maximum share of time spent on publishing. Large pools are therefore published less often."""


class _Phase(Enum):
    """Phase of a sweep.

    | Event                                              | IDLE      | RUNNING   | RESUMABLE |
    |----------------------------------------------------|-----------|-----------|-----------|
    | `sweep_started`                                    | RUNNING   | RUNNING   | RUNNING   |
    | `put`, `mark_unreadable`, `remove`                 | ignored   | RUNNING   | ignored   |
    | `sweep_completed`                                  | ignored   | IDLE      | ignored   |
    | `tracking_is_off`, `pool_missing`                  | IDLE      | IDLE      | IDLE      |
    | `sweep_failed`, `sweep_abandoned`                  | RESUMABLE | RESUMABLE | RESUMABLE |
    | `described` without device tracking                | IDLE      | RUNNING   | IDLE      |
    | `retire`, `hand_over`                              | IDLE      | IDLE      | IDLE      |
    """

    IDLE = "no sweep has started, or the last one has finished"
    RUNNING = "a sweep is in progress"
    RESUMABLE = "the last sweep has not processed every user; the next one resumes it"


@dataclass(slots=True)
class _SweepState:
    """Last sweep: the one in progress, or the last one that ended."""

    started: float
    """Start in seconds of monotonic time."""
    number: int = 0
    resumed_from: int = 0
    """Number of the sweep that this one resumes. Equal to `number` if it resumes none."""
    first_started: float | None = None
    """Start of sweep `resumed_from`, in seconds of wall time."""
    phase: _Phase = _Phase.IDLE
    users_expected: int | None = None
    users_done: int = 0
    users_not_read: int = 0


class PoolStore:
    """Data of one pool, the time of each read, and the result of the last sweep. Thread-safe."""

    def __init__(
        self,
        settings: PoolSettings,
        identity: Identity,
        clock: Clock,
        writer: PoolWriter = NULL_WRITER,
        *,
        series_limit: Callable[[], int] = lambda: sys.maxsize,
        shard: Shard = UNSHARDED,
    ) -> None:
        """Create an empty store. All changes are also passed to `writer`."""
        self.settings = settings
        self._identity = identity
        self._clock = clock
        self._writer = writer
        self._series_limit = series_limit
        self.shard = shard
        self._lock = threading.Lock()
        self._users = self._empty_users()
        self._sweep = _SweepState(clock.monotonic())
        self._complete_once = False
        """True if a sweep has completed, so that the data covers every user."""
        self._failing_since: float | None = None
        """Monotonic time of the first failure after the last response; None while the pool responds."""
        self._next_publication = clock.monotonic()
        self._view = PoolView(
            settings=settings,
            state=PoolState.UNREAD,
            up=False,
            description=None,
            data=None,
            progress=None,
            last_sweep_seconds=None,
            last_success=None,
            oldest_observation=None,
        )

    def restore(self, restored: Restored) -> None:
        """Load the data of an earlier process or store. The users must be selected and stored in the same way."""
        with self._lock:
            header = restored.header
            self._users.load(restored.records)
            self._sweep = _SweepState(
                self._clock.monotonic(),
                number=header.sweep,
                resumed_from=header.first_sweep,
                first_started=header.sweep_started,
                phase=_Phase.RESUMABLE if header.sweeping else _Phase.IDLE,
            )
            self._complete_once = header.complete_once
            self._failing_since = self._monotonic_of(header.failing_since)
            down = header.state.is_down
            self._view = replace(
                self._view,
                state=header.state,
                up=not down,
                description=header.description,
                last_sweep_seconds=header.last_sweep_seconds,
                last_success=header.last_success,
            )
            if not down:
                self._set_healthy()
            if self._complete_once:
                self._publish()
            self._explain()

    def retire(self) -> None:
        """Detach the store from its writer. Later results of the sweep in progress are dropped."""
        with self._lock:
            self._retire()

    def hand_over(self) -> Restored:
        """Return all data for the store that replaces this one, and retire this one."""
        with self._lock:
            handed = Restored(self._header(), self._users.records())
            self._retire()
        return handed

    def take_over(self, handed: Restored) -> None:
        """Load the data of another store and write all of it."""
        self.restore(handed)
        self.write_all()

    def write_all(self) -> None:
        """Pass all data to the writer, for a state file that does not contain it."""
        with self._lock:
            self._writer.clear(self._header())
            for identity, record in self._users.records():
                self._writer.put(identity, record)

    def adopt(self, settings: PoolSettings) -> None:
        """Apply settings that do not change the sweeps. The sweep in progress continues.

        Publishes, because the series limit may have been raised.
        """
        with self._lock:
            self.settings = settings
            self._view = replace(self._view, settings=settings)
            if self._complete_once:
                self._publish()

    def view(self) -> PoolView:
        """Return the current view, without data if the pool has not responded for `max_staleness`."""
        view = self._view
        since = self._failing_since
        if view.data is not None and since is not None:
            silent = self._clock.monotonic() - since
            if silent >= view.settings.max_staleness:
                view = replace(view, data=None, oldest_observation=None)
        return replace(view, progress=self._progress())

    def first_delay(self) -> float:
        """Return the delay of the first sweep in seconds, so that the interval since the last start is kept.

        Returns 0 if the last sweep can be resumed or no sweep has completed.
        """
        started = self._sweep.first_started
        if (
            started is None
            or self._sweep.phase is _Phase.RESUMABLE
            or not (self._complete_once or self._tracking_off())
        ):
            return 0.0
        due = started + self.settings.refresh_interval - self._clock.wall()
        return min(max(0.0, due), self.settings.refresh_interval)

    def described(self, description: PoolDescription) -> None:
        """Record a description, which shows that the pool exists and responds.

        Deletes the data if the pool does not remember devices.
        """
        with self._lock:
            before, off = self._view.state, description.tracking is Tracking.OFF
            if off:
                self._delete_data()
            self._view = replace(self._view, description=description)
            if self._sweep.users_expected is None:
                self._sweep.users_expected = self._expected_users()
            if self._view.state not in {PoolState.DENIED, PoolState.FAILING}:
                self._set_healthy()
            if self._view.state is not before:
                self._explain()
            self._write_header()

    def sweep_started(self) -> None:
        """Start a sweep, or resume the last one if it was interrupted.

        A sweep is resumed only if its most recent read is not older than the refresh interval. Otherwise every user is
        read again.
        """
        with self._lock:
            last, now = self._sweep, self._clock.wall()
            number = last.number + 1
            resumes = last.phase is _Phase.RESUMABLE and self._is_recent(now)
            self._sweep = _SweepState(
                self._clock.monotonic(),
                number=number,
                resumed_from=last.resumed_from if resumes else number,
                first_started=last.first_started if resumes else now,
                phase=_Phase.RUNNING,
                users_expected=self._expected_users(),
            )
            self._explain()
            self._write_header()

    def enumerated(self, users: int) -> None:
        """Record the number of users that this sweep reads."""
        with self._lock:
            self._sweep.users_expected = users

    def mark_if_read(self, identity: bytes) -> bool:
        """Return True, and mark the user as seen, if this sweep has already read it.

        This happens in a resumed sweep, and if AWS lists a user twice.
        """
        with self._lock:
            sweep = self._sweep
            read = self._users.was_read(identity, sweep.resumed_from, int(sweep.first_started or 0))
            if read:
                self._mark_seen(identity)
            return read

    def knows_users(self) -> bool:
        """Return True if any user is known."""
        with self._lock:
            return bool(len(self._users))

    def put(self, identity: bytes, devices: tuple[Device, ...]) -> None:
        """Record the devices of a user. Ignored if no sweep is in progress."""
        with self._lock:
            if self._sweep.phase is not _Phase.RUNNING:
                return
            self._writer.put(identity, self._users.put(identity, devices, int(self._clock.wall()), self._sweep.number))
            self._sweep.users_done += 1
            self._failing_since = None
            if self._complete_once and self._clock.monotonic() >= self._next_publication:
                self._publish()

    def mark_unreadable(self, identity: bytes) -> None:
        """Record that a user could not be read. It keeps its last values."""
        with self._lock:
            if self._sweep.phase is _Phase.RUNNING:
                self._sweep.users_not_read += 1
                self._mark_seen(identity)

    def remove(self, identity: bytes) -> None:
        """Remove a user that no longer exists."""
        with self._lock:
            if self._sweep.phase is not _Phase.RUNNING:
                return
            self._drop(identity)
            self._sweep.users_done += 1

    def sweep_completed(self, *, every_user_read: bool) -> int:
        """Finish a sweep that processed every selected user: remove the unseen users and publish.

        Returns the number of removed users.
        """
        with self._lock:
            if self._sweep.phase is not _Phase.RUNNING:
                return 0  # retired: reads since then were dropped, so their users would be removed as unseen
            gone = self._users.unseen(self._sweep.number)
            for identity in gone:
                self._drop(identity)
            self._complete_once = True
            self._failing_since = None
            self._publish()
            success = self._clock.wall() if every_user_read else None
            self._finish_sweep(self._healthy_state(), last_success=success)
            return len(gone)

    def tracking_is_off(self) -> None:
        """Finish the sweep of a pool that does not remember devices. Counts as a success."""
        with self._lock:
            self._finish_sweep(PoolState.TRACKING_OFF, last_success=self._clock.wall())

    def sweep_failed(self, reason: Reason) -> None:
        """Finish a sweep that ended before it had processed every user. The data is kept."""
        with self._lock:
            if self._failing_since is None:
                self._failing_since = self._clock.monotonic()
            if self._complete_once:
                self._publish()
            state = PoolState.DENIED if reason is Reason.DENIED else PoolState.FAILING
            self._finish_sweep(state, failure=reason, phase=_Phase.RESUMABLE)

    def pool_missing(self) -> None:
        """Finish the sweep of a pool that does not exist, and delete its data."""
        with self._lock:
            self._delete_data()
            self._finish_sweep(PoolState.MISSING, failure=Reason.NOT_FOUND)

    def sweep_abandoned(self) -> None:
        """Finish a canceled sweep without changing the pool's state. After a restart the sweep is resumed."""
        with self._lock:
            self._sweep.phase = _Phase.RESUMABLE

    def _retire(self) -> None:
        self._sweep.phase = _Phase.IDLE
        self._writer = NULL_WRITER

    def _empty_users(self) -> Users:
        return Users(self.settings.detail, self._identity, self._series_limit)

    def _mark_seen(self, identity: bytes) -> None:
        record = self._users.mark_seen(identity, self._sweep.number)
        if record is not None:
            self._writer.put(identity, record)
        self._sweep.users_done += 1

    def _drop(self, identity: bytes) -> None:
        self._users.remove(identity)
        self._writer.drop(identity)

    def _finish_sweep(
        self,
        state: PoolState,
        *,
        phase: _Phase = _Phase.IDLE,
        failure: Reason | None = None,
        last_success: float | None = None,
    ) -> None:
        view = self._view
        self._sweep.phase = phase
        self._view = replace(
            view,
            state=state,
            up=not state.is_down,
            last_sweep_seconds=self._clock.monotonic() - self._sweep.started,
            last_success=view.last_success if last_success is None else last_success,
            last_failure=view.last_failure if failure is None else SweepFailure(failure, self._clock.wall()),
            users_not_read=self._sweep.users_not_read,
        )
        self._explain()
        self._write_header()

    def _explain(self) -> None:
        since = self._failing_since
        silent = None if since is None else self._clock.monotonic() - since
        explain(self.view(), read_once=self._complete_once, silent=silent)

    def _set_healthy(self) -> None:
        self._view = replace(self._view, state=self._healthy_state(), up=True)

    def _healthy_state(self) -> PoolState:
        if self._tracking_off():
            return PoolState.TRACKING_OFF
        return PoolState.OK if self._complete_once else PoolState.UNREAD

    def _tracking_off(self) -> bool:
        description = self._view.description
        return description is not None and description.tracking is Tracking.OFF

    def _delete_data(self) -> None:
        self._users = self._empty_users()
        self._complete_once = False
        self._failing_since = None
        if self._sweep.phase is _Phase.RESUMABLE:
            self._sweep.phase = _Phase.IDLE
        self._view = replace(self._view, data=None, oldest_observation=None)
        self._writer.clear(self._header())

    def _publish(self) -> None:
        if self._tracking_off():
            return
        started = self._clock.monotonic()
        self._view = replace(self._view, data=self._users.data(), oldest_observation=self._users.oldest_observation())
        cost = self._clock.monotonic() - started
        self._next_publication = started + max(PUBLISH_SECONDS, cost / PUBLISH_SHARE)

    def _expected_users(self) -> int | None:
        if self._complete_once:
            return len(self._users)
        description = self._view.description
        if description is None or description.estimated_users is None or not self.settings.users.is_everyone:
            return None
        return description.estimated_users // self.shard.count

    def _progress(self) -> SweepProgress | None:
        sweep = self._sweep  # read once: this runs without the lock, and a new sweep has a new object
        if sweep.phase is not _Phase.RUNNING:
            return None
        done, expected = sweep.users_done, sweep.users_expected
        remaining = None
        if expected is not None and done:
            elapsed = self._clock.monotonic() - sweep.started
            remaining = max(0, expected - done) * elapsed / done
        return SweepProgress(done, expected, remaining)

    def _is_recent(self, now: float) -> bool:
        newest = self._users.newest_observation() or self._sweep.first_started
        return newest is not None and abs(now - newest) <= self.settings.refresh_interval

    def _monotonic_of(self, wall: float | None) -> float | None:
        """Convert wall time to monotonic time of this process. A time in the future becomes now."""
        return None if wall is None else self._clock.monotonic() - max(0.0, self._clock.wall() - wall)

    def _write_header(self) -> None:
        self._writer.header(self._header())

    def _header(self) -> PoolHeader:
        since = self._failing_since
        failing_since = None if since is None else self._clock.wall() - (self._clock.monotonic() - since)
        return PoolHeader(
            state=self._view.state,
            description=self._view.description,
            sweep=self._sweep.number,
            first_sweep=self._sweep.resumed_from,
            sweep_started=self._sweep.first_started,
            sweeping=self._sweep.phase is not _Phase.IDLE,
            complete_once=self._complete_once,
            last_sweep_seconds=self._view.last_sweep_seconds,
            last_success=self._view.last_success,
            failing_since=failing_since,
        )
