"""Starts each pool's sweep at its interval, start to start; the only speaker of APScheduler.

A sweep that takes longer than the interval runs back to back with the next; one that failed is tried again
sooner than the interval.
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import structlog
from apscheduler import events
from apscheduler.executors.base import BaseExecutor, run_job
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from exporter.clock import Clock
from exporter.hooks import SweepObserver

START_JITTER_SHARE = 0.1
START_JITTER_MAX = 1.0
"""The first sweep starts within so many seconds, so that many pools do not begin as one."""

HEARTBEAT_SECONDS = 10.0

_HEARTBEAT = "heartbeat"

log = structlog.get_logger()


class Job(Protocol):
    """One pool's work."""

    def __call__(self) -> float | None:
        """Sweep once; the seconds until it should be tried again, None for the usual interval."""
        ...


class Schedule:
    """Runs jobs at their intervals, each on a thread of its own, never twice at once."""

    def __init__(self, observer: SweepObserver, clock: Clock) -> None:
        self._observer = observer
        self._clock = clock
        self._intervals: dict[str, float] = {}
        self._overrun: set[str] = set()
        self._beat = clock.monotonic()
        self._scheduler = BackgroundScheduler(
            executors={"default": _DaemonThreads(self._missed, self._failed)},
            # However late, a run is started; of several that are due, one is, and the others were missed.
            job_defaults={"coalesce": False, "max_instances": 1, "misfire_grace_time": None},
            timezone=UTC,
        )
        self._scheduler.add_listener(self._ran, events.EVENT_JOB_EXECUTED)
        self._scheduler.add_listener(self._was_busy, events.EVENT_JOB_MAX_INSTANCES)
        self._scheduler.add_listener(self._raised, events.EVENT_JOB_ERROR)
        self._scheduler.add_job(
            self._show_life,
            IntervalTrigger(seconds=HEARTBEAT_SECONDS, timezone=UTC),
            id=_HEARTBEAT,
        )

    def start(self) -> None:
        """Begin to run what is due."""
        self._scheduler.start()

    def stop(self) -> None:
        """Start nothing any more; what runs is not waited for."""
        self._scheduler.shutdown(wait=False)

    def add(self, pool_id: str, interval: float, job: Job, *, delay: float = 0.0) -> None:
        """Run a pool's job every `interval` seconds, for the first time soon after `delay` seconds."""
        jitter = random.uniform(0, min(START_JITTER_SHARE * interval, START_JITTER_MAX))  # noqa: S311 - no secret
        self._intervals[pool_id] = interval
        self._scheduler.add_job(
            job,
            IntervalTrigger(seconds=interval, timezone=UTC),
            id=pool_id,
            next_run_time=_in(delay + jitter),
        )

    def remove(self, pool_id: str) -> None:
        """Run a pool's job no more."""
        del self._intervals[pool_id]
        self._overrun.discard(pool_id)
        self._scheduler.remove_job(pool_id)

    def silent_seconds(self) -> float:
        """How long ago the scheduler last showed that it runs jobs."""
        return self._clock.monotonic() - self._beat

    def _show_life(self) -> None:
        self._beat = self._clock.monotonic()

    def _ran(self, event: events.JobExecutionEvent) -> None:
        if event.job_id not in self._intervals:
            return
        if event.job_id in self._overrun:
            self._overrun.discard(event.job_id)
            self._run_in(event.job_id, 0)
        elif event.retval is not None and event.retval < self._intervals[event.job_id]:
            self._run_in(event.job_id, event.retval)

    def _was_busy(self, event: events.JobSubmissionEvent) -> None:
        """A sweep is due while the last one is still under way."""
        if event.job_id in self._intervals and event.job_id not in self._overrun:
            self._overrun.add(event.job_id)
            self._observer.sweep_overran(event.job_id)

    def _missed(self, job_id: str, runs: int) -> None:
        """The process did not get to run for longer than an interval, as when a machine sleeps."""
        if job_id in self._intervals:
            for _ in range(runs):
                self._observer.sweep_missed(job_id)
            log.warning("sweeps missed their time; starting one now", user_pool_id=job_id, missed=runs)

    def _failed(self) -> None:
        self._observer.failed_unexpectedly("schedule")

    def _raised(self, event: events.JobExecutionEvent) -> None:
        """A job is built never to raise."""
        self._failed()
        log.error("a scheduled job raised", job=event.job_id, exc_info=event.exception)

    def _run_in(self, pool_id: str, seconds: float) -> None:
        """Run a pool's job after so many seconds, unless it is due sooner."""
        try:
            job = self._scheduler.get_job(pool_id)
            if job is not None and _in(seconds) < job.next_run_time:
                self._scheduler.modify_job(pool_id, next_run_time=_in(seconds))
        except JobLookupError:
            log.debug("the pool was removed while its sweep ended", user_pool_id=pool_id)


class _DaemonThreads(BaseExecutor):  # type: ignore[misc] # APScheduler has no annotations
    """A daemon thread per run: a sweep may last for hours, and one stalled call must not hold up the exit."""

    def __init__(self, missed: Callable[[str, int], None], failed: Callable[[], None]) -> None:
        """`missed` hears of a job and how many of its runs were due and will not be started.

        `failed` hears of a run that failed outside of its job.
        """
        super().__init__()
        self._missed = missed
        self._failed = failed

    def _do_submit_job(self, job: Any, run_times: list[datetime]) -> None:
        if len(run_times) > 1:
            self._missed(job.id, len(run_times) - 1)
        last = run_times[-1:]
        threading.Thread(target=self._run, args=(job, last), name=f"sweep-{job.id}", daemon=True).start()

    def _run(self, job: Any, run_times: list[datetime]) -> None:
        try:
            happened = run_job(job, job._jobstore_alias, run_times, self._logger.name)  # noqa: SLF001 - the executor interface
        except Exception:  # noqa: BLE001 - run_job deals with what jobs raise, so this is APScheduler's own fault
            self._failed()
            self._run_job_error(job.id, *sys.exc_info()[1:])  # logs it, and lets the next run begin
        else:
            self._run_job_success(job.id, happened)


def _in(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)
