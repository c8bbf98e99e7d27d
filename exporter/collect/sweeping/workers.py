"""Self-sizing worker pool that reads the devices of many users concurrently.

A worker takes a user only if it can occupy one of `MAX_QUEUED` places in the queue of the rate budget. It releases the
place when its first request is sent. The release wakes an idle worker, or starts a new one if none is idle. The number
of requests in flight therefore adjusts to rate × latency, and few threads of a pool wait to send their first request.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from exporter.aws.api import PAGE_SIZE
from exporter.clock import Clock
from exporter.errors import AwsError, Cancelled, ErrorAction, Reason
from exporter.retry import DEFAULT_RETRY_POLICY, RetryPolicy

MAX_QUEUED = 2
"""Workers of one pool that may wait for the rate budget: one queued there, and one about to be queued."""

MAX_WORKERS = 256
"""Maximum number of workers of one pool. If latency is so high that all are busy, more requests would not help."""

MAX_WAITING_TASKS = 600
"""Maximum number of queued users (ten pages). Enumeration pauses there, so that memory use does not grow with the
pool."""


RESUME_THRESHOLD = MAX_WAITING_TASKS - 2 * PAGE_SIZE
"""Queue length at which enumeration resumes. Waking it for each single user would cost more than reading the user."""


@dataclass(order=True, slots=True)
class ReadTask:
    """One user to read, ordered by the earliest time of the next attempt in monotonic seconds."""

    not_before: float
    number: int
    username: str = field(compare=False, repr=False)
    identity: bytes = field(compare=False)
    attempts: int = field(compare=False, default=0)


class WorkerPool:
    """Worker pool of one sweep."""

    def __init__(
        self,
        read: Callable[[ReadTask, Callable[[], None]], None],
        given_up: Callable[[ReadTask, Reason], None],
        clock: Clock,
        cancelled: Callable[[], bool],
        name: str,
        retry_policy: RetryPolicy = DEFAULT_RETRY_POLICY,
    ) -> None:
        """Call `read(task, on_send)` for each user in a worker thread, and again later after a retryable error.

        `read` calls `on_send` when its request is sent, and raises `AwsError`. `on_give_up` is called for each user
        that could not be read. An error with the verdict `STOP_POOL`, or any other exception, ends all work and is
        raised by `finish`.
        """
        self._read = read
        self._given_up = given_up
        self._clock = clock
        self._cancelled = cancelled
        self._name = name
        self._retry_policy = retry_policy
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._room = threading.Condition(self._lock)
        self._numbers = itertools.count()
        self._tasks: list[ReadTask] = []
        self._unfinished = 0
        self._no_more = False
        self._stopped = False
        self._places = MAX_QUEUED
        self._idle = 0
        self._workers = 0
        self._consecutive_failures = 0
        self._failing_since = 0.0
        self._failure: Exception | None = None
        self.failures: Counter[Reason] = Counter()
        """Number of users that could not be read, by reason."""

    def submit(self, username: str, identity: bytes) -> bool:
        """Queue a user, waiting while the queue is full. Return False if the work has ended early."""
        with self._lock:
            while len(self._tasks) >= MAX_WAITING_TASKS and not self._ended():
                self._room.wait(1.0)
            if self._ended():
                return False
            self._unfinished += 1
            self._push(ReadTask(self._clock.monotonic(), next(self._numbers), username, identity))
            self._spawn_worker()
            return True

    def finish(self) -> None:
        """Wait until every submitted user was read or has failed.

        Raises the error that ended the work early, and `Cancelled` if the sweep was canceled.
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
                del failure  # breaks the reference cycle of the error, its traceback and this frame
        if self._cancelled():
            raise Cancelled("the sweep was told to stop")

    def stop(self) -> None:
        """Stop all workers and drop the queued users."""
        with self._lock:
            self._stopped = True
            self._failure = None  # breaks a reference cycle: its traceback refers to this object
            self._wake_everyone()

    def _ended(self) -> bool:
        return self._failure is not None or self._stopped or self._cancelled()

    def _push(self, task: ReadTask) -> None:
        heapq.heappush(self._tasks, task)
        if self._places:  # else the release of a place wakes a worker
            self._changed.notify()

    def _spawn_worker(self) -> None:
        """Start a worker if a user is queued, a place is free, and no worker is idle."""
        if self._places and self._tasks and not self._idle and self._workers < MAX_WORKERS:
            self._workers += 1
            worker = threading.Thread(target=self._work, name=f"{self._name}-{self._workers}", daemon=True)
            try:
                worker.start()
            except RuntimeError:  # thread limit reached: continue with the existing workers
                self._workers -= 1
                if not self._workers:
                    raise

    def _work(self) -> None:
        try:
            while (task := self._take()) is not None:
                self._run(task)
        except Exception as error:  # noqa: BLE001 - `finish` raises it in the thread of the sweep
            self._end(error)
        finally:
            with self._lock:
                self._workers -= 1

    def _take(self) -> ReadTask | None:
        """Wait for a due task and a free place, occupy the place and return the task; None if no work is left."""
        with self._lock:
            self._idle += 1
            try:
                while not self._ended():
                    now = self._clock.monotonic()
                    if self._places and self._tasks and self._tasks[0].not_before <= now:
                        self._places -= 1
                        task = heapq.heappop(self._tasks)
                        if len(self._tasks) == RESUME_THRESHOLD:
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
        place = Slot(self._give_place)
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
            self._spawn_worker()

    def _succeeded(self) -> None:
        with self._lock:
            self._consecutive_failures = 0
            self._finish_one()

    def _failed(self, task: ReadTask, error: AwsError) -> None:
        if error.action is ErrorAction.STOP_POOL:
            self._end(error)
            return
        with self._lock:
            if error.action is ErrorAction.RETRY:
                if self._nothing_gets_through():
                    self._fail(error)
                    return
                if self._again_later(task):
                    return
            self.failures[error.reason] += 1
        self._given_up(task, error.reason)  # before `_finish_one`, which may end the sweep
        with self._lock:
            self._finish_one()

    def _nothing_gets_through(self) -> bool:
        now = self._clock.monotonic()
        if not self._consecutive_failures:
            self._failing_since = now
        self._consecutive_failures += 1
        many = self._consecutive_failures >= self._retry_policy.max_consecutive_failures
        return many and now - self._failing_since >= self._retry_policy.outage_tolerance

    def _again_later(self, task: ReadTask) -> bool:
        task.attempts += 1
        if task.attempts >= self._retry_policy.attempts:
            return False
        task.not_before = self._clock.monotonic() + self._retry_policy.delay(task.attempts)
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


class Slot:
    """Place in the queue of the rate budget. Only the first release has an effect."""

    def __init__(self, give: Callable[[], None]) -> None:
        self._give: Callable[[], None] | None = give

    def give(self) -> None:
        """Release the place for the next worker."""
        give, self._give = self._give, None
        if give is not None:
            give()
