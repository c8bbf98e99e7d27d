"""Reads the devices of many users at once: as many calls in flight as the rate and the latency ask for.

A worker takes a user only when it holds one of a few places in the line for the rate budget, and gives the
place up as its request departs. The next worker in line is woken, or made where none is idle; so the calls
in flight grow to rate × latency by themselves, with few threads of a pool waiting for their first page.
"""

from __future__ import annotations

import heapq
import itertools
import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from exporter.aws.api import PAGE_SIZE
from exporter.clock import Clock
from exporter.collect.sweeping.pagination import Ask
from exporter.errors import AwsError, Cancelled, Reason, Verdict

T = TypeVar("T")

IN_LINE = 2
"""Workers of one pool that may wait for the rate budget: one in line, one on its way there."""

MAX_WORKERS = 256
"""A pool's calls in flight; beyond that an answer takes so long that more would not help."""

MAX_WAITING_TASKS = 600
"""Ten pages of users: the enumeration is never further ahead, so that a large pool is never in memory."""


ROOM_AGAIN = MAX_WAITING_TASKS - 2 * PAGE_SIZE
"""The enumeration goes on when so few wait: waking it for each single user would cost more than the user."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How often and how soon a call that failed retryably is asked again."""

    attempts: int = 12
    """At one call in one sweep. Where a third of all calls fails, one in 500,000 fails so often."""
    first_attempts: int = 6
    """At the call that a sweep begins with: a pool that does not answer shows as failing within seconds, and is
    swept anew soon."""
    failures_in_a_row: int = 50
    """Retryable failures without any success between them, after which the sweep ends: nothing gets through."""
    silence: float = 60.0
    """Seconds for which nothing must have got through besides: a short outage is waited out."""
    first_delay: float = 0.5
    """Seconds until the second attempt; doubling with each, less up to a half of jitter."""
    max_delay: float = 30.0

    def delay(self, attempts: int) -> float:
        """Seconds to wait after so many attempts."""
        longest = min(self.max_delay, self.first_delay * 2.0 ** (attempts - 1))
        return longest * random.uniform(0.5, 1)  # noqa: S311 - jitter, no secret

    def retrier(self, attempts: int, sleep: Callable[[float], None]) -> Ask:
        """Return a function that makes a call up to `attempts` times while it fails retryably.

        It refers to no error that it has raised: with its traceback that would be a reference cycle.
        """

        def retry(call: Callable[[], T]) -> T:
            for attempt in range(1, attempts):
                try:
                    return call()
                except AwsError as error:
                    if not error.is_retryable:
                        raise
                sleep(self.delay(attempt))
            return call()

        return retry


PATIENCE = Patience()


@dataclass(order=True, slots=True)
class ReadTask:
    """One user to be read; ordered by when it may be asked next."""

    not_before: float
    number: int
    username: str = field(compare=False, repr=False)
    identity: bytes = field(compare=False)
    attempts: int = field(compare=False, default=0)


class Readers:
    """The workers of one sweep of one pool."""

    def __init__(
        self,
        read: Callable[[ReadTask, Callable[[], None]], None],
        given_up: Callable[[ReadTask, Reason], None],
        clock: Clock,
        cancelled: Callable[[], bool],
        name: str,
        patience: Patience = PATIENCE,
    ) -> None:
        """Call `read(task, departed)` for each user on some worker, again later when it fails retryably.

        `read` raises `AwsError`; `given_up` hears of users who could not be read. An error whose verdict is
        to stop the pool, or one that is not ours, ends all work and is raised by `finish`.
        """
        self._read = read
        self._given_up = given_up
        self._clock = clock
        self._cancelled = cancelled
        self._name = name
        self._patience = patience
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._numbers = itertools.count()
        self._tasks: list[ReadTask] = []
        self._unfinished = 0
        self._no_more = False
        self._stopped = False
        self._places = IN_LINE
        self._idle = 0
        self._workers = 0
        self._failures_in_a_row = 0
        self._failing_since = 0.0
        self._failure: Exception | None = None
        self.failures: Counter[Reason] = Counter()
        """Users given up, by reason."""

    def submit(self, username: str, identity: bytes) -> bool:
        """Queue a user, waiting while too many are queued; False once the work has ended early."""
        with self._lock:
            while len(self._tasks) >= MAX_WAITING_TASKS and not self._ended():
                self._room.wait(1.0)
            if self._ended():
                return False
            self._unfinished += 1
            self._push(ReadTask(self._clock.monotonic(), next(self._numbers), username, identity))
            self._hire()
            return True

    def finish(self) -> None:
        """Wait until every submitted user is read or given up.

        Raises what ended the work early, and `Cancelled` when told to stop.
        """
        with self._lock:
            self._no_more = True
            self._changed.notify_all()
            while self._unfinished and not self._ended():
                self._room.wait(0.2)
            failure = self._failure
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # else the error's traceback refers to the error
        if self._cancelled():
            raise Cancelled("the sweep was told to stop")

    def stop(self) -> None:
        """Let the workers go home, however much is left."""
        with self._lock:
            self._stopped = True
            self._failure = None  # its traceback refers to these readers
            self._wake_everyone()

    def _ended(self) -> bool:
        return self._failure is not None or self._stopped or self._cancelled()

    def _push(self, task: ReadTask) -> None:
        heapq.heappush(self._tasks, task)
        if self._places:  # else the place that comes free wakes a worker
            self._changed.notify()

    def _hire(self) -> None:
        """Start a worker when there is work and a place in line, and no worker is free to take it."""
        if self._places and self._tasks and not self._idle and self._workers < MAX_WORKERS:
            self._workers += 1
            worker = threading.Thread(target=self._work, name=f"{self._name}-{self._workers}", daemon=True)
            try:
                worker.start()
            except RuntimeError:  # the machine gives no more threads: those that there are do the work
                self._workers -= 1
                if not self._workers:
                    raise

    def _work(self) -> None:
        try:
            while (task := self._take()) is not None:
                self._run(task)
        except Exception as error:  # noqa: BLE001 - a worker's failure is raised to the sweep by finish()
            self._end(error)
        finally:
            with self._lock:
                self._workers -= 1

    def _take(self) -> ReadTask | None:
        """The next task that is due and a place in line; None when there is nothing left to do."""
        with self._lock:
            self._idle += 1
            try:
                while not self._ended():
                    now = self._clock.monotonic()
                    if self._places and self._tasks and self._tasks[0].not_before <= now:
                        self._places -= 1
                        task = heapq.heappop(self._tasks)
                        if len(self._tasks) == ROOM_AGAIN:
                            self._room.notify_all()
                        return task
                    if self._no_more and not self._unfinished:
                        break
                    self._changed.wait(self._seconds_to_next(now))
                return None
            finally:
                self._idle -= 1

    def _seconds_to_next(self, now: float) -> float:
        if self._places and self._tasks:
            return min(1.0, max(0.001, self._tasks[0].not_before - now))
        return 1.0

    def _run(self, task: ReadTask) -> None:
        place = _Place(self._give_place)
        try:
            self._read(task, place.give)
        except AwsError as error:
            self._failed(task, error)
        else:
            self._succeeded()
        finally:
            place.give()

    def _give_place(self) -> None:
        with self._lock:
            self._places += 1
            self._changed.notify()
            self._hire()

    def _succeeded(self) -> None:
        with self._lock:
            self._failures_in_a_row = 0
            self._finish_one()

    def _failed(self, task: ReadTask, error: AwsError) -> None:
        if error.verdict is Verdict.STOP_POOL:
            self._end(error)
            return
        with self._lock:
            if error.verdict is Verdict.RETRY:
                if self._nothing_gets_through():
                    self._fail(error)
                    return
                if self._again_later(task):
                    return
            self.failures[error.reason] += 1
        self._given_up(task, error.reason)  # before the sweep can end without it
        with self._lock:
            self._finish_one()

    def _nothing_gets_through(self) -> bool:
        now = self._clock.monotonic()
        if not self._failures_in_a_row:
            self._failing_since = now
        self._failures_in_a_row += 1
        many = self._failures_in_a_row >= self._patience.failures_in_a_row
        return many and now - self._failing_since >= self._patience.silence

    def _again_later(self, task: ReadTask) -> bool:
        task.attempts += 1
        if task.attempts >= self._patience.attempts:
            return False
        task.not_before = self._clock.monotonic() + self._patience.delay(task.attempts)
        self._push(task)
        return True

    def _finish_one(self) -> None:
        self._unfinished -= 1
        if not self._unfinished:
            self._wake_everyone()

    def _end(self, error: Exception) -> None:
        with self._lock:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        if self._failure is None and not self._stopped:
            self._failure = error
        self._wake_everyone()

    def _wake_everyone(self) -> None:
        self._changed.notify_all()
        self._room.notify_all()


class _Place:
    """A place in line that is given up once, however often it is asked for."""

    def __init__(self, give: Callable[[], None]) -> None:
        self._give: Callable[[], None] | None = give

    def give(self) -> None:
        """Let the next worker into the line."""
        give, self._give = self._give, None
        if give is not None:
            give()
