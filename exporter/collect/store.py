"""What is known of one pool now, and its state; written by a sweep, read through published views.

Before the first sweep has ended nothing is published: half of a pool would be a wrong count. Later sweeps
replace user by user, and what they have replaced is published as they go.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, insort
from collections import Counter
from dataclasses import dataclass, replace

from exporter.clock import Clock
from exporter.collect.snapshot import PoolData, PoolView, SweepProgress, UserRow
from exporter.collect.tally import Tally
from exporter.config.settings import Detail, PoolSettings
from exporter.errors import Reason
from exporter.identity import Identity
from exporter.model import Device, PoolDescription, PoolState, Tracking

PUBLISH_SECONDS = 1.0
"""Published data is at most so much older than what the sweep has read, unless publishing is costly."""

PUBLISH_SHARE = 0.02
"""Publishing takes at most this share of the time, however large the pool."""


@dataclass(slots=True)
class _Known:
    """What was last read of one user."""

    devices: tuple[Device, ...]
    observed: int
    sweep: int


class PoolStore:
    """One pool: what was read, when, and how the last sweep went; safe to use from many threads."""

    def __init__(self, settings: PoolSettings, identity: Identity, clock: Clock) -> None:
        self.settings = settings
        self._identity = identity
        self._clock = clock
        self._lock = threading.Lock()
        self._users = _Users(settings, identity)
        self._sweep = 0
        self._sweep_started = 0.0
        self._expected: int | None = None
        self._done = 0
        self._sweeping = False
        self._complete_once = False
        self._failing_since: float | None = None
        self._next_publication = 0.0
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

    def view(self) -> PoolView:
        """What is known now; withdrawn when the pool has not answered for `max_staleness`."""
        view = self._view
        since = self._failing_since
        if view.data is not None and since is not None:
            silent = self._clock.monotonic() - since
            if silent >= view.settings.max_staleness:
                view = replace(view, data=None, oldest_observation=None)
        return replace(view, progress=self._progress())

    def described(self, description: PoolDescription) -> None:
        """The pool was described: it exists, and AWS lets us look at it."""
        with self._lock:
            off = description.tracking is Tracking.OFF
            if off:
                self._forget_everything()
            self._view = replace(self._view, description=description, data=None if off else self._view.data)
            if self._expected is None:
                self._expected = self._guess_of_users()
            if self._view.state not in {PoolState.DENIED, PoolState.FAILING}:
                self._recovered()

    def sweep_started(self) -> None:
        """A sweep begins; every user is to be read anew."""
        with self._lock:
            self._sweep += 1
            self._sweep_started = self._clock.monotonic()
            self._done = 0
            self._expected = self._guess_of_users()
            self._sweeping = True

    def enumerated(self, users: int) -> None:
        """So many users are to be read in this sweep."""
        self._expected = users

    def put(self, identity: bytes, devices: tuple[Device, ...]) -> None:
        """A user was read."""
        with self._lock:
            self._users.put(identity, devices, self._sweep, int(self._clock.wall()))
            self._done += 1
            self._failing_since = None
            if not self._view.up:
                self._recovered()
            self._publish_if_due()

    def keep(self, identity: bytes) -> None:
        """A user could not be read in this sweep and keeps its last values."""
        with self._lock:
            self._users.keep(identity, self._sweep)
            self._done += 1

    def gone(self, identity: bytes) -> None:
        """A user does not exist any more."""
        with self._lock:
            self._users.drop(identity)
            self._done += 1

    def sweep_completed(self, *, every_user_read: bool) -> None:
        """Every user of the selection was asked: who was not among them is gone, and all is published."""
        with self._lock:
            self._users.drop_unseen(self._sweep)
            self._complete_once = True
            self._failing_since = None
            self._publish()
            success = self._clock.wall() if every_user_read else self._view.last_success
            self._ended(state=self._healthy_state(), up=True, last_success=success)

    def tracking_is_off(self) -> None:
        """The pool does not remember devices: nobody was asked, and that is a success."""
        with self._lock:
            self._ended(state=PoolState.TRACKING_OFF, up=True, last_success=self._clock.wall())

    def sweep_failed(self, reason: Reason) -> None:
        """The sweep ended before every user was asked; what is known stays."""
        with self._lock:
            if self._failing_since is None:
                self._failing_since = self._clock.monotonic()
            if self._complete_once:
                self._publish()
            self._ended(state=PoolState.DENIED if reason is Reason.DENIED else PoolState.FAILING, up=False)

    def pool_missing(self) -> None:
        """There is no such pool: what was known of it is no longer true."""
        with self._lock:
            self._forget_everything()
            self._view = replace(self._view, data=None, oldest_observation=None)
            self._ended(state=PoolState.MISSING, up=False)

    def sweep_abandoned(self) -> None:
        """The daemon stops in mid-sweep; that says nothing about the pool."""
        with self._lock:
            self._sweeping = False

    def _ended(self, *, state: PoolState, up: bool, last_success: float | None = None) -> None:
        self._sweeping = False
        self._view = replace(
            self._view,
            state=state,
            up=up,
            last_sweep_seconds=self._clock.monotonic() - self._sweep_started,
            last_success=last_success if last_success is not None else self._view.last_success,
        )

    def _recovered(self) -> None:
        self._view = replace(self._view, state=self._healthy_state(), up=True)

    def _healthy_state(self) -> PoolState:
        description = self._view.description
        if description is not None and description.tracking is Tracking.OFF:
            return PoolState.TRACKING_OFF
        return PoolState.OK if self._complete_once else PoolState.UNREAD

    def _forget_everything(self) -> None:
        self._users = _Users(self.settings, self._identity)
        self._complete_once = False
        self._failing_since = None

    def _publish_if_due(self) -> None:
        if self._complete_once and self._clock.monotonic() >= self._next_publication:
            self._publish()

    def _publish(self) -> None:
        started = self._clock.monotonic()
        description = self._view.description
        if description is not None and description.tracking is Tracking.OFF:
            return
        self._view = replace(self._view, data=self._users.data(), oldest_observation=self._users.oldest_observation())
        cost = self._clock.monotonic() - started
        self._next_publication = started + max(PUBLISH_SECONDS, cost / PUBLISH_SHARE)

    def _guess_of_users(self) -> int | None:
        if self._complete_once:
            return len(self._users)
        description = self._view.description
        everyone = self.settings.users.usernames is None and self.settings.users.groups is None
        if description is None or not everyone or self.settings.users.filter is not None:
            return None
        return description.estimated_users

    def _progress(self) -> SweepProgress | None:
        if not self._sweeping:
            return None
        done, expected = self._done, self._expected
        remaining = None
        if expected is not None and done:
            elapsed = self._clock.monotonic() - self._sweep_started
            remaining = max(0, expected - done) * elapsed / done
        return SweepProgress(done, expected, remaining)


class _Users:
    """The users of a pool with their sums; the caller holds the lock."""

    def __init__(self, settings: PoolSettings, identity: Identity) -> None:
        self._detail = settings.detail
        self._identity = identity
        self._known: dict[bytes, _Known] = {}
        self._tally = Tally()
        self._observed: Counter[int] = Counter()
        self._rows: dict[bytes, UserRow] = {}
        self._order: list[bytes] = []

    def __len__(self) -> int:
        return len(self._known)

    def put(self, identity: bytes, devices: tuple[Device, ...], sweep: int, observed: int) -> None:
        kept = devices if self._detail is not Detail.POOL else tuple(map(_anonymous, devices))
        known = self._known.get(identity)
        self._observed[observed] += 1
        if known is None:
            self._known[identity] = _Known(kept, observed, sweep)
            self._tally.add(kept)
            self._put_row(identity, kept)
            return
        self._unobserve(known.observed)
        if known.devices != kept:
            self._tally.remove(known.devices)
            self._tally.add(kept)
            self._put_row(identity, kept)
        known.devices, known.observed, known.sweep = kept, observed, sweep

    def keep(self, identity: bytes, sweep: int) -> None:
        known = self._known.get(identity)
        if known is not None:
            known.sweep = sweep

    def drop(self, identity: bytes) -> None:
        known = self._known.pop(identity, None)
        if known is None:
            return
        self._tally.remove(known.devices)
        self._unobserve(known.observed)
        row = self._rows.pop(identity, None)
        if row is not None:
            del self._order[bisect_left(self._order, row.order, key=self._identity.order)]

    def drop_unseen(self, sweep: int) -> None:
        """Drop every user whom the sweep did not meet."""
        for identity in [identity for identity, known in self._known.items() if known.sweep != sweep]:
            self.drop(identity)

    def oldest_observation(self) -> float | None:
        """Wall time in seconds at which the user read longest ago was read."""
        return min(self._observed, default=None)

    def data(self) -> PoolData:
        """Everything as of now, immutable."""
        activity = self._tally.activity()
        oldest = [moment for index in activity.values() if (moment := index.oldest_ms()) is not None]
        newest = [moment for index in activity.values() if (moment := index.newest_ms()) is not None]
        return PoolData(
            users=self._tally.users,
            devices=self._tally.devices,
            date_sources=self._tally.date_sources,
            devices_per_user=self._tally.devices_per_user,
            activity=activity,
            oldest_ms=min(oldest, default=None),
            newest_ms=max(newest, default=None),
            rows=tuple(map(self._rows.__getitem__, self._order)),
        )

    def _put_row(self, identity: bytes, devices: tuple[Device, ...]) -> None:
        if self._detail is Detail.POOL:
            return
        order = self._identity.order(identity)
        if identity not in self._rows:
            insort(self._order, identity, key=self._identity.order)
        self._rows[identity] = UserRow(order, self._identity.label(identity), devices)

    def _unobserve(self, observed: int) -> None:
        self._observed[observed] -= 1
        if not self._observed[observed]:
            del self._observed[observed]


def _anonymous(device: Device) -> Device:
    """What the sums of a pool need; the rest is not kept where it is not shown."""
    return Device(
        key="",
        remembered=device.remembered,
        created_ms=device.created_ms if device.authenticated_ms is None else None,
        authenticated_ms=device.authenticated_ms,
    )
