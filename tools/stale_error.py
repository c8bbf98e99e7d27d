"""How far a count of stale devices is off between two sweeps: a simulation, with numbers of your own if you like.

The table in docs/capacity.md, which explains the model, is what this prints:

    python tools/stale_error.py
    python tools/stale_error.py --median-days 10 --sigma 1.5 --threshold-days 90 --intervals 1h 1d 7d

Only Python's standard library is needed.
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
class Habits:
    """How the owners of devices sign in."""

    median_days: float
    """Half of the devices authenticate more often than once in so many days, on average."""
    sigma: float
    """Spread of the log-normal rates: the standard deviation of their natural logarithm."""

    def rate(self, chance: random.Random) -> float:
        """The authentications per day of one device."""
        return chance.lognormvariate(-math.log(self.median_days), self.sigma)


@dataclass(frozen=True, slots=True)
class Moment:
    """What there is to know of one device at one moment, times in days."""

    idle: float
    """Since its last authentication."""
    idle_when_read: float
    """When it was last read, since the last authentication up to then; counts where there was one after that."""
    phase: float
    """How far the time between two readings has passed, from 0 to 1."""

    def idle_as_known(self, since_read: float) -> float:
        """How long it seems idle to an exporter that read it so many days ago: what came later is unknown."""
        return self.idle if self.idle > since_read else since_read + self.idle_when_read


def moments(devices: int, habits: Habits, chance: random.Random) -> Iterator[Moment]:
    """Each device at a random moment.

    Authentications are a Poisson process, so from wherever one looks back, the time to the last one is exponential.
    """
    for _ in range(devices):
        rate = habits.rate(chance)
        yield Moment(chance.expovariate(rate), chance.expovariate(rate), chance.random())


@dataclass(slots=True)
class Tally:
    """Devices counted as stale although they are not, for one time between two readings of a device, in days."""

    interval: float
    on_average: int = 0
    at_most: int = 0
    """If every device was read a whole interval ago: just before a quick sweep reads them all."""

    def add(self, moment: Moment, threshold: float) -> None:
        """Count a device that is not stale."""
        self.on_average += self._stale_as_known(moment, self.interval * moment.phase, threshold)
        self.at_most += self._stale_as_known(moment, self.interval, threshold)

    @staticmethod
    def _stale_as_known(moment: Moment, since_read: float, threshold: float) -> bool:
        return moment.idle <= since_read and moment.idle_as_known(since_read) > threshold


@dataclass(slots=True)
class Outcome:
    """Sums over all devices and rounds."""

    tallies: list[Tally]
    devices: int = 0
    stale: int = 0


def simulate(
    devices: int, rounds: int, habits: Habits, threshold: float, intervals: Sequence[float], seed: int
) -> Outcome:
    """Compare the true count with the shown one, for each interval on the same devices. Times are days."""
    chance = random.Random(seed)  # noqa: S311 - a simulation must be repeatable, not secret
    outcome = Outcome([Tally(interval) for interval in intervals])
    for moment in moments(devices * rounds, habits, chance):
        outcome.devices += 1
        if moment.idle > threshold:
            outcome.stale += 1
            continue
        for tally in outcome.tallies:
            tally.add(moment, threshold)
    return outcome


def table(outcome: Outcome, names: Sequence[str]) -> str:
    """The outcome as a table in Markdown; shares in percent."""
    head = (
        "| between two readings | share shown too high by, on average | and at most | count too high by, on average |\n"
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
        raise argparse.ArgumentTypeError(f"{text} is not a number above zero")
    return value


def _natural(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1")
    return value


def _duration(text: str) -> str:
    if not re.fullmatch(r"[1-9][0-9]*[hdw]", text):
        raise argparse.ArgumentTypeError(f"{text} is not a duration such as 6h, 7d or 3w")
    return text


def _in_days(duration: str) -> float:
    return int(duration[:-1]) * _DAYS[duration[-1]]


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="How far a count of stale devices is off between two sweeps.")
    parser.add_argument("--devices", type=_natural, default=20_000)
    parser.add_argument("--rounds", type=_natural, default=25, help="moments at which all devices are looked at")
    parser.add_argument(
        "--median-days", type=_positive, default=2.0, help="half of the devices authenticate more often than this"
    )
    parser.add_argument("--sigma", type=_positive, default=2.0, help="spread of the log-normal rates")
    parser.add_argument("--threshold-days", type=_positive, default=30.0, help="idle for longer is stale")
    parser.add_argument("--intervals", type=_duration, nargs="+", default=_INTERVALS, metavar="DURATION")
    parser.add_argument("--seed", type=int, default=1)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Print the table for the given numbers."""
    given = _arguments().parse_args(argv)
    outcome = simulate(
        given.devices,
        given.rounds,
        Habits(given.median_days, given.sigma),
        given.threshold_days,
        [_in_days(name) for name in given.intervals],
        given.seed,
    )
    print(f"{_percent(outcome.stale, outcome.devices)} of the devices are stale.\n")  # noqa: T201 - what it is for
    print(table(outcome, given.intervals))  # noqa: T201 - as above


if __name__ == "__main__":
    main()
