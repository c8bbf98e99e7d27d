"""Sweeps of a report: one thread per pool, whose devices are written as they are read, and their combined progress."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from exporter.clock import Clock
from exporter.collect.snapshot import PoolView
from exporter.collect.sweeping.sweep import Connect, Sweep
from exporter.commands.report.formats import DeviceFilter, Row, age_seconds
from exporter.commands.report.output import Output
from exporter.config.settings import PoolSettings
from exporter.errors import AwsError, Cancelled, Reason
from exporter.identity import Identity, RawIdentity
from exporter.model import Device, PoolDescription, PoolState
from exporter.observers import NullObserver
from exporter.retry import DEFAULT_RETRY_POLICY, RetryPolicy
from exporter.shard import UNSHARDED

log = structlog.get_logger()


class DeviceStream(NullObserver):
    """Sink and observer of the sweep of one pool; it writes devices as they are read, and keeps counts but no users.

    Implements `exporter.collect.sweeping.sweep.SweepSink`. The sweep must identify users by
    `exporter.identity.RawIdentity`: user names and labels are derived from it.
    """

    shard = UNSHARDED

    def __init__(self, pool: PoolSettings, labels: Identity, device_filter: DeviceFilter, output: Output) -> None:
        """Label users with `labels`."""
        self.settings = pool
        self._labels = labels
        self._filter = device_filter
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
        self.finished = False
        self.failure: Reason | None = None
        """Reason why the finished sweep is incomplete."""
        self._account_id: str | None = None

    @property
    def users_done(self) -> int:
        """Users who need no further request: read, gone or failed."""
        return self.users_read + self.users_gone + self.failed.total()

    def put(self, identity: bytes, devices: tuple[Device, ...]) -> None:
        """Write the selected devices of a user.

        Raises `OSError` if the output cannot be written.
        """
        username = identity.decode("utf-8", "surrogatepass")
        label = self._labels.label(self._labels.of(self.settings.id, username))
        rows = [
            Row(self.settings, username, label, device, age_seconds(device, self._filter.now_ms), self._account_id)
            for device in devices
            if self._filter.selects(device)
        ]
        if rows:
            self._output.put(rows)
        with self._lock:
            self.users_read += 1
            self.devices_shown += len(rows)

    def user_read_failed(self, pool_id: str, reason: Reason) -> None:  # noqa: ARG002 - the stream has one pool
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

    def mark_if_read(self, identity: bytes) -> bool:  # noqa: ARG002 - as above
        """Return False: no users are kept."""
        return False

    def knows_users(self) -> bool:
        """Return True if any user was read."""
        return self.users_read > 0

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

    def mark_unreadable(self, identity: bytes) -> None:
        """Do nothing: there are no earlier values to keep."""

    def sweep_started(self) -> None:
        """Do nothing: a stream has one sweep only."""

    def sweep_abandoned(self) -> None:
        """Do nothing: the devices that were read are already written."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of all pools together."""

    users_done: int
    users_expected: int | None
    """None until it is known for every pool."""
    devices_shown: int


class ReportRun:
    """Concurrent sweeps of the pools, each in its own thread."""

    def __init__(
        self,
        streams: Sequence[DeviceStream],
        connect: Connect,
        clock: Clock,
        *,
        retry_policy: RetryPolicy = DEFAULT_RETRY_POLICY,
    ) -> None:
        """Prepare the sweeps without calling AWS."""
        self.streams = streams
        self._connect = connect
        self._clock = clock
        self._retry_policy = retry_policy
        self._cancelled = threading.Event()
        self._changed = threading.Condition()
        self._error: Exception | None = None

    def start(self) -> None:
        """Start the sweeps of all pools."""
        for stream in self.streams:
            name = f"report-{stream.settings.id}"
            threading.Thread(target=self._run, args=(stream,), name=name, daemon=True).start()

    def cancel(self) -> None:
        """Stop the running sweeps at their next step."""
        self._cancelled.set()

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds`, and return True if all sweeps have finished.

        Raises the unexpected exception of a sweep, and `OSError` if the output cannot be written.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._error is not None or self._all_finished(), seconds)
            if self._error is not None:
                raise self._error
            return self._all_finished()

    def progress(self) -> Progress:
        """Return the progress of all pools together."""
        users_expected: int | None = 0
        for stream in self.streams:
            expected = stream.users_done if stream.finished else stream.users_expected
            users_expected = None if users_expected is None or expected is None else users_expected + expected
        return Progress(
            users_done=sum(stream.users_done for stream in self.streams),
            users_expected=users_expected,
            devices_shown=sum(stream.devices_shown for stream in self.streams),
        )

    def _all_finished(self) -> bool:
        return all(stream.finished for stream in self.streams)

    def _run(self, stream: DeviceStream) -> None:
        error = None
        try:
            stream.failure = self._sweep(stream)
        except Exception as unexpected:  # noqa: BLE001 - raised in the waiting thread
            error = unexpected
            self._cancelled.set()
        with self._changed:
            self._error = self._error or error
            stream.finished = True
            self._changed.notify_all()

    def _sweep(self, stream: DeviceStream) -> Reason | None:
        """Sweep a pool; return the reason if the sweep is incomplete."""

        def sleep(seconds: float) -> None:
            self._cancelled.wait(seconds)

        try:
            sweep = Sweep(
                stream,
                self._connect(stream.settings, self._cancelled.is_set),
                RawIdentity(),
                stream,
                self._clock,
                cancelled=self._cancelled.is_set,
                sleep=sleep,
                retry_policy=self._retry_policy,
            )
            outcome = sweep.run()
        except Cancelled:
            return None
        except AwsError as error:  # raised while connecting: a sweep handles its own errors
            log.warning("cannot start sweep", user_pool_id=stream.settings.id, error=str(error))
            return error.reason
        return None if outcome.complete else outcome.reason
