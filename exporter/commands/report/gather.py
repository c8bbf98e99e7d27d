"""The sweeps of a report: a thread per pool, as in the daemon, and one place to ask how far they are."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from exporter.aws.api import PoolReader
from exporter.clock import Clock
from exporter.collect.sweeping.sweep import Sweep
from exporter.collect.sweeping.workers import PATIENCE, Patience
from exporter.commands.report.stream import DeviceStream
from exporter.config.settings import PoolSettings
from exporter.errors import AwsError, Cancelled, Reason
from exporter.identity import RawIdentity

log = structlog.get_logger()


class Connect(Protocol):
    """Makes a reader for one sweep of a pool; raises `AwsError` when that is not possible."""

    def __call__(self, pool: PoolSettings, cancelled: Callable[[], bool]) -> PoolReader:
        """The reader; it asks `cancelled` while it waits."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """How far all pools together are."""

    users_done: int
    users_expected: int | None
    """None while it is not known of every pool."""
    devices_shown: int


@dataclass(slots=True)
class _PoolSweep:
    """One pool under way, and how it ended."""

    stream: DeviceStream
    over: bool = False
    failure: Reason | None = None
    """Why not every user was asked."""
    error: Exception | None = field(default=None, repr=False)
    """What was not foreseen, and what the output has raised."""


class Gathering:
    """Sweeps pools side by side, each on a thread of its own."""

    def __init__(
        self, streams: Sequence[DeviceStream], connect: Connect, clock: Clock, *, patience: Patience = PATIENCE
    ) -> None:
        """Nothing is asked yet."""
        self._sweeps = [_PoolSweep(stream) for stream in streams]
        self._connect = connect
        self._clock = clock
        self._patience = patience
        self._cancelled = threading.Event()
        self._changed = threading.Condition()

    def start(self) -> None:
        """Begin with all pools."""
        for sweep in self._sweeps:
            name = f"report-{sweep.stream.settings.id}"
            threading.Thread(target=self._run, args=(sweep,), name=name, daemon=True).start()

    def cancel(self) -> None:
        """End the sweeps under way at their next step."""
        self._cancelled.set()

    def wait(self, seconds: float) -> bool:
        """Whether all pools are through, now or within so many seconds.

        Raises what a sweep has raised unforeseen, and `OSError` as the output does.
        """
        with self._changed:
            self._changed.wait_for(self._is_over, seconds)
            for sweep in self._sweeps:
                if sweep.error is not None:
                    raise sweep.error
            return all(sweep.over for sweep in self._sweeps)

    def progress(self) -> Progress:
        """How far it is."""
        streams = [sweep.stream for sweep in self._sweeps]
        expected = [_expected(sweep) for sweep in self._sweeps]
        return Progress(
            users_done=sum(stream.users_done for stream in streams),
            users_expected=None if None in expected else sum(users or 0 for users in expected),
            devices_shown=sum(stream.devices_shown for stream in streams),
        )

    def failures(self) -> dict[str, Reason]:
        """The pools of which not every user was asked, and why."""
        return {sweep.stream.settings.id: sweep.failure for sweep in self._sweeps if sweep.failure is not None}

    def _is_over(self) -> bool:
        return all(sweep.over for sweep in self._sweeps) or any(sweep.error is not None for sweep in self._sweeps)

    def _run(self, sweep: _PoolSweep) -> None:
        try:
            sweep.failure = self._swept(sweep.stream)
        except Exception as error:  # noqa: BLE001 - raised to whoever waits
            sweep.error = error
            self._cancelled.set()
        finally:
            with self._changed:
                sweep.over = True
                self._changed.notify_all()

    def _swept(self, stream: DeviceStream) -> Reason | None:
        try:
            reader = self._connect(stream.settings, self._cancelled.is_set)
            outcome = self._sweep(stream, reader).run()
        except Cancelled:
            return None
        except AwsError as error:  # in connecting: a sweep deals with its own
            log.warning("cannot reach AWS", user_pool_id=stream.settings.id, error=str(error))
            return error.reason
        return None if outcome.complete else outcome.reason

    def _sweep(self, stream: DeviceStream, reader: PoolReader) -> Sweep:
        return Sweep(
            stream,
            reader,
            RawIdentity(),
            _Failures(stream),
            self._clock,
            cancelled=self._cancelled.is_set,
            sleep=self._sleep,
            patience=self._patience,
        )

    def _sleep(self, seconds: float) -> None:
        self._cancelled.wait(seconds)


def _expected(sweep: _PoolSweep) -> int | None:
    """A pool that is through needs no more users than it has had."""
    return sweep.stream.users_done if sweep.over else sweep.stream.users_expected


class _Failures:
    """`exporter.observers.SweepObserver` that hears of users who could not be read, and of nothing else."""

    def __init__(self, stream: DeviceStream) -> None:
        self._stream = stream

    def user_read_failed(self, pool_id: str, reason: Reason) -> None:  # noqa: ARG002 - there is one pool
        """A user could not be read."""
        self._stream.user_failed(reason)

    def pool_added(self, pool_id: str) -> None:
        """Not heard."""

    def pool_removed(self, pool_id: str) -> None:
        """Not heard."""

    def sweep_finished(self, pool_id: str, reason: Reason | None) -> None:
        """Not heard."""

    def sweep_overran(self, pool_id: str) -> None:
        """Not heard."""

    def sweep_missed(self, pool_id: str) -> None:
        """Not heard."""

    def users_vanished(self, pool_id: str, users: int) -> None:
        """Not heard."""

    def user_skipped(self, pool_id: str, reason: str) -> None:
        """Not heard."""

    def failed_unexpectedly(self, component: str) -> None:
        """Not heard."""

    def state_failed(self) -> None:
        """Not heard."""
