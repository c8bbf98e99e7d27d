"""One pool of a report: what a sweep finds goes straight out."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

from exporter.collect.snapshot import PoolView
from exporter.commands.report.output import Output
from exporter.commands.report.rows import Row, Wanted, age_seconds
from exporter.config.settings import PoolSettings
from exporter.errors import Reason
from exporter.identity import Identity
from exporter.model import Device, PoolDescription, PoolState
from exporter.shard import WHOLE


class DeviceStream:
    """`exporter.collect.sweeping.sink.Findings` that keeps counts and no users.

    The sweep must identify users by `exporter.identity.RawIdentity`: the name is shown, or labelled, from that.
    """

    shard = WHOLE

    def __init__(
        self, pool: PoolSettings, labels: Identity, wanted: Wanted, wants: Callable[[Device], bool], output: Output
    ) -> None:
        """Show users as `labels` has them; `wants` is what the format can show."""
        self.settings = pool
        self._labels = labels
        self._wanted = wanted
        self._wants = wants
        self._output = output
        self._lock = threading.Lock()
        self.users_read = 0
        self.users_gone = 0
        self.users_expected: int | None = None
        """None while nothing is known of the pool's size."""
        self.devices_shown = 0
        self.failed: Counter[Reason] = Counter()
        """Users who could not be read, by reason."""
        self.state = PoolState.UNREAD
        """What is wrong with the pool as a whole, if anything is."""
        self._account_id: str | None = None

    @property
    def users_done(self) -> int:
        """Users who need not be asked any more."""
        return self.users_read + self.users_gone + self.failed.total()

    def put(self, identity: bytes, devices: tuple[Device, ...]) -> None:
        """A user was read: the wanted devices go out.

        Raises `OSError` as the output does.
        """
        wanted = [device for device in devices if self._wanted.wants(device) and self._wants(device)]
        if wanted:
            self._output.put(self._rows(identity.decode("utf-8", "surrogatepass"), wanted))
        with self._lock:
            self.users_read += 1
            self.devices_shown += len(wanted)

    def user_failed(self, reason: Reason) -> None:
        """A user could not be read."""
        with self._lock:
            self.failed[reason] += 1

    def gone(self, identity: bytes) -> None:  # noqa: ARG002 - nothing is kept of anyone
        """A user vanished between the listing and the question."""
        with self._lock:
            self.users_gone += 1

    def described(self, description: PoolDescription) -> None:
        """Whose pool it is, and how many users there are, where all are asked."""
        self._account_id = description.account_id
        selection = self.settings.users
        if selection.usernames is None and selection.groups is None and selection.filter is None:
            self.users_expected = description.estimated_users

    def enumerated(self, users: int) -> None:
        """So many users are to be read."""
        self.users_expected = users

    def sweep_started(self) -> None:
        """Nothing is known yet."""

    def was_read(self, identity: bytes) -> bool:  # noqa: ARG002 - as above
        """Never: knowing would need every user in memory."""
        return False

    def knows_users(self) -> bool:
        """Whether anybody was read."""
        return self.users_read > 0

    def keep(self, identity: bytes) -> None:
        """There are no earlier values of a user who could not be read."""

    def sweep_completed(self, *, every_user_read: bool) -> int:  # noqa: ARG002 - failures are counted one by one
        """All is out."""
        self.state = PoolState.OK
        return 0

    def tracking_is_off(self) -> None:
        """The pool remembers no devices."""
        self.state = PoolState.TRACKING_OFF

    def sweep_failed(self, reason: Reason) -> None:
        """The sweep has ended early."""
        self.state = PoolState.DENIED if reason is Reason.DENIED else PoolState.FAILING

    def pool_missing(self) -> None:
        """There is no such pool."""
        self.state = PoolState.MISSING

    def sweep_abandoned(self) -> None:
        """What was read is out."""

    def view(self) -> PoolView:
        """The state, and no data."""
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
