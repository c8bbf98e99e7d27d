"""Self-sizing worker pool that reads the devices of many users concurrently.

A worker takes a user only if it can occupy one of `MAX_QUEUED` slots in the queue of the rate limiter. It releases the
slot when its first request is sent. The release wakes an idle worker, or starts a new one if none is idle. The number
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
from exporter.config.settings import TargetSettings
from exporter.errors import AwsError, Cancelled, ErrorAction, Reason
from exporter.retry import DEFAULT_RETRY_POLICY, RetryPolicy

MAX_QUEUED = 2
"""Workers of one pool that may wait for the rate limiter: one queued there, and one about to be queued."""

MAX_WORKERS = 200
"""Maximum number of workers of all sweeps in the process, except for the first worker of each sweep."""

MAX_WORKERS_PER_TARGET = MAX_WORKERS // 2
"""Maximum number of workers of one account and Region, so that slow responses of one do not stop the others."""

IDLE_SECONDS = 1.0
"""Seconds after which an idle worker ends, except for the last one, so that other sweeps can have more workers."""

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


class WorkerLimit:
    """Limit of the worker threads of many sweeps, in total and per account and Region."""

    def __init__(self, total: int = MAX_WORKERS, per_target: int = MAX_WORKERS_PER_TARGET) -> None:
        self._total = total
        self._per_target = per_target
        self._lock = threading.Lock()
        self._workers: Counter[TargetSettings] = Counter()

    def try_acquire(self, target: TargetSettings, *, is_first: bool) -> bool:
        """Count a worker if the limit allows it. The first worker of a sweep is always allowed."""
        with self._lock:
            is_free = self._workers.total() < self._total and self._workers[target] < self._per_target
            if is_free or is_first:
                self._workers[target] += 1
            return is_free or is_first

    def release(self, target: TargetSettings) -> None:
        """Remove a worker that has ended."""
        with self._lock:
            self._workers[target] -= 1
            self._workers += Counter()  # drops targets without workers


WORKER_LIMIT = WorkerLimit()
"""Limit of this process."""


class WorkerPool:
    """Worker pool of one sweep."""

    def __init__(
        self,
        read: Callable[[ReadTask, Callable[[], None]], None],
        on_give_up: Callable[[ReadTask, Reason], None],
        clock: Clock,
        cancelled: Callable[[], bool],
        *,
        target: TargetSettings,
        name: str,
        retry_policy: RetryPolicy = DEFAULT_RETRY_POLICY,
        limit: WorkerLimit = WORKER_LIMIT,
    ) -> None:
        """Call `read(task, on_send)` for each user in a worker thread, and again later after a retryable error.

        `read` calls `on_send` when its request is sent, and raises `AwsError`. `on_give_up` is called for each user
        that could not be read. An error with the action `STOP_POOL`, or any other exception, ends all work and is
        raised by `finish`.
        """
        self._read = read
        self._on_give_up = on_give_up
        self._clock = clock
        self._cancelled = cancelled
        self._target = target
        self._name = name
        self._retry_policy = retry_policy
        self._limit = limit
        self._lock = threading.Lock()
        # As in `queue.Queue`, the conditions share a lock. Each has its own kind of waiting thread.
        self._task_ready = threading.Condition(self._lock)
        """Workers wait for a task that is due and a free slot."""
        self._not_full = threading.Condition(self._lock)
        """`submit` waits for the queue to shrink."""
        self._all_done = threading.Condition(self._lock)
        """`finish` waits for the last task."""
        self._numbers = itertools.count()
        self._queue: list[ReadTask] = []
        self._unfinished = 0
        self._no_more_tasks = False
        self._stopped = False
        self._free_slots = MAX_QUEUED
        self._idle_workers = 0
        self._workers = 0
        self._consecutive_failures = 0
        self._failing_since = 0.0
        self._failure: Exception | None = None
        self.failures: Counter[Reason] = Counter()
        """Number of users that could not be read, by reason."""

    def submit(self, username: str, identity: bytes) -> bool:
        """Queue a user, waiting while the queue is full. Return False if the work has ended early."""
        with self._lock:
            while len(self._queue) >= MAX_WAITING_TASKS and not self._ended():
                self._not_full.wait(1.0)
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
            self._no_more_tasks = True
            self._task_ready.notify_all()
            while self._unfinished and not self._ended():
                self._all_done.wait(0.2)  # a cancellation does not notify
            failure = self._failure
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # breaks the reference cycle of the error, its traceback and this frame
        if self._cancelled():
            raise Cancelled("the sweep was canceled")

    def stop(self) -> None:
        """Stop all workers and drop the queued users."""
        with self._lock:
            self._stopped = True
            self._failure = None  # breaks a reference cycle: its traceback refers to this object
            self._notify_all()

    def _ended(self) -> bool:
        return self._failure is not None or self._stopped or self._cancelled()

    def _notify_all(self) -> None:
        for condition in (self._task_ready, self._not_full, self._all_done):
            condition.notify_all()

    def _push(self, task: ReadTask) -> None:
        heapq.heappush(self._queue, task)
        if self._free_slots:  # else the release of a slot wakes a worker
            self._task_ready.notify()

    def _spawn_worker(self) -> None:
        """Start a worker if a user is queued, a slot is free, no worker is idle, and the limit allows one."""
        if not (self._free_slots and self._queue) or self._idle_workers:
            return
        if self._limit.try_acquire(self._target, is_first=not self._workers):
            self._workers += 1
            worker = threading.Thread(target=self._work, name=f"{self._name}-{self._workers}", daemon=True)
            try:
                worker.start()
            except RuntimeError:  # thread limit of the system reached: continue with the existing workers
                self._remove_worker()
                if not self._workers:
                    raise

    def _work(self) -> None:
        try:
            while (task := self._take()) is not None:
                self._run(task)
        except Exception as error:  # noqa: BLE001 - `finish` raises it in the thread of the sweep
            with self._lock:
                self._fail(error)
        finally:
            with self._lock:
                self._remove_worker()

    def _remove_worker(self) -> None:
        self._workers -= 1
        self._limit.release(self._target)

    def _take(self) -> ReadTask | None:
        """Wait for a due task and a free slot, occupy the slot and return the task.

        Returns None if no work is left, or if the worker is not needed, because it and another one are idle.
        """
        with self._lock:
            self._idle_workers += 1
            timed_out = False
            try:
                while not self._ended() and (self._unfinished or not self._no_more_tasks):
                    delay = IDLE_SECONDS
                    if self._free_slots and self._queue:
                        delay = self._queue[0].not_before - self._clock.monotonic()
                        if delay <= 0:
                            return self._pop()
                    if timed_out and self._idle_workers > 1:
                        return None
                    timeout = min(IDLE_SECONDS, max(0.001, delay))
                    timed_out = not self._task_ready.wait(timeout) and timeout == IDLE_SECONDS
                return None
            finally:
                self._idle_workers -= 1

    def _pop(self) -> ReadTask:
        self._free_slots -= 1
        task = heapq.heappop(self._queue)
        if len(self._queue) == RESUME_THRESHOLD:
            self._not_full.notify_all()
        return task

    def _run(self, task: ReadTask) -> None:
        slot = Slot(self._release_slot)
        try:
            self._read(task, slot.release)
        except AwsError as error:
            self._handle_error(task, error)
        else:
            with self._lock:
                self._consecutive_failures = 0
                self._finish_task()
        finally:
            slot.release()

    def _release_slot(self) -> None:
        with self._lock:
            self._free_slots += 1
            self._task_ready.notify()
            self._spawn_worker()

    def _handle_error(self, task: ReadTask, error: AwsError) -> None:
        """Retry the task later, end all work, or give the user up."""
        with self._lock:
            if error.action is ErrorAction.STOP_POOL or (error.is_retryable and self._is_outage()):
                self._fail(error)
                return
            if error.is_retryable and self._retry_later(task):
                return
            self.failures[error.reason] += 1
        self._on_give_up(task, error.reason)  # before `_finish_task`, which may end the sweep
        with self._lock:
            self._finish_task()

    def _is_outage(self) -> bool:
        """Count a failure. Return True if calls have failed for too long without a success."""
        now = self._clock.monotonic()
        if not self._consecutive_failures:
            self._failing_since = now
        self._consecutive_failures += 1
        many = self._consecutive_failures >= self._retry_policy.max_consecutive_failures
        return many and now - self._failing_since >= self._retry_policy.outage_tolerance

    def _retry_later(self, task: ReadTask) -> bool:
        """Queue a failed task again. Return False if it has no attempts left."""
        task.attempts += 1
        if task.attempts >= self._retry_policy.attempts:
            return False
        task.not_before = self._clock.monotonic() + self._retry_policy.delay(task.attempts)
        self._push(task)
        return True

    def _finish_task(self) -> None:
        self._unfinished -= 1
        if not self._unfinished:
            self._notify_all()

    def _fail(self, error: Exception) -> None:
        """End all work. `finish` raises the first error."""
        if self._failure is None and not self._stopped:
            self._failure = error
        self._notify_all()


class Slot:
    """Slot in the queue of the rate limiter. Only the first release has an effect."""

    def __init__(self, on_release: Callable[[], None]) -> None:
        self._on_release: Callable[[], None] | None = on_release

    def release(self) -> None:
        """Release the slot for the next worker."""
        on_release, self._on_release = self._on_release, None
        if on_release is not None:
            on_release()
