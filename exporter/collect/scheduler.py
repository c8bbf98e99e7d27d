"""Scheduler of the sweeps, built on APScheduler; no other module imports it.

Intervals are measured from start to start. If a sweep takes longer than its interval, the next one starts when it
ends. A job may request a retry before its interval is over. Intervals follow the monotonic clock, so changes of the
wall clock have no effect.
"""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any, Protocol

import structlog
from apscheduler import events
from apscheduler.executors.base import BaseExecutor, run_job
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from exporter.clock import Clock

START_JITTER_SHARE = 0.1
"""Upper limit of the start jitter as a share of the interval."""

START_JITTER_MAX = 1.0
"""Upper limit of the start jitter in seconds. The jitter keeps many pools from starting at the same time."""

HEARTBEAT_SECONDS = 10.0

_HEARTBEAT = "heartbeat"
_ZERO = datetime(2000, 1, 1)  # noqa: DTZ001 - `_MonotonicTime` sets the zone
_TOLERANCE = timedelta(seconds=0.5)
"""Largest start delay of a regular run: its successor is due an interval after the due time, not the actual start."""

log = structlog.get_logger()


class Job(Protocol):
    """Periodic job, such as the sweep of one pool."""

    def __call__(self) -> float | None:
        """Run once. Return the delay in seconds before a retry, or None for the regular interval."""
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
    """Runs jobs at their intervals, each run in its own thread, at most one run of a job at a time."""

    def __init__(self, observer: ScheduleObserver, clock: Clock, kind: str = "sweep") -> None:
        """Create a stopped schedule. `kind` is the prefix of the thread names."""
        self._observer = observer
        self._kind = kind
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._beat = clock.monotonic()
        self._time = _MonotonicTime(clock)
        self._threads = _DaemonThreads(kind, self._missed, self._failed)
        self._scheduler = BackgroundScheduler(
            executors={"default": self._threads},
            # A late run is always started. If several runs are due, one is started and the others count as missed.
            job_defaults={"coalesce": False, "max_instances": 1, "misfire_grace_time": None},
            timezone=self._time,
        )
        self._scheduler.add_listener(self._ran, events.EVENT_JOB_EXECUTED)
        self._scheduler.add_listener(self._was_busy, events.EVENT_JOB_MAX_INSTANCES)
        self._scheduler.add_listener(self._raised, events.EVENT_JOB_ERROR)
        self._add(_HEARTBEAT, self._heartbeat, HEARTBEAT_SECONDS, first=HEARTBEAT_SECONDS)

    def start(self) -> None:
        """Start running jobs."""
        self._scheduler.start()

    def stop(self) -> None:
        """Stop starting jobs, without waiting for those that run."""
        self._scheduler.shutdown(wait=False)

    def add(self, pool_id: str, interval: float, job: Job, *, delay: float = 0.0) -> None:
        """Run a pool's job every `interval` seconds, the first time after `delay` seconds and a random jitter.

        If a removed job of the same pool is still running, the first run starts when that job ends.
        """
        jitter = random.uniform(0, min(START_JITTER_SHARE * interval, START_JITTER_MAX))  # noqa: S311 - no secret
        self._entries[pool_id] = entry = _Entry(interval, job, self._clock)
        self._add(pool_id, entry, interval, first=delay + jitter)

    def remove(self, pool_id: str) -> None:
        """Remove a pool's job. A run in progress continues."""
        del self._entries[pool_id]
        self._scheduler.remove_job(pool_id)

    def set_interval(self, pool_id: str, interval: float) -> None:
        """Change the interval of a pool's job, counted from its last start. A run in progress continues.

        A pending first run or retry is not delayed.
        """
        entry = self._entries[pool_id]
        due = self._scheduler.get_job(pool_id).next_run_time
        if entry.started is not None:
            regular = self._time.moment(entry.started + entry.interval)
            sooner = regular - due > _TOLERANCE
            wanted = self._time.moment(entry.started + interval)
            due = max(self._in(0), min(due, wanted) if sooner else wanted)
        entry.interval = interval
        self._scheduler.modify_job(pool_id, trigger=_Every(interval), next_run_time=due)

    def due(self) -> dict[str, float]:
        """Return the time of each pool's next run, in seconds of wall time."""
        jobs, now, wall = self._scheduler.get_jobs(), self._in(0), self._clock.wall()
        return {job.id: wall + (job.next_run_time - now).total_seconds() for job in jobs if job.id in self._entries}

    def seconds_since_heartbeat(self) -> float:
        """Return the seconds since the scheduler last ran its heartbeat job."""
        return self._clock.monotonic() - self._beat

    def _add(self, job_id: str, job: Callable[[], object], interval: float, *, first: float) -> None:
        self._scheduler.add_job(job, _Every(interval), id=job_id, next_run_time=self._in(first))

    def _heartbeat(self) -> None:
        self._beat = self._clock.monotonic()

    def _ran(self, event: events.JobExecutionEvent) -> None:
        entry = self._entries.get(event.job_id)
        if entry is None:
            return
        if entry.waits:
            entry.waits = False
            self._run_in(event.job_id, 0)
        elif isinstance(event.retval, _Retry) and event.retval.entry is entry:
            self._run_in(event.job_id, event.retval.seconds)

    def _was_busy(self, event: events.JobSubmissionEvent) -> None:
        """Handle a run that is due while the previous one is in progress."""
        entry = self._entries.get(event.job_id)
        if entry is None or entry.waits:
            return
        entry.waits = True
        if entry.runs:  # else the run in progress belongs to the job that this one replaced
            self._observer.sweep_overran(event.job_id)
        if entry.waits and not self._threads.runs(event.job_id):  # it ended before `waits` was set, so `_ran` missed it
            entry.waits = False
            self._run_in(event.job_id, 0)

    def _missed(self, job_id: str, runs: int) -> None:
        """Report missed runs: the process was not running for longer than an interval, for example after SIGSTOP."""
        if job_id in self._entries:
            for _ in range(runs):
                self._observer.sweep_missed(job_id)
            log.warning("runs missed their time; starting one now", kind=self._kind, job=job_id, missed=runs)

    def _failed(self) -> None:
        self._observer.unexpected_error("schedule")

    def _raised(self, event: events.JobExecutionEvent) -> None:
        """Report an exception of a job as an unexpected error, because jobs handle their own exceptions."""
        self._failed()
        log.error("a scheduled job raised", job=event.job_id, exc_info=event.exception)
        self._ran(event)

    def _run_in(self, pool_id: str, seconds: float) -> None:
        """Run a pool's job in `seconds`, unless it is due sooner."""
        try:
            job = self._scheduler.get_job(pool_id)
            if job is not None and self._in(seconds) < job.next_run_time:
                self._scheduler.modify_job(pool_id, next_run_time=self._in(seconds))
        except JobLookupError:
            log.debug("the pool was removed while its sweep ended", user_pool_id=pool_id)

    def _in(self, seconds: float) -> datetime:
        return self._time.moment(self._clock.monotonic() + seconds)


@dataclass(frozen=True, slots=True)
class _Retry:
    """Result of a run that requests a retry before the interval is over."""

    entry: _Entry
    seconds: float


class _Entry:
    """One pool's job and its status."""

    def __init__(self, interval: float, job: Job, clock: Clock) -> None:
        self.interval = interval
        self._job = job
        self._clock = clock
        self.started: float | None = None
        """Last start in monotonic seconds."""
        self.runs = False
        self.waits = False
        """True if the job became due while a run was in progress. The next run then starts when that one ends."""

    def __call__(self) -> _Retry | None:
        self.started, self.runs = self._clock.monotonic(), True
        try:
            seconds = self._job()
        finally:
            self.runs = False
        return _Retry(self, seconds) if seconds is not None and seconds < self.interval else None


class _MonotonicTime(tzinfo):
    """Time zone that makes APScheduler use the monotonic clock.

    The only clock that APScheduler reads is `datetime.now(zone)`. Python calls the zone's `fromutc` to build that
    value, and this zone returns monotonic time. A change of the wall clock therefore neither delays a run nor makes
    one due. Create datetimes of this zone with `moment` only; a datetime of another zone cannot be converted.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def moment(self, monotonic: float) -> datetime:
        """Return the datetime at which the monotonic clock shows `monotonic` seconds."""
        return (_ZERO + timedelta(seconds=monotonic)).replace(tzinfo=self)

    def fromutc(self, _utc: datetime, /) -> datetime:
        """Return the current time. Called by `datetime.now` only."""
        return self.moment(self._clock.monotonic())

    def utcoffset(self, _when: datetime | None, /) -> timedelta:
        """Return zero, because APScheduler converts datetimes to seconds since an epoch."""
        return timedelta(0)

    def dst(self, _when: datetime | None, /) -> timedelta:
        """Return zero, as the zone has no daylight saving time."""
        return timedelta(0)

    def tzname(self, _when: datetime | None, /) -> str:
        """Return the name of the zone."""
        return "monotonic"


class _Every(BaseTrigger):  # type: ignore[misc] # APScheduler has no annotations
    """Trigger that fires every `seconds`.

    APScheduler's own `IntervalTrigger` converts to seconds since 1970, which does not work in this zone.
    """

    def __init__(self, seconds: float) -> None:
        self._interval = timedelta(seconds=seconds)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """Return the time of the next run, which may be in the past. `SweepScheduler._add` sets the first run."""
        return (previous_fire_time or now) + self._interval


class _DaemonThreads(BaseExecutor):  # type: ignore[misc] # APScheduler has no annotations
    """Executor with one daemon thread per run: a sweep may take hours, and a stalled call must not block the exit."""

    def __init__(self, kind: str, missed: Callable[[str, int], None], failed: Callable[[], None]) -> None:
        """Create an executor.

        `missed` is called with a job ID and the number of due runs that are skipped. `failed` is called if a run
        fails outside of its job.
        """
        super().__init__()
        self._kind = kind
        self._missed = missed
        self._failed = failed

    def runs(self, job_id: str) -> bool:
        """Return True if a run of the job is in progress. Call only after the scheduler has started."""
        with self._lock:
            return bool(self._instances.get(job_id))

    def _do_submit_job(self, job: Any, run_times: list[datetime]) -> None:
        if len(run_times) > 1:
            self._missed(job.id, len(run_times) - 1)
        last = run_times[-1:]
        try:
            threading.Thread(target=self._run, args=(job, last), name=f"{self._kind}-{job.id}", daemon=True).start()
        except RuntimeError:  # thread limit reached: APScheduler logs the error and tries again at the next due time
            self._failed()
            raise

    def _run(self, job: Any, run_times: list[datetime]) -> None:
        try:
            happened = run_job(job, job._jobstore_alias, run_times, self._logger.name)  # noqa: SLF001 - the executor interface
        except Exception:  # noqa: BLE001 - run_job handles exceptions of jobs, so this is an error in APScheduler
            self._failed()
            self._run_job_error(job.id, *sys.exc_info()[1:])  # logs the error and allows the next run
        else:
            self._run_job_success(job.id, happened)
