"""Store of one pool's data and state, written by sweeps and read through published views.

No data is published before the first sweep has completed, because counts of a part of the pool would be wrong. Later
sweeps replace the data user by user and publish in between.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import replace

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
        self._sweep = 0
        self._resumed_from = 0
        self._sweep_started = clock.monotonic()
        self._sweep_started_wall: float | None = None
        self._sweeping = False
        self._can_resume = False
        self._expected: int | None = None
        self._done = 0
        self._not_read = 0
        self._complete_once = False
        self._failing_since: float | None = None
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
            self._sweep = header.sweep
            self._resumed_from = header.first_sweep
            self._sweep_started_wall = header.sweep_started
            self._complete_once = header.complete_once
            self._can_resume = header.sweeping
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
        started = self._sweep_started_wall
        if started is None or self._can_resume or not (self._complete_once or self._tracking_off()):
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
                self._forget_everything()
                self._view = replace(self._view, data=None, oldest_observation=None)
            self._view = replace(self._view, description=description)
            if self._expected is None:
                self._expected = self._expected_users()
            if self._view.state not in {PoolState.DENIED, PoolState.FAILING}:
                self._set_healthy()
            if self._view.state is not before:
                self._explain()
            self._tell_header()

    def sweep_started(self) -> None:
        """Start a sweep, or resume the last one if it was interrupted.

        A sweep is resumed only if its most recent read is not older than the refresh interval. Otherwise every user is
        read again.
        """
        with self._lock:
            now = self._clock.wall()
            self._sweep += 1
            if not (self._can_resume and self._is_recent(now)):
                self._resumed_from = self._sweep
                self._sweep_started_wall = now
            self._can_resume = False
            self._sweep_started = self._clock.monotonic()
            self._done = 0
            self._not_read = 0
            self._expected = self._expected_users()
            self._sweeping = True
            self._explain()
            self._tell_header()

    def enumerated(self, users: int) -> None:
        """Record the number of users that this sweep reads."""
        self._expected = users

    def was_read(self, identity: bytes) -> bool:
        """Return True, and mark the user as seen, if this sweep has already read it.

        This happens in a resumed sweep, and if AWS lists a user twice.
        """
        with self._lock:
            read = self._users.was_read(identity, self._resumed_from, int(self._sweep_started_wall or 0))
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
            if not self._sweeping:
                return
            self._writer.put(identity, self._users.put(identity, devices, int(self._clock.wall()), self._sweep))
            self._done += 1
            self._failing_since = None
            self._publish_if_due()

    def mark_unreadable(self, identity: bytes) -> None:
        """Record that a user could not be read. It keeps its last values."""
        with self._lock:
            if self._sweeping:
                self._not_read += 1
                self._mark_seen(identity)

    def remove(self, identity: bytes) -> None:
        """Remove a user that no longer exists."""
        with self._lock:
            if not self._sweeping:
                return
            self._drop(identity)
            self._done += 1

    def sweep_completed(self, *, every_user_read: bool) -> int:
        """Finish a sweep that processed every selected user: remove the unseen users and publish.

        Returns the number of removed users.
        """
        with self._lock:
            if not self._sweeping:
                return 0  # retired: reads since then were dropped, so their users would be removed as unseen
            gone = self._users.unseen(self._sweep)
            for identity in gone:
                self._drop(identity)
            self._complete_once = True
            self._failing_since = None
            self._publish()
            success = self._clock.wall() if every_user_read else None
            self._ended(state=self._healthy_state(), up=True, last_success=success)
            return len(gone)

    def tracking_is_off(self) -> None:
        """Finish the sweep of a pool that does not remember devices. Counts as a success."""
        with self._lock:
            self._ended(state=PoolState.TRACKING_OFF, up=True, last_success=self._clock.wall())

    def sweep_failed(self, reason: Reason) -> None:
        """Finish a sweep that ended before it had processed every user. The data is kept."""
        with self._lock:
            if self._failing_since is None:
                self._failing_since = self._clock.monotonic()
            self._can_resume = True
            if self._complete_once:
                self._publish()
            self._note_failure(reason)
            self._ended(state=PoolState.DENIED if reason is Reason.DENIED else PoolState.FAILING, up=False)

    def pool_missing(self) -> None:
        """Finish the sweep of a pool that does not exist, and delete its data."""
        with self._lock:
            self._forget_everything()
            self._view = replace(self._view, data=None, oldest_observation=None)
            self._note_failure(Reason.NOT_FOUND)
            self._ended(state=PoolState.MISSING, up=False)

    def sweep_abandoned(self) -> None:
        """Finish a canceled sweep without changing the pool's state. After a restart the sweep is resumed."""
        self._sweeping = False

    def _retire(self) -> None:
        self._sweeping = False
        self._writer = NULL_WRITER

    def _empty_users(self) -> Users:
        return Users(self.settings.detail, self._identity, self._series_limit)

    def _mark_seen(self, identity: bytes) -> None:
        record = self._users.mark_seen(identity, self._sweep)
        if record is not None:
            self._writer.put(identity, record)
        self._done += 1

    def _drop(self, identity: bytes) -> None:
        self._users.remove(identity)
        self._writer.drop(identity)

    def _note_failure(self, reason: Reason) -> None:
        self._view = replace(self._view, last_failure=SweepFailure(reason, self._clock.wall()))

    def _ended(self, *, state: PoolState, up: bool, last_success: float | None = None) -> None:
        self._sweeping = False
        self._view = replace(
            self._view,
            state=state,
            up=up,
            last_sweep_seconds=self._clock.monotonic() - self._sweep_started,
            last_success=last_success if last_success is not None else self._view.last_success,
            users_not_read=self._not_read,
        )
        self._explain()
        self._tell_header()

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

    def _forget_everything(self) -> None:
        self._users = self._empty_users()
        self._complete_once = False
        self._can_resume = False
        self._failing_since = None
        self._writer.clear(self._header())

    def _publish_if_due(self) -> None:
        if self._complete_once and self._clock.monotonic() >= self._next_publication:
            self._publish()

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
        if not self._sweeping:
            return None
        done, expected = self._done, self._expected
        remaining = None
        if expected is not None and done:
            elapsed = self._clock.monotonic() - self._sweep_started
            remaining = max(0, expected - done) * elapsed / done
        return SweepProgress(done, expected, remaining)

    def _is_recent(self, now: float) -> bool:
        newest = self._users.newest_observation() or self._sweep_started_wall
        return newest is not None and abs(now - newest) <= self.settings.refresh_interval

    def _monotonic_of(self, wall: float | None) -> float | None:
        """Convert wall time to monotonic time of this process. A time in the future becomes now."""
        return None if wall is None else self._clock.monotonic() - max(0.0, self._clock.wall() - wall)

    def _tell_header(self) -> None:
        self._writer.header(self._header())

    def _header(self) -> PoolHeader:
        since = self._failing_since
        failing_since = None if since is None else self._clock.wall() - (self._clock.monotonic() - since)
        return PoolHeader(
            state=self._view.state,
            description=self._view.description,
            sweep=self._sweep,
            first_sweep=self._resumed_from,
            sweep_started=self._sweep_started_wall,
            sweeping=self._sweeping or self._can_resume,
            complete_once=self._complete_once,
            last_sweep_seconds=self._view.last_sweep_seconds,
            last_success=self._view.last_success,
            failing_since=failing_since,
        )
