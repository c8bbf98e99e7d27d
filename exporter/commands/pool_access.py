"""AWS access of the one-off commands: the daemon's clients and rate limiters, concurrent calls, no metrics."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from queue import SimpleQueue
from typing import TextIO, TypeVar

import click

from exporter.aws.api import DEFAULT_QUOTAS, Category, CognitoApi
from exporter.aws.rate.limiters import RateLimiters, Rates
from exporter.aws.targets import ApiFactory, TargetClients
from exporter.clock import Clock
from exporter.config.settings import Share, TargetSettings
from exporter.observers import NullObserver
from exporter.retry import Retrier, RetryPolicy

T = TypeVar("T")
R = TypeVar("R")

CONCURRENCY = 16
"""Number of items processed concurrently, so that an unresponsive pool delays few others."""

ATTEMPTS = 3
"""Maximum attempts per call; the operator can run the command again."""


def connections(
    targets: Collection[TargetSettings], rates: Rates, clock: Clock, make_api: ApiFactory, *, shards: int = 1
) -> TargetClients:
    """Return connections to these accounts and Regions, limited to these rates."""
    made = TargetClients(make_api, RateLimiters(rates, clock, shards=shards), NullObserver(), clock)
    made.retain(targets)
    return made


def plain_rates(rates: Rates) -> dict[str, float]:
    """Return rates in requests per second; a share is taken of the documented default quota, without querying AWS."""
    return {
        category: rate.fraction * DEFAULT_QUOTAS[Category(category)] if isinstance(rate, Share) else rate
        for category, rate in rates.items()
    }


class KeptApis:
    """Cache of API clients, so that a pool's reader and account-wide calls share one client."""

    def __init__(self, make: ApiFactory) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: dict[TargetSettings, CognitoApi] = {}

    def __call__(self, settings: TargetSettings) -> CognitoApi:
        """Return the client of a target, created on first use; raises `AwsError` as `make` does."""
        with self._lock:
            if settings not in self._made:
                self._made[settings] = self._make(settings)
            return self._made[settings]


def retrier(retry_policy: RetryPolicy, cancelled: threading.Event) -> Retrier:
    """Return a function that makes a call up to `ATTEMPTS` times while it fails with a retryable error."""
    return retry_policy.retrier(min(ATTEMPTS, retry_policy.first_attempts), cancelled.wait)


def map_concurrently(things: Sequence[T], look: Callable[[T], R], cancelled: threading.Event, err: TextIO) -> list[R]:
    """Call `look` for each item concurrently and return the results in order; show a progress bar on a terminal.

    Raises the first exception of `look`. An exception or Ctrl-C sets `cancelled`, and calls in flight are not awaited.
    """
    answers = SimpleQueue[tuple[int, R | Exception]]()
    waiting = iter(list(enumerate(things)))  # threads may share the iterator of a list
    # Not an executor, whose threads the interpreter joins at exit.
    for _ in range(min(CONCURRENCY, len(things))):
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
        except Exception as error:  # noqa: BLE001 - raised in the waiting thread
            answers.put((place, error))
