"""Sweep sink of a report: writes the devices of one pool as they are read."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from exporter.collect.snapshot import PoolView
from exporter.commands.report.output import Output
from exporter.commands.report.rows import DeviceFilter, Row, age_seconds
from exporter.config.settings import PoolSettings
from exporter.errors import Reason
from exporter.identity import Identity
from exporter.model import Device, PoolDescription, PoolState
from exporter.shard import UNSHARDED


class DeviceStream:
    """`exporter.collect.sweeping.sink.SweepSink` that keeps counts but no users.

    The sweep must identify users by `exporter.identity.RawIdentity`: user names and labels are derived from it.
    """

    shard = UNSHARDED

    def __init__(
        self,
        pool: PoolSettings,
        labels: Identity,
        wanted: DeviceFilter,
        wants: Callable[[Device], bool],
        output: Output,
    ) -> None:
        """Label users with `labels`; `wants` returns True for devices that the format shows."""
        self.settings = pool
        self._labels = labels
        self._wanted = wanted
        self._wants = wants
        self._output = output
        self._lock = threading.Lock()
        self.users_read = 0
        self.users_gone = 0
        self.users_expected: int | None = None
        """None until it is known."""
        self.devices_shown = 0
        self.failed: Counter[Reason] = Counter()
        """Users who could not be read, by reason."""
        self.state = PoolState.UNREAD
        """State of the pool after the sweep."""
        self._account_id: str | None = None

    @property
    def users_done(self) -> int:
        """Users who need no further request: read, gone or failed."""
        return self.users_read + self.users_gone + self.failed.total()

    def put(self, identity: bytes, devices: tuple[Device, ...]) -> None:
        """Write the selected devices of a user.

        Raises `OSError` if the output cannot be written.
        """
        wanted = [device for device in devices if self._wanted.wants(device) and self._wants(device)]
        if wanted:
            self._output.put(self._rows(identity.decode("utf-8", "surrogatepass"), wanted))
        with self._lock:
            self.users_read += 1
            self.devices_shown += len(wanted)

    def user_failed(self, reason: Reason) -> None:
        """Count a user who could not be read."""
        with self._lock:
            self.failed[reason] += 1

    def remove(self, identity: bytes) -> None:  # noqa: ARG002 - no users are kept
        """Count a user who was deleted after the listing."""
        with self._lock:
            self.users_gone += 1

    def described(self, description: PoolDescription) -> None:
        """Store the account and, if every user is selected, the estimated number of users."""
        self._account_id = description.account_id
        if self.settings.users.is_everyone:
            self.users_expected = description.estimated_users

    def enumerated(self, users: int) -> None:
        """Store the number of users to read."""
        self.users_expected = users

    def sweep_started(self) -> None:
        """Do nothing: a stream has one sweep only."""

    def was_read(self, identity: bytes) -> bool:  # noqa: ARG002 - as above
        """Return False: no users are kept."""
        return False

    def knows_users(self) -> bool:
        """Return True if any user was read."""
        return self.users_read > 0

    def mark_unreadable(self, identity: bytes) -> None:
        """Do nothing: there are no earlier values to keep."""

    def sweep_completed(self, *, every_user_read: bool) -> int:  # noqa: ARG002 - failures are counted one by one
        """Set the state to OK and return 0, as no user was known before the sweep."""
        self.state = PoolState.OK
        return 0

    def tracking_is_off(self) -> None:
        """Set the state to TRACKING_OFF."""
        self.state = PoolState.TRACKING_OFF

    def sweep_failed(self, reason: Reason) -> None:
        """Set the state to DENIED or FAILING."""
        self.state = PoolState.DENIED if reason is Reason.DENIED else PoolState.FAILING

    def pool_missing(self) -> None:
        """Set the state to MISSING."""
        self.state = PoolState.MISSING

    def sweep_abandoned(self) -> None:
        """Do nothing: the devices that were read are already written."""

    def view(self) -> PoolView:
        """Return the state, without data."""
        return PoolView(
            settings=self.settings,
            state=self.state,
            up=self.state in {PoolState.OK, PoolState.TRACKING_OFF},
            description=None,
            data=None,
            progress=None,
            last_sweep_seconds=None,
            last_success=None,
            oldest_observation=None,
        )

    def _rows(self, username: str, devices: list[Device]) -> list[Row]:
        label = self._labels.label(self._labels.of(self.settings.id, username))
        now = self._wanted.now_ms
        return [
            Row(self.settings, username, label, device, age_seconds(device, now), self._account_id)
            for device in devices
        ]
