"""Scheduler of sweeps and discovery runs, built on APScheduler; no other module imports it.

APScheduler holds one `date` job per pool: the pool's next run. The job only requests the run. A dispatcher thread
starts the run in a thread of its own and schedules the next one.

Intervals are measured from start to start on the monotonic clock. APScheduler uses the wall clock, so the dispatcher
reschedules its jobs after a step of the wall clock. Interval jobs are unsuitable: after a large step forward,
APScheduler enumerates every missed run.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from queue import Empty, SimpleQueue
from typing import Any, Protocol

import structlog
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler

from exporter.clock import Clock

START_JITTER_SHARE = 0.1
"""Upper limit of the start jitter as a share of the interval."""

START_JITTER_MAX = 1.0
"""Upper limit of the start jitter in seconds. The jitter keeps many pools from starting at the same time."""

HEARTBEAT_SECONDS = 10.0

STALLED_AFTER_SECONDS = 300.0
"""Seconds without a heartbeat after which a scheduler or a sweep counts as stalled."""

FIRST_RETRY_SECONDS = 30.0
"""Delay in seconds before the first retry of a failed run."""

CLOCK_CHECK_SECONDS = 1.0
"""Interval at which the wall clock is compared with the monotonic clock."""

CLOCK_TOLERANCE_SECONDS = 0.5
"""Difference between the two clocks that is ignored. It grows slowly while NTP adjusts the wall clock."""

_HEARTBEAT = "heartbeat"

log = structlog.get_logger()


class Job(Protocol):
    """Periodic job, such as the sweep of one pool."""

    def __call__(self) -> float | None:
        """Run once. Return the delay in seconds before a retry, or None for the regular interval.

        A retry that would start after the next regular run is dropped.
        """
        ...


class ScheduleObserver(Protocol):
    """Observer of late jobs. The job ID of a sweep is its pool ID; other kinds of jobs pass their own IDs."""

    def sweep_overran(self, pool_id: str, /) -> None:
        """Record that a job was still running when it was due again."""
        ...

    def sweep_missed(self, pool_id: str, /) -> None:
        """Record that a job was due and was not started."""
        ...

    def unexpected_error(self, component: str, /) -> None:
        """Record an unexpected error. The log has the traceback."""
        ...


class SweepScheduler:
    """Runs jobs at their intervals, each run in its own thread, at most one run of a job at a time.

    The threads are daemon threads: a sweep may take hours, and a stalled call must not block the exit.
    """

    def __init__(self, observer: ScheduleObserver, clock: Clock, kind: str = "sweep") -> None:
        """Create a stopped scheduler. `kind` is the prefix of the thread names."""
        self._observer = observer
        self._clock = clock
        self._kind = kind
        self._lock = threading.Lock()
        self._jobs: dict[str, _ScheduledJob] = {}
        self._running: dict[str, _ScheduledJob] = {}
        """Runs in progress by job ID, including those of removed jobs."""
        self._requests: SimpleQueue[_ScheduledJob | None] = SimpleQueue()
        """Jobs that are due, and None at the stop."""
        self._stopped = False
        self._clock_offset = self._read_clock_offset()
        self._last_heartbeat = clock.monotonic()
        # The `debug` executor calls jobs in APScheduler's own thread. They only put a request on the queue. A late job
        # is always called.
        self._timers = BackgroundScheduler(
            timezone=UTC, executors={"default": {"type": "debug"}}, job_defaults={"misfire_grace_time": None}
        )
        self._add(_HEARTBEAT, HEARTBEAT_SECONDS, self._heartbeat, HEARTBEAT_SECONDS)

    def start(self) -> None:
        """Start running jobs."""
        self._timers.start()
        threading.Thread(target=self._dispatch, name=f"dispatcher-{self._kind}", daemon=True).start()

    def stop(self) -> None:
        """Stop starting jobs, without waiting for those that run."""
        with self._lock:
            self._stopped = True
        self._timers.shutdown(wait=False)
        self._requests.put(None)

    def add(self, pool_id: str, interval: float, job: Job, *, delay: float = 0.0) -> None:
        """Run a pool's job every `interval` seconds, the first time after `delay` seconds and a random jitter.

        If a removed job of the same pool is still running, the first run starts when that job ends.
        """
        jitter = random.uniform(0, min(START_JITTER_SHARE * interval, START_JITTER_MAX))  # noqa: S311 - no secret
        self._add(pool_id, interval, job, delay + jitter)

    def remove(self, pool_id: str) -> None:
        """Remove a pool's job. A run in progress continues."""
        with self._lock:
            self._clear_timer(self._jobs.pop(pool_id))

    def set_interval(self, pool_id: str, interval: float) -> None:
        """Change the interval of a pool's job, counted from its last start. A run in progress continues.

        A pending first run or retry is not delayed.
        """
        with self._lock:
            job = self._jobs[pool_id]
            job.interval = interval
            if job.last_due is not None:
                due = job.last_due + interval
                if job.is_retry:
                    due = min(due, job.due)
                self._set_due(job, max(due, self._clock.monotonic()))

    def due(self) -> dict[str, float]:
        """Return the time of each pool's next run, in seconds of wall time."""
        offset = self._clock.wall() - self._clock.monotonic()
        with self._lock:
            return {job_id: offset + job.due for job_id, job in self._jobs.items() if job_id != _HEARTBEAT}

    def is_stalled(self) -> bool:
        """Return True if the scheduler has not run its heartbeat job for `STALLED_AFTER_SECONDS`."""
        return self._clock.monotonic() - self._last_heartbeat > STALLED_AFTER_SECONDS

    def check_clock(self) -> None:
        """Reschedule all jobs if the wall clock has stepped. Called every `CLOCK_CHECK_SECONDS`."""
        with self._lock:
            offset = self._read_clock_offset()
            step = offset - self._clock_offset
            if abs(step) > CLOCK_TOLERANCE_SECONDS:
                self._clock_offset = offset
                log.info("wall clock changed; rescheduling timers", kind=self._kind, step_seconds=round(step, 3))
                for job in self._jobs.values():
                    self._set_timer(job)

    def _add(self, job_id: str, interval: float, call: Callable[[], float | None], delay: float) -> None:
        with self._lock:
            job = self._jobs[job_id] = _ScheduledJob(job_id, interval, call, self._clock.monotonic() + delay)
            self._set_timer(job)

    def _heartbeat(self) -> None:
        self._last_heartbeat = self._clock.monotonic()

    def _set_due(self, job: _ScheduledJob, due: float) -> None:
        job.due = due
        self._set_timer(job)

    def _set_timer(self, job: _ScheduledJob) -> None:
        self._clear_timer(job)
        due = datetime.now(UTC) + timedelta(seconds=job.due - self._clock.monotonic())
        job.timer = self._timers.add_job(self._requests.put, "date", run_date=due, args=[job])

    @staticmethod
    def _clear_timer(job: _ScheduledJob) -> None:
        if job.timer is not None:
            with suppress(JobLookupError):  # it has fired
                job.timer.remove()

    def _read_clock_offset(self) -> float:
        """Return the difference between the wall clock of APScheduler and the monotonic clock."""
        return datetime.now(UTC).timestamp() - self._clock.monotonic()

    def _dispatch(self) -> None:
        while not self._stopped:
            try:
                with suppress(Empty):
                    job = self._requests.get(timeout=CLOCK_CHECK_SECONDS)
                    if job is None:
                        return
                    self._handle_request(job)
                self.check_clock()
            except Exception:
                self._observer.unexpected_error("schedule")
                log.exception("unexpected error in scheduler", kind=self._kind)

    def _handle_request(self, job: _ScheduledJob) -> None:
        """Start a run of a job that is due, or wait for the run in progress, and schedule the next run."""
        with self._lock:
            if self._stopped or self._jobs.get(job.id) is not job:
                return
            late = self._clock.monotonic() - job.due
            if late < 0:  # the wall clock was set forward
                self._set_timer(job)
                return
            missed = int(late // job.interval)
            job.last_due, job.is_retry = job.due + missed * job.interval, False
            self._set_due(job, job.last_due + job.interval)
            running = self._running.get(job.id)
            if running is None:
                self._report_missed(job, missed)
                self._start_run(job)
            elif not job.is_waiting:
                job.is_waiting = True
                if running is job:  # else a removed job of the same pool
                    self._observer.sweep_overran(job.id)

    def _report_missed(self, job: _ScheduledJob, missed: int) -> None:
        """Report missed runs: the process was not running for longer than an interval, for example after SIGSTOP."""
        if missed and job.id != _HEARTBEAT:
            for _ in range(missed):
                self._observer.sweep_missed(job.id)
            log.warning("missed scheduled runs; starting one now", kind=self._kind, job=job.id, missed=missed)

    def _start_run(self, job: _ScheduledJob) -> None:
        self._running[job.id] = job
        try:
            threading.Thread(target=self._run, args=[job], name=f"{self._kind}-{job.id}", daemon=True).start()
        except RuntimeError:  # thread limit reached: the next run is tried at its time
            del self._running[job.id]
            raise

    def _run(self, job: _ScheduledJob) -> None:
        retry_delay = None
        try:
            retry_delay = job.call()
        except Exception:  # jobs handle their own exceptions
            self._observer.unexpected_error("schedule")
            log.exception("unexpected error in scheduled job", job=job.id)
        finally:
            self._finish_run(job, retry_delay)

    def _finish_run(self, job: _ScheduledJob, retry_delay: float | None) -> None:
        """Schedule the run that waits for this one, or a retry. A retry after the next regular run is dropped."""
        with self._lock:
            del self._running[job.id]
            current = self._jobs.get(job.id)
            now = self._clock.monotonic()
            if current is None or self._stopped:
                return
            if current.is_waiting:
                current.is_waiting = False
                self._set_due(current, now)
            elif current is job and retry_delay is not None and now + retry_delay < job.due:
                job.is_retry = True
                self._set_due(job, now + retry_delay)


def retry_delay(failures: int) -> float:
    """Return the delay in seconds before the retry after `failures` failed runs in a row. Doubles with each failure.

    The interval of the job is its upper limit, because the scheduler drops a later retry.
    """
    return FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 20)


class _ScheduledJob:
    """Job with its next run. Times are in monotonic seconds."""

    def __init__(self, job_id: str, interval: float, call: Callable[[], float | None], due: float) -> None:
        self.id = job_id
        self.interval = interval
        self.call = call
        self.due = due
        self.timer: Any = None
        """Job of APScheduler."""
        self.last_due: float | None = None
        """Time at which the last run was due."""
        self.is_retry = False
        """True if the next run is a retry before the interval is over."""
        self.is_waiting = False
        """True if the job became due while a run was in progress. The next run then starts when that one ends."""
