"""Simulation of the error of a count of stale devices between two sweeps.

It prints the table in docs/capacity.md, which explains the model. Run it with the defaults or with your own numbers:

    python tools/stale_error.py
    python tools/stale_error.py --median-days 10 --sigma 1.5 --threshold-days 90 --intervals 1h 1d 7d

It needs only Python's standard library.
"""

from __future__ import annotations

import argparse
import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_DAYS = {"h": 1 / 24, "d": 1.0, "w": 7.0}
_INTERVALS = ("1h", "6h", "1d", "2d", "7d", "14d", "21d")


@dataclass(frozen=True, slots=True)
class SignInDistribution:
    """Distribution of sign-ins over devices."""

    median_days: float
    """Half of the devices authenticate more often than once in this number of days, on average."""
    sigma: float
    """Standard deviation of the natural logarithm of the rates, which are log-normal."""

    def rate(self, chance: random.Random) -> float:
        """Return the authentications per day of a random device."""
        return chance.lognormvariate(-math.log(self.median_days), self.sigma)


@dataclass(frozen=True, slots=True)
class DeviceState:
    """State of one device at one time. All times are in days."""

    idle: float
    """Time since the last authentication."""
    idle_when_read: float
    """Idle time at the last read. Relevant only if the device has authenticated since then."""
    phase: float
    """Elapsed share of the time between two reads, from 0 to 1."""

    def idle_as_known(self, since_read: float) -> float:
        """Return the idle time known to an exporter that read the device `since_read` days ago."""
        return self.idle if self.idle > since_read else since_read + self.idle_when_read


def device_states(devices: int, habits: SignInDistribution, chance: random.Random) -> Iterator[DeviceState]:
    """Yield the state of each device at a random time.

    Authentications are a Poisson process, so the time since the last one is exponentially distributed.
    """
    for _ in range(devices):
        rate = habits.rate(chance)
        yield DeviceState(chance.expovariate(rate), chance.expovariate(rate), chance.random())


@dataclass(slots=True)
class ErrorCounts:
    """Number of devices that are wrongly counted as stale, for one time between two reads in days."""

    interval: float
    on_average: int = 0
    at_most: int = 0
    """Number if every device was read a whole interval ago, which is the case just before a quick sweep."""

    def add(self, moment: DeviceState, threshold: float) -> None:
        """Count a device that is not stale."""
        self.on_average += self._stale_as_known(moment, self.interval * moment.phase, threshold)
        self.at_most += self._stale_as_known(moment, self.interval, threshold)

    @staticmethod
    def _stale_as_known(moment: DeviceState, since_read: float, threshold: float) -> bool:
        return moment.idle <= since_read and moment.idle_as_known(since_read) > threshold


@dataclass(slots=True)
class Outcome:
    """Sums over all devices and rounds."""

    tallies: list[ErrorCounts]
    devices: int = 0
    stale: int = 0


def simulate(
    devices: int, rounds: int, habits: SignInDistribution, threshold: float, intervals: Sequence[float], seed: int
) -> Outcome:
    """Compare the true count with the exported one, with the same devices for each interval. Times are in days."""
    chance = random.Random(seed)  # noqa: S311 - a simulation must be repeatable, not secret
    outcome = Outcome([ErrorCounts(interval) for interval in intervals])
    for moment in device_states(devices * rounds, habits, chance):
        outcome.devices += 1
        if moment.idle > threshold:
            outcome.stale += 1
            continue
        for tally in outcome.tallies:
            tally.add(moment, threshold)
    return outcome


def table(outcome: Outcome, names: Sequence[str]) -> str:
    """Render the outcome as a Markdown table."""
    head = (
        "| time between reads | mean error of the share | maximum error of the share | mean error of the count |\n"
        "|---|---|---|---|"
    )
    rows = [
        f"| {name} | {_percent(tally.on_average, outcome.devices)} | {_percent(tally.at_most, outcome.devices)}"
        f" | {_percent(tally.on_average, outcome.stale)} |"
        for name, tally in zip(names, outcome.tallies, strict=True)
    ]
    return "\n".join((head, *rows))


def _percent(part: int, whole: int) -> str:
    if not whole:
        return "–"
    percent = 100 * part / whole
    return f"{percent:.2f} %" if percent < 1 else f"{percent:.1f} %"


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _natural(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive integer")
    return value


def _duration(text: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]*[hdw]", text):
        raise argparse.ArgumentTypeError(f"{text} is not a duration such as 6h, 7d or 3w")
    return text


def _in_days(duration: str) -> float:
    return int(duration[:-1]) * _DAYS[duration[-1]]


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Simulate the error of a count of stale devices between two sweeps.")
    parser.add_argument("--devices", type=_natural, default=20_000)
    parser.add_argument(
        "--rounds", type=_natural, default=25, help="number of random times at which all devices are observed"
    )
    parser.add_argument(
        "--median-days", type=_positive, default=2.0, help="half of the devices authenticate more often than this"
    )
    parser.add_argument("--sigma", type=_positive, default=2.0, help="spread of the log-normal rates")
    parser.add_argument(
        "--threshold-days", type=_positive, default=30.0, help="idle time above which a device is stale"
    )
    parser.add_argument("--intervals", type=_duration, nargs="+", default=_INTERVALS, metavar="DURATION")
    parser.add_argument("--seed", type=int, default=1)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table for the given numbers."""
    given = _arguments().parse_args(argv)
    outcome = simulate(
        given.devices,
        given.rounds,
        SignInDistribution(given.median_days, given.sigma),
        given.threshold_days,
        [_in_days(name) for name in given.intervals],
        given.seed,
    )
    print(f"{_percent(outcome.stale, outcome.devices)} of the devices are stale.\n")  # noqa: T201 - what it is for
    print(table(outcome, given.intervals))  # noqa: T201 - as above


if __name__ == "__main__":
    main()
