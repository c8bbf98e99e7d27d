"""Measurement environment that detects load by other programs and repeats disturbed measurements."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from bench.errors import NotMeasured
from bench.host import MAX_OTHER_SHARE, available_cores, other_cores, read_cpu_times
from bench.processes_under_test import Launcher, LoopbackCognito, ProcessUnderTest

T = TypeVar("T")

ATTEMPTS = 4
"""Maximum number of attempts for a disturbed measurement."""

PAUSE_SECONDS = 3.0
"""Pause after a disturbed measurement, during which the other load may end."""

QUIET_SECONDS = 3.0
"""Time for which the machine must be quiet before the first measurement."""

SERVER_CORES = 0.6
"""CPU usage above which the loopback Cognito may limit its clients."""

SERVER_LATE = 0.02
"""Lateness of responses in seconds above which the machine was too busy."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Durations, repetitions and sizes of the measurements."""

    window: float
    """Seconds per measurement of a rate."""
    long_window: float
    """Seconds per measurement of CPU usage; a scrape interval in the full benchmark."""
    repetitions: int
    users: float = 1.0
    """Factor for pool sizes."""

    def size(self, number: int) -> int:
        """Return a number of users at this scale."""
        return max(60, round(number * self.users))


FULL = Scale(window=7.0, long_window=15.0, repetitions=2)
QUICK = Scale(window=3.0, long_window=3.0, repetitions=1, users=0.05)


class DisturbanceRetrier:
    """Repeats measurements that other programs have disturbed."""

    def __init__(
        self,
        other_cores_during: Callable[[Callable[[], object]], float],
        *,
        tolerant: bool,
        log: Callable[[str], None],
        max_cores: float,
        pause: float = PAUSE_SECONDS,
    ) -> None:
        """Other programs may use up to `max_cores`. If `tolerant`, accept disturbed measurements."""
        self._other_cores_during = other_cores_during
        self._tolerant = tolerant
        self._log = log
        self._max_cores = max_cores
        self._pause = pause
        self.max_other_cores = 0.0
        """Maximum number of cores used by other programs during an accepted measurement."""

    def measure_undisturbed(self, what: str, measure: Callable[[], T]) -> T:
        """Return the result of an undisturbed measurement.

        Raise `NotMeasured` if all attempts are disturbed.
        """
        for _ in range(ATTEMPTS):
            results: list[T] = []
            others = self._other_cores_during(lambda: results.append(measure()))  # noqa: B023 - called at once
            if self._tolerant or others <= self._max_cores:
                self.max_other_cores = max(self.max_other_cores, others)
                return results[0]
            self._log(f"{what}: other programs used {others:.2f} cores")
            time.sleep(self._pause)
        raise NotMeasured(f"the machine is too busy: other programs used {others:.2f} cores")


class Lab:
    """Runs measurements of processes that the launcher starts."""

    def __init__(self, launcher: Launcher, scale: Scale, *, tolerant: bool, log: Callable[[str], None]) -> None:
        """If `tolerant`, accept disturbed measurements."""
        self.launcher = launcher
        self.scale = scale
        self.tolerant = tolerant
        self.log = log
        self._retrier = DisturbanceRetrier(
            self._other_cores_during, tolerant=tolerant, log=log, max_cores=MAX_OTHER_SHARE * available_cores()
        )

    @property
    def max_other_cores(self) -> float:
        """Maximum number of cores used by other programs during an accepted measurement."""
        return self._retrier.max_other_cores

    def measure_undisturbed(self, what: str, measure: Callable[[], T]) -> T:
        """Call `DisturbanceRetrier.measure_undisturbed`."""
        return self._retrier.measure_undisturbed(what, measure)

    def _other_cores_during(self, act: Callable[[], object]) -> float:
        """Run an action and return the mean number of cores that other programs used meanwhile."""
        own = self.launcher.children.cpu_seconds
        before = read_cpu_times(own)
        act()
        return other_cores(before, read_cpu_times(own))

    def require_quiet(self) -> None:
        """Wait until the machine is quiet. Raise `NotMeasured` if it stays busy."""
        self.measure_undisturbed("before the start", lambda: time.sleep(QUIET_SECONDS))

    def repeat(self, what: str, measure: Callable[[], T]) -> Iterator[T]:
        """Yield undisturbed results, one per repetition of the scale."""
        for _ in range(self.scale.repetitions):
            yield self.measure_undisturbed(what, measure)

    @contextmanager
    def count_calls(self, loopback: LoopbackCognito) -> Iterator[CallCount]:
        """Count the calls to the loopback Cognito during the context. The result is filled at its end.

        Raise `NotMeasured` if the server was too slow for its client.
        """
        window = CallCount()
        cpu = loopback.child.cpu_seconds
        loopback.reset()
        yield window
        statistics = loopback.statistics()
        used = (loopback.child.cpu_seconds - cpu) / statistics.seconds
        if used > SERVER_CORES:
            raise NotMeasured(f"the loopback Cognito was saturated: it used {used:.2f} cores")
        if statistics.lateness_p99 > SERVER_LATE and not self.tolerant:
            raise NotMeasured(f"the loopback Cognito answered up to {statistics.lateness_p99 * 1000:.0f} ms late")
        window.seconds = statistics.seconds
        window.calls = statistics.calls.get(READ, 0)
        window.max_per_second = statistics.max_per_second.get(READ, 0)


READ = "AdminListDevices"


@dataclass(slots=True)
class CallCount:
    """AdminListDevices calls as counted by the loopback Cognito."""

    seconds: float = 0.0
    calls: int = 0
    max_per_second: int = 0


def cpu_during(process: ProcessUnderTest, act: Callable[[], object]) -> float:
    """Return the CPU seconds that a process used during an action."""
    before = process.child.cpu_seconds
    act()
    return process.child.cpu_seconds - before
