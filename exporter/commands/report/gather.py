"""Sweeps of a report: one thread per pool, as in the daemon, and their combined progress."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from exporter.aws.api import PoolReader
from exporter.clock import Clock
from exporter.collect.sweeping.sweep import Sweep
from exporter.commands.report.stream import DeviceStream
from exporter.config.settings import PoolSettings
from exporter.errors import AwsError, Cancelled, Reason
from exporter.identity import RawIdentity
from exporter.observers import NullObserver
from exporter.retry import DEFAULT_RETRY_POLICY, RetryPolicy

log = structlog.get_logger()


class Connect(Protocol):
    """Factory of readers, each for one sweep of a pool; raises `AwsError` if it cannot connect."""

    def __call__(self, pool: PoolSettings, cancelled: Callable[[], bool]) -> PoolReader:
        """Return the reader; it polls `cancelled` while it waits."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of all pools together."""

    users_done: int
    users_expected: int | None
    """None until it is known for every pool."""
    devices_shown: int


@dataclass(slots=True)
class _PoolSweep:
    """Sweep of one pool, and its result."""

    stream: DeviceStream
    over: bool = False
    failure: Reason | None = None
    """Reason why the sweep is incomplete."""
    error: Exception | None = field(default=None, repr=False)
    """Unexpected exception, or `OSError` of the output."""


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
        self._sweeps = [_PoolSweep(stream) for stream in streams]
        self._connect = connect
        self._clock = clock
        self._retry_policy = retry_policy
        self._cancelled = threading.Event()
        self._changed = threading.Condition()

    def start(self) -> None:
        """Start the sweeps of all pools."""
        for sweep in self._sweeps:
            name = f"report-{sweep.stream.settings.id}"
            threading.Thread(target=self._run, args=(sweep,), name=name, daemon=True).start()

    def cancel(self) -> None:
        """Stop the running sweeps at their next step."""
        self._cancelled.set()

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds`, and return True if all sweeps have finished.

        Raises the unexpected exception of a sweep, and `OSError` if the output cannot be written.
        """
        with self._changed:
            self._changed.wait_for(self._is_over, seconds)
            for sweep in self._sweeps:
                if sweep.error is not None:
                    raise sweep.error
            return all(sweep.over for sweep in self._sweeps)

    def progress(self) -> Progress:
        """Return the progress of all pools together."""
        streams = [sweep.stream for sweep in self._sweeps]
        expected = [_expected(sweep) for sweep in self._sweeps]
        return Progress(
            users_done=sum(stream.users_done for stream in streams),
            users_expected=None if None in expected else sum(users or 0 for users in expected),
            devices_shown=sum(stream.devices_shown for stream in streams),
        )

    def failures(self) -> dict[str, Reason]:
        """Return the pools whose sweep is incomplete, with the reason."""
        return {sweep.stream.settings.id: sweep.failure for sweep in self._sweeps if sweep.failure is not None}

    def _is_over(self) -> bool:
        return all(sweep.over for sweep in self._sweeps) or any(sweep.error is not None for sweep in self._sweeps)

    def _run(self, sweep: _PoolSweep) -> None:
        try:
            sweep.failure = self._swept(sweep.stream)
        except Exception as error:  # noqa: BLE001 - raised in the waiting thread
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
        except AwsError as error:  # raised while connecting: a sweep handles its own errors
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
            retry_policy=self._retry_policy,
        )

    def _sleep(self, seconds: float) -> None:
        self._cancelled.wait(seconds)


def _expected(sweep: _PoolSweep) -> int | None:
    """Return the expected number of users; the actual one if the sweep has finished."""
    return sweep.stream.users_done if sweep.over else sweep.stream.users_expected


class _Failures(NullObserver):
    """Observer that counts users who could not be read."""

    def __init__(self, stream: DeviceStream) -> None:
        self._stream = stream

    def user_read_failed(self, pool_id: str, reason: Reason) -> None:  # noqa: ARG002 - the stream has one pool
        """Count a user who could not be read."""
        self._stream.user_failed(reason)
