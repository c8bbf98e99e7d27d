"""Where measurements are made: notices who else uses the machine, and repeats what was disturbed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from bench.errors import NotMeasured
from bench.host import MAX_OTHER_SHARE, available_cores, other_cores, read_cpu_times
from bench.processes import Children
from bench.processes_under_test import Launcher, LoopbackCognito, ProcessUnderTest

T = TypeVar("T")

ATTEMPTS = 4
"""A disturbed measurement is made again so often, then given up."""

PAUSE_SECONDS = 3.0
"""After a disturbed measurement: whatever it was may end by itself."""

QUIET_SECONDS = 3.0
"""For so long the machine is watched before anything is measured."""

SERVER_CORES = 0.6
"""A loopback Cognito that uses more of its core than this may be what limits its clients."""

SERVER_LATE = 0.02
"""Seconds; answers that go out later than this after they are due say that the machine was too busy."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How long and how often; `--quick` is for trying the bench, not for figures."""

    window: float
    """Seconds of one measurement of a rate."""
    long_window: float
    """Seconds of one measurement of CPU usage; in the full bench a scrape interval."""
    repetitions: int
    users: float = 1.0
    """Factor for the sizes of pools."""

    def size(self, number: int) -> int:
        """A number of users at this scale."""
        return max(60, round(number * self.users))


FULL = Scale(window=7.0, long_window=15.0, repetitions=2)
QUICK = Scale(window=3.0, long_window=3.0, repetitions=1, users=0.05)


class OtherLoad:
    """Tells how many cores other programs than the bench used while something was done."""

    def __init__(self, children: Children) -> None:
        self._children = children

    def __call__(self, act: Callable[[], object]) -> float:
        """Do it, and tell."""
        before = read_cpu_times(self._children.cpu_seconds)
        act()
        return other_cores(before, read_cpu_times(self._children.cpu_seconds))


class DisturbanceRetrier:
    """Repeats what was disturbed."""

    def __init__(
        self,
        others: Callable[[Callable[[], object]], float],
        *,
        tolerant: bool,
        log: Callable[[str], None],
        max_cores: float,
        pause: float = PAUSE_SECONDS,
    ) -> None:
        """Others may use `max_cores`; `tolerant` takes disturbed measurements as they are."""
        self._others = others
        self._tolerant = tolerant
        self._say = log
        self._most_cores = max_cores
        self._pause = pause
        self.max_other_cores = 0.0
        """The most cores that other programs took during any measurement that counts."""

    def measure_undisturbed(self, what: str, measure: Callable[[], T]) -> T:
        """The result of a measurement during which others left the machine alone.

        Raises `NotMeasured` when they did not in any of a few attempts.
        """
        for _ in range(ATTEMPTS):
            results: list[T] = []
            others = self._others(lambda: results.append(measure()))  # noqa: B023 - called at once
            if self._tolerant or others <= self._most_cores:
                self.max_other_cores = max(self.max_other_cores, others)
                return results[0]
            self._say(f"{what}: other programs used {others:.2f} cores")
            time.sleep(self._pause)
        raise NotMeasured(f"the machine is too busy: other programs used {others:.2f} cores")


class Lab:
    """Makes measurements with the subjects given."""

    def __init__(self, launcher: Launcher, scale: Scale, *, tolerant: bool, log: Callable[[str], None]) -> None:
        """`tolerant` takes disturbed measurements as they are."""
        self.launcher = launcher
        self.scale = scale
        self.tolerant = tolerant
        self.log = log
        self._quiet = DisturbanceRetrier(
            OtherLoad(launcher.children), tolerant=tolerant, log=log, max_cores=MAX_OTHER_SHARE * available_cores()
        )

    @property
    def max_other_cores(self) -> float:
        """The most cores that other programs took during any measurement that counts."""
        return self._quiet.max_other_cores

    def measure_undisturbed(self, what: str, measure: Callable[[], T]) -> T:
        """As `DisturbanceRetrier.measure_undisturbed`."""
        return self._quiet.measure_undisturbed(what, measure)

    def require_quiet(self) -> None:
        """Watch the machine before anything is begun.

        Raises `NotMeasured` when it does not come to rest.
        """
        self.measure_undisturbed("before the start", lambda: time.sleep(QUIET_SECONDS))

    def repeat(self, what: str, measure: Callable[[], T]) -> Iterator[T]:
        """As many undisturbed results as the scale asks for."""
        for _ in range(self.scale.repetitions):
            yield self.measure_undisturbed(what, measure)

    @contextmanager
    def count_calls(self, loopback: LoopbackCognito) -> Iterator[CallCount]:
        """A window over which the loopback Cognito counts calls; its figures are there once the context has ended.

        Raises `NotMeasured` when the server was too slow for its client.
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
    """What a loopback Cognito has counted of the call that matters."""

    seconds: float = 0.0
    calls: int = 0
    max_per_second: int = 0


def cpu_during(process: ProcessUnderTest, act: Callable[[], object]) -> float:
    """Processor seconds that a subject used while something was done with it."""
    before = process.child.cpu_seconds
    act()
    return process.child.cpu_seconds - before
