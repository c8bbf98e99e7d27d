"""Starts each pool's sweep at its interval, start to start; the only speaker of APScheduler.

A sweep that takes longer than the interval runs back to back with the next; one that failed is tried again
sooner than the interval. Intervals pass on the monotonic clock, however the wall clock is set.
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
START_JITTER_MAX = 1.0
"""The first sweep starts within so many seconds, so that many pools do not begin as one."""

HEARTBEAT_SECONDS = 10.0

_HEARTBEAT = "heartbeat"
_ZERO = datetime(2000, 1, 1)  # noqa: DTZ001 - it is given a zone of ours
_TOLERANCE = timedelta(seconds=0.5)
"""A run that starts so much late is still due an interval after its time, not after its start."""

log = structlog.get_logger()


class Job(Protocol):
    """One pool's work."""

    def __call__(self) -> float | None:
        """Sweep once; the seconds until it should be tried again, None for the usual interval."""
        ...


class ScheduleObserver(Protocol):
    """Hears of jobs that cannot keep their intervals; a job is a pool's sweep, but for other kinds."""

    def sweep_overran(self, pool_id: str, /) -> None:
        """A job was still under way when it was due again."""
        ...

    def sweep_missed(self, pool_id: str, /) -> None:
        """A job was due and was not started in time."""
        ...

    def failed_unexpectedly(self, component: str, /) -> None:
        """Something failed in a way that nobody foresaw; the log has the traceback."""
        ...


class Schedule:
    """Runs jobs at their intervals, each on a thread of its own, never twice at once."""

    def __init__(self, observer: ScheduleObserver, clock: Clock, kind: str = "sweep") -> None:
        """`kind` is what the jobs are called in the names of their threads."""
        self._observer = observer
        self._kind = kind
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        self._beat = clock.monotonic()
        self._time = _MonotonicTime(clock)
        self._threads = _DaemonThreads(kind, self._missed, self._failed)
        self._scheduler = BackgroundScheduler(
            executors={"default": self._threads},
            # However late, a run is started; of several that are due, one is, and the others were missed.
            job_defaults={"coalesce": False, "max_instances": 1, "misfire_grace_time": None},
            timezone=self._time,
        )
        self._scheduler.add_listener(self._ran, events.EVENT_JOB_EXECUTED)
        self._scheduler.add_listener(self._was_busy, events.EVENT_JOB_MAX_INSTANCES)
        self._scheduler.add_listener(self._raised, events.EVENT_JOB_ERROR)
        self._add(_HEARTBEAT, self._show_life, HEARTBEAT_SECONDS, first=HEARTBEAT_SECONDS)

    def start(self) -> None:
        """Begin to run what is due."""
        self._scheduler.start()

    def stop(self) -> None:
        """Start nothing any more; what runs is not waited for."""
        self._scheduler.shutdown(wait=False)

    def add(self, pool_id: str, interval: float, job: Job, *, delay: float = 0.0) -> None:
        """Run a pool's job every `interval` seconds, for the first time soon after `delay` seconds.

        A run of an earlier job of the pool that is still under way is waited for.
        """
        jitter = random.uniform(0, min(START_JITTER_SHARE * interval, START_JITTER_MAX))  # noqa: S311 - no secret
        self._entries[pool_id] = entry = _Entry(interval, job, self._clock)
        self._add(pool_id, entry, interval, first=delay + jitter)

    def remove(self, pool_id: str) -> None:
        """Run a pool's job no more."""
        del self._entries[pool_id]
        self._scheduler.remove_job(pool_id)

    def set_interval(self, pool_id: str, interval: float) -> None:
        """Run a pool's job at another interval, counted from its last start; a run under way goes on.

        A first run, and one that was asked for before the interval is over, come no later than they would.
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
        """When the next sweep of each pool is due: wall time in seconds."""
        jobs, now, wall = self._scheduler.get_jobs(), self._in(0), self._clock.wall()
        return {job.id: wall + (job.next_run_time - now).total_seconds() for job in jobs if job.id in self._entries}

    def silent_seconds(self) -> float:
        """How long ago the scheduler last showed that it runs jobs."""
        return self._clock.monotonic() - self._beat

    def _add(self, job_id: str, job: Callable[[], object], interval: float, *, first: float) -> None:
        self._scheduler.add_job(job, _Every(interval), id=job_id, next_run_time=self._in(first))

    def _show_life(self) -> None:
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
        """A sweep is due while the last one is still under way."""
        entry = self._entries.get(event.job_id)
        if entry is None or entry.waits:
            return
        entry.waits = True
        if entry.runs:  # else it waits for the end of a job that it has replaced
            self._observer.sweep_overran(event.job_id)
        if entry.waits and not self._threads.runs(event.job_id):  # it has ended since, and did not know of the wait
            entry.waits = False
            self._run_in(event.job_id, 0)

    def _missed(self, job_id: str, runs: int) -> None:
        """The process did not get to run for longer than an interval, as when it was stopped."""
        if job_id in self._entries:
            for _ in range(runs):
                self._observer.sweep_missed(job_id)
            log.warning("runs missed their time; starting one now", kind=self._kind, job=job_id, missed=runs)

    def _failed(self) -> None:
        self._observer.failed_unexpectedly("schedule")

    def _raised(self, event: events.JobExecutionEvent) -> None:
        """A job is built never to raise."""
        self._failed()
        log.error("a scheduled job raised", job=event.job_id, exc_info=event.exception)
        self._ran(event)

    def _run_in(self, pool_id: str, seconds: float) -> None:
        """Run a pool's job after so many seconds, unless it is due sooner."""
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
    """A run asks for another before the interval is over."""

    entry: _Entry
    seconds: float


class _Entry:
    """One pool's job, and how it stands."""

    def __init__(self, interval: float, job: Job, clock: Clock) -> None:
        self.interval = interval
        self._job = job
        self._clock = clock
        self.started: float | None = None
        """Monotonic seconds of the last start."""
        self.runs = False
        self.waits = False
        """Whether it was due while a run of the pool was under way: it follows at once."""

    def __call__(self) -> _Retry | None:
        self.started, self.runs = self._clock.monotonic(), True
        try:
            seconds = self._job()
        finally:
            self.runs = False
        return _Retry(self, seconds) if seconds is not None and seconds < self.interval else None


class _MonotonicTime(tzinfo):
    """The zone whose time APScheduler goes by: it reads no other clock than `datetime.now(zone)`.

    Python has the zone make that datetime, which here counts monotonic seconds: a wall clock that is set
    neither delays a run nor makes one due. Moments of this zone are made by it alone: to convert another
    datetime into it means nothing, and to convert one of its own changes nothing.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def moment(self, monotonic: float) -> datetime:
        """The moment at which the monotonic clock shows so many seconds."""
        return (_ZERO + timedelta(seconds=monotonic)).replace(tzinfo=self)

    def fromutc(self, _utc: datetime, /) -> datetime:
        """Now: nothing but `datetime.now` asks."""
        return self.moment(self._clock.monotonic())

    def utcoffset(self, _when: datetime | None, /) -> timedelta:
        """None but zero: APScheduler takes the difference between moments as seconds since an epoch."""
        return timedelta(0)

    def dst(self, _when: datetime | None, /) -> timedelta:
        """No summer time."""
        return timedelta(0)

    def tzname(self, _when: datetime | None, /) -> str:
        """What it counts."""
        return "monotonic"


class _Every(BaseTrigger):  # type: ignore[misc] # APScheduler has no annotations
    """Due again and again, `seconds` apart.

    APScheduler's own trigger for intervals goes by way of seconds since 1970, which would leave the zone.
    """

    def __init__(self, seconds: float) -> None:
        self._interval = timedelta(seconds=seconds)

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """The run after another, which may lie in the past; each job's first run is set where it is added."""
        return (previous_fire_time or now) + self._interval


class _DaemonThreads(BaseExecutor):  # type: ignore[misc] # APScheduler has no annotations
    """A daemon thread per run: a sweep may last for hours, and one stalled call must not hold up the exit."""

    def __init__(self, kind: str, missed: Callable[[str, int], None], failed: Callable[[], None]) -> None:
        """`missed` hears of a job and how many of its runs were due and will not be started.

        `failed` hears of a run that failed outside of its job.
        """
        super().__init__()
        self._kind = kind
        self._missed = missed
        self._failed = failed

    def runs(self, job_id: str) -> bool:
        """Whether a run of the job is under way; asked once the scheduler has started."""
        with self._lock:
            return bool(self._instances.get(job_id))

    def _do_submit_job(self, job: Any, run_times: list[datetime]) -> None:
        if len(run_times) > 1:
            self._missed(job.id, len(run_times) - 1)
        last = run_times[-1:]
        try:
            threading.Thread(target=self._run, args=(job, last), name=f"{self._kind}-{job.id}", daemon=True).start()
        except RuntimeError:  # the system grants no more threads: APScheduler logs it, and tries at the next time
            self._failed()
            raise

    def _run(self, job: Any, run_times: list[datetime]) -> None:
        try:
            happened = run_job(job, job._jobstore_alias, run_times, self._logger.name)  # noqa: SLF001 - the executor interface
        except Exception:  # noqa: BLE001 - run_job deals with what jobs raise, so this is APScheduler's own fault
            self._failed()
            self._run_job_error(job.id, *sys.exc_info()[1:])  # logs it, and lets the next run begin
        else:
            self._run_job_success(job.id, happened)
