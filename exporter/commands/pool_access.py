"""How the commands that look once reach AWS: the daemon's own way, many pools side by side, and nobody who listens."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from queue import SimpleQueue
from typing import TextIO, TypeVar

import click

from exporter.aws.api import DEFAULT_QUOTAS, Category, CognitoApi
from exporter.aws.rate.limiters import Budgets, Rates
from exporter.aws.sessions import ApiFactory, Connections
from exporter.clock import Clock
from exporter.collect.sweeping.pagination import Ask
from exporter.collect.sweeping.workers import Patience
from exporter.config.settings import Share, TargetSettings
from exporter.errors import Reason
from exporter.observers import Target

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 16
"""Pools that are looked at side by side: one that does not answer holds up few others."""

ATTEMPTS = 3
"""At one call: whoever waits for the answer asks again himself."""


def connections(
    targets: Collection[TargetSettings], rates: Rates, clock: Clock, make_api: ApiFactory, *, shards: int = 1
) -> Connections:
    """Ways to reach these accounts and Regions, within these rates."""
    made = Connections(make_api, Budgets(rates, clock, shards=shards), Unheard(), clock)
    made.retain(targets)
    return made


def plain_rates(rates: Rates) -> dict[str, float]:
    """Rates as numbers: of a share, its part of the documented default, as nobody asks AWS for the quota."""
    return {
        category: rate.fraction * DEFAULT_QUOTAS[Category(category)] if isinstance(rate, Share) else rate
        for category, rate in rates.items()
    }


class KeptApis:
    """Clients, made when they are first needed and kept, so that others than a pool's reader may ask through them."""

    def __init__(self, make: ApiFactory) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: dict[TargetSettings, CognitoApi] = {}

    def __call__(self, settings: TargetSettings) -> CognitoApi:
        """The client; raises `AwsError` as `make` does."""
        with self._lock:
            if settings not in self._made:
                self._made[settings] = self._make(settings)
            return self._made[settings]


def patiently(patience: Patience, cancelled: threading.Event) -> Ask:
    """Return a function that asks again a few times what fails retryably."""
    return patience.retrier(min(ATTEMPTS, patience.first_attempts), lambda seconds: _wait(cancelled, seconds))


def _wait(cancelled: threading.Event, seconds: float) -> None:
    cancelled.wait(seconds)


def of_each(things: Sequence[T], look: Callable[[T], R], cancelled: threading.Event, err: TextIO) -> list[R]:
    """What `look` returns of each, in their order; on a terminal, a bar shows how many are through.

    Raises what `look` has raised first. That, and Ctrl-C, sets `cancelled` and waits for no answer that is under way.
    """
    answers = SimpleQueue[tuple[int, R | Exception]]()
    waiting = iter(list(enumerate(things)))  # whose iterator many threads may share
    # Not those of an executor, which the end of the process would wait for.
    for _ in range(min(AT_ONCE, len(things))):
        threading.Thread(target=_work, args=(waiting, look, cancelled, answers), name="look", daemon=True).start()
    found: dict[int, R] = {}
    with click.progressbar(length=len(things), label="pools", file=err, show_pos=True, hidden=not err.isatty()) as bar:
        try:
            while len(found) < len(things):
                place, answer = _next(answers)
                found[place] = answer
                bar.update(1)
        except BaseException:
            cancelled.set()
            raise
    return [found[place] for place in range(len(things))]


def _next(answers: SimpleQueue[tuple[int, R | Exception]]) -> tuple[int, R]:
    place, answer = answers.get()
    if isinstance(answer, Exception):
        raise answer
    return place, answer


def _work(
    waiting: Iterator[tuple[int, T]],
    look: Callable[[T], R],
    cancelled: threading.Event,
    answers: SimpleQueue[tuple[int, R | Exception]],
) -> None:
    for place, thing in waiting:
        if cancelled.is_set():
            return
        try:
            answers.put((place, look(thing)))
        except Exception as error:  # noqa: BLE001 - raised to whoever waits
            answers.put((place, error))


class Unheard:
    """`exporter.observers.AwsObserver` for a process that has no metrics."""

    def target_added(self, target: Target) -> None:
        """Not heard."""

    def target_removed(self, target: Target) -> None:
        """Not heard."""

    def target_named(self, unknown: Target, known: Target) -> None:
        """Not heard."""

    def request_finished(
        self, target: Target, operation: str, seconds: float, reason: Reason | None, *, attempted: bool
    ) -> None:
        """Not heard."""

    def waited(self, target: Target, category: str, seconds: float) -> None:
        """Not heard."""
