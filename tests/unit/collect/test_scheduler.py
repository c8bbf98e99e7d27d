from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, tzinfo
from typing import Self

import pytest
from apscheduler.schedulers import base as apscheduler_base

from exporter.clock import SystemClock
from exporter.collect import scheduler as scheduler_module
from exporter.collect.scheduler import (
    HEARTBEAT_SECONDS,
    STALLED_AFTER_SECONDS,
    START_JITTER_MAX,
    START_JITTER_SHARE,
    SweepScheduler,
    retry_delay,
)
from tests.fakes import ManualClock, RecordingObserver, eventually

POOL = "eu-west-1_AbCdEfGhI"
INTERVAL = 60.0
DAY = 86400.0


@pytest.fixture
def observer() -> RecordingObserver:
    return RecordingObserver()


@pytest.fixture
def scheduler(observer: RecordingObserver) -> Iterator[SweepScheduler]:
    """Running scheduler on the system clock."""
    scheduler = SweepScheduler(observer, SystemClock())
    scheduler.start()
    yield scheduler
    scheduler.stop()


@pytest.fixture
def manual(observer: RecordingObserver) -> Iterator[ManualSchedule]:
    manual = ManualSchedule(observer)
    manual.scheduler.start()
    yield manual
    manual.scheduler.stop()


class ManualSchedule:
    """Running scheduler on a manual clock. Intervals must be long, because APScheduler waits in real time."""

    def __init__(self, observer: RecordingObserver) -> None:
        self.clock = ManualClock()
        self.scheduler = SweepScheduler(observer, self.clock)

    def add(self, job: Callable[[], float | None], interval: float = INTERVAL, *, delay: float = 0.0) -> None:
        """Add the pool's job and advance to its first run."""
        self.scheduler.add(POOL, interval, job, delay=delay)
        self.advance(START_JITTER_MAX + delay)

    def advance(self, seconds: float) -> None:
        """Advance the clock and wait until every due job was requested."""
        self.clock.advance(seconds)
        self.scheduler.check_clock()
        assert eventually(lambda: all(due > self.clock.wall() for due in self.scheduler.due().values()))

    def due_in(self, pool_id: str = POOL) -> float:
        """Return the seconds until the job's next run."""
        return self.scheduler.due()[pool_id] - self.clock.wall()


class Job:
    """Job that records its runs. A run ends after some seconds, or when it is released."""

    def __init__(self, *retry_delays: float | None, seconds: float = 0.0, held: bool = False) -> None:
        self.started: list[float] = []
        self.ended: list[float] = []
        self.daemonic: list[bool] = []
        self.release = threading.Event()
        self._retry_delays = list(retry_delays)
        self._seconds = seconds
        self._held = held

    def __call__(self) -> float | None:
        self.started.append(time.monotonic())
        self.daemonic.append(threading.current_thread().daemon)
        self.release.wait(10 if self._held else self._seconds)
        self.ended.append(time.monotonic())
        return self._retry_delays.pop(0) if self._retry_delays else None

    def has_started(self, times: int) -> bool:
        return eventually(lambda: len(self.started) >= times)

    def has_run(self, times: int) -> bool:
        return eventually(lambda: len(self.ended) >= times)


def all_runs_ended() -> bool:
    return eventually(lambda: not any(thread.name.startswith("sweep-") for thread in threading.enumerate()))


class SteppedDatetime(datetime):
    """Wall clock of APScheduler and its `step` in seconds."""

    step = 0.0

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return super().now(tz) + timedelta(seconds=cls.step)


@pytest.fixture
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> type[SteppedDatetime]:
    monkeypatch.setattr(SteppedDatetime, "step", 0.0)
    monkeypatch.setattr(scheduler_module, "CLOCK_CHECK_SECONDS", 0.02)
    monkeypatch.setattr(apscheduler_base, "datetime", SteppedDatetime)
    monkeypatch.setattr(scheduler_module, "datetime", SteppedDatetime)
    return SteppedDatetime


def test_interval_is_measured_from_start_to_start(scheduler: SweepScheduler) -> None:
    job = Job(seconds=0.15)
    scheduler.add(POOL, 0.25, job)
    assert job.has_run(5)
    assert 4 * 0.25 - 0.1 <= job.started[4] - job.started[0] < 4 * (0.25 + 0.15) - 0.1
    assert all(job.daemonic)


@pytest.mark.parametrize(
    ("interval", "delay", "longest"),
    [(2.0, 0.0, 2.0 * START_JITTER_SHARE), (3600.0, 0.0, START_JITTER_MAX), (3600.0, 60.0, 60 + START_JITTER_MAX)],
)
def test_first_runs_of_many_pools_are_spread(interval: float, delay: float, longest: float) -> None:
    clock = ManualClock()
    scheduler = SweepScheduler(RecordingObserver(), clock)
    for number in range(50):
        scheduler.add(f"pool-{number}", interval, Job(), delay=delay)
    starts = [due - clock.wall() for due in scheduler.due().values()]
    assert delay <= min(starts) < max(starts) <= longest + 0.001
    assert max(starts) - min(starts) > (longest - delay) / 3


def test_long_runs_follow_each_other_without_overlap(manual: ManualSchedule, observer: RecordingObserver) -> None:
    started: list[float] = []
    release = threading.Semaphore(0)

    def job() -> float | None:
        started.append(manual.clock.monotonic())
        release.acquire(timeout=10)
        return None

    manual.add(job)
    for runs in (1, 2, 3):
        assert eventually(lambda expected=runs: len(started) == expected)  # type: ignore[misc] # mypy cannot infer a default of a lambda
        assert started[-1] == manual.clock.monotonic(), "at once"
        manual.advance(INTERVAL)
        manual.advance(2.5 * INTERVAL)
        assert len(started) == runs
        assert observer.heard["overran", POOL] == runs, "once per run"
        release.release()
    assert eventually(lambda: len(started) == 4)
    manual.scheduler.remove(POOL)
    release.release()


def test_retry_runs_before_the_interval_is_over(manual: ManualSchedule) -> None:
    job = Job(10.0, None)
    manual.add(job)
    assert job.has_run(1)
    assert eventually(lambda: manual.due_in() == pytest.approx(10.0))
    manual.advance(10.0)
    assert job.has_run(2)
    assert manual.due_in() == pytest.approx(INTERVAL)


@pytest.mark.parametrize("retry_delay", [INTERVAL, 1000.0])
def test_retry_after_the_next_regular_run_is_dropped(manual: ManualSchedule, retry_delay: float) -> None:
    job = Job(retry_delay)
    manual.add(job)
    assert job.has_run(1)
    assert all_runs_ended()
    assert manual.due_in() <= INTERVAL


def test_missed_runs_are_counted_and_one_is_started(manual: ManualSchedule, observer: RecordingObserver) -> None:
    job = Job()
    manual.add(job, 10.0)
    assert job.has_run(1)
    assert all_runs_ended()
    manual.advance(manual.due_in() + 35)
    assert job.has_run(2)
    assert all_runs_ended()
    assert observer.heard == {("missed", POOL): 3}  # due 35, 25 and 15 seconds ago; the run due 5 seconds ago starts
    assert manual.due_in() == pytest.approx(5)
    assert len(job.started) == 2


def test_late_run_within_its_interval_is_not_missed(manual: ManualSchedule, observer: RecordingObserver) -> None:
    job = Job()
    manual.add(job, 7200.0)
    assert job.has_run(1)
    manual.advance(manual.due_in() + 7000)
    assert job.has_run(2)
    assert manual.due_in() == pytest.approx(200)
    assert observer.heard == {}


def test_removed_job_does_not_run(manual: ManualSchedule) -> None:
    job = Job()
    manual.add(job)
    assert job.has_run(1)
    manual.scheduler.remove(POOL)
    manual.clock.advance(10 * INTERVAL)
    other = Job()
    manual.scheduler.add("other", INTERVAL, other)
    manual.advance(INTERVAL)
    assert other.has_run(1)
    assert all_runs_ended()
    assert len(job.started) == 1


@pytest.mark.parametrize("retry_delay", [None, 0.01])
def test_job_removed_during_its_run_is_not_started_again(
    manual: ManualSchedule, observer: RecordingObserver, retry_delay: float | None
) -> None:
    job = Job(retry_delay, held=True)
    manual.add(job)
    manual.advance(INTERVAL)
    assert observer.heard["overran", POOL] == 1
    manual.scheduler.remove(POOL)
    job.release.set()
    assert job.has_run(1)
    manual.advance(10 * INTERVAL)
    assert all_runs_ended()
    assert len(job.started) == 1
    assert observer.heard == {("overran", POOL): 1}


def test_replacement_waits_for_the_run_of_the_removed_job(manual: ManualSchedule, observer: RecordingObserver) -> None:
    old, new = Job(1.0, held=True), Job(held=True)
    manual.add(old)
    assert old.has_started(1)
    manual.scheduler.remove(POOL)
    manual.add(new)
    manual.advance(2 * INTERVAL)
    assert new.started == []
    assert observer.heard["overran", POOL] == 0
    old.release.set()
    assert new.has_started(1)
    assert new.started[0] >= old.ended[0]
    manual.advance(INTERVAL + 1)
    assert observer.heard["overran", POOL] == 1, "its own run overran"
    manual.scheduler.remove(POOL)
    new.release.set()
    assert all_runs_ended()
    assert (len(old.started), len(new.started)) == (1, 1)


def test_retry_delay_of_a_removed_job_is_ignored(manual: ManualSchedule) -> None:
    old, new = Job(0.01, held=True), Job()
    manual.add(old, 1000.0)
    assert old.has_started(1)
    manual.scheduler.remove(POOL)
    manual.scheduler.add(POOL, 1000.0, new, delay=500.0)
    old.release.set()
    assert all_runs_ended()
    manual.advance(1)
    assert new.started == []
    assert manual.due_in() > 490


def test_jobs_run_concurrently(scheduler: SweepScheduler) -> None:
    slow, quick = Job(held=True), Job()
    scheduler.add("slow", 0.1, slow)
    scheduler.add("quick", 0.1, quick)
    assert quick.has_run(3)
    assert len(slow.started) == 1
    slow.release.set()


def test_exception_of_a_job_is_counted_and_it_runs_again(manual: ManualSchedule, observer: RecordingObserver) -> None:
    runs = []

    def broken() -> float | None:
        runs.append(1)
        raise RuntimeError("bug")

    manual.add(broken)
    assert eventually(lambda: observer.heard["unexpected", "schedule"] == 1)
    manual.advance(INTERVAL)
    assert eventually(lambda: observer.heard["unexpected", "schedule"] == 2)
    assert len(runs) == 2


def test_exception_of_a_removed_job_starts_its_replacement(manual: ManualSchedule) -> None:
    release, started, new = threading.Event(), threading.Event(), Job()

    def broken() -> float | None:
        started.set()
        assert release.wait(10)
        raise RuntimeError("bug")

    manual.add(broken, 1000.0)
    assert started.wait(10)
    manual.scheduler.remove(POOL)
    manual.add(new, 1000.0)
    assert new.started == []
    release.set()
    assert new.has_run(1)


def test_stop_starts_no_run_and_waits_for_none(observer: RecordingObserver) -> None:
    scheduler = SweepScheduler(observer, SystemClock())
    held, quick = Job(held=True), Job()
    scheduler.add("held", 0.1, held)
    scheduler.add("quick", 0.1, quick)
    scheduler.start()
    assert held.has_started(1)
    assert quick.has_run(1)
    before = time.monotonic()
    scheduler.stop()
    assert time.monotonic() - before < 5
    assert eventually(lambda: len(quick.started) == len(quick.ended))
    runs = len(quick.started)
    held.release.set()
    assert not eventually(lambda: (len(quick.started), len(held.started)) != (runs, 1), within=0.3)


def test_scheduler_without_heartbeat_is_stalled(observer: RecordingObserver) -> None:
    manual = ManualSchedule(observer)
    manual.clock.advance(STALLED_AFTER_SECONDS)
    assert not manual.scheduler.is_stalled()
    manual.clock.advance(1)
    assert manual.scheduler.is_stalled()
    manual.scheduler.start()
    manual.scheduler.check_clock()
    assert eventually(lambda: not manual.scheduler.is_stalled())
    manual.advance(STALLED_AFTER_SECONDS - 1)
    manual.advance(HEARTBEAT_SECONDS)
    assert eventually(lambda: not manual.scheduler.is_stalled())
    manual.scheduler.stop()
    manual.clock.advance(STALLED_AFTER_SECONDS + HEARTBEAT_SECONDS)
    assert manual.scheduler.is_stalled()
    assert observer.heard == {}


@pytest.mark.parametrize(("failures", "delay"), [(1, 30), (2, 60), (3, 120), (10_000, 30 * 2**20)])
def test_retry_delay_doubles(failures: int, delay: float) -> None:
    assert retry_delay(failures) == delay


@pytest.mark.parametrize("step", [-40 * 365 * DAY, -DAY, -3.0, 3.0, DAY, 40 * 365 * DAY])
def test_wall_clock_step_neither_delays_nor_adds_runs(
    wall_clock: type[SteppedDatetime], observer: RecordingObserver, step: float
) -> None:
    scheduler = SweepScheduler(observer, SystemClock())
    job = Job()
    scheduler.add(POOL, 0.6, job)
    scheduler.start()
    try:
        assert job.has_run(1)
        wall_clock.step = step
        assert job.has_run(3)
        # Two intervals are 1.2 s. On a busy machine, the first run may start half a second late.
        assert 0.7 < job.started[2] - job.started[0] < 2.5
        assert observer.heard == {}
    finally:
        scheduler.stop()


def test_scheduler_sleeps_between_runs(observer: RecordingObserver) -> None:
    reads = []

    class CountingClock(SystemClock):
        def monotonic(self) -> float:
            reads.append(1)
            return super().monotonic()

    scheduler = SweepScheduler(observer, CountingClock())
    job = Job()
    scheduler.add(POOL, 3600.0, job)
    scheduler.start()
    try:
        assert job.has_run(1)
        assert all_runs_ended()
        before = len(reads)
        assert not eventually(lambda: len(reads) - before >= 5, within=0.3)
    finally:
        scheduler.stop()


def test_stop_ends_the_dispatcher_at_once(observer: RecordingObserver) -> None:
    scheduler = SweepScheduler(observer, SystemClock(), "stopped")
    scheduler.start()
    scheduler.stop()
    assert eventually(lambda: "dispatcher-stopped" not in {t.name for t in threading.enumerate()}, within=0.5)


@pytest.mark.parametrize(
    ("passed", "interval", "due"),
    [(100.0, 1000.0, 900.0), (100.0, 50.0, 0.0), (100.0, 200.0, 100.0)],
    ids=["longer", "over already", "shorter"],
)
def test_new_interval_counts_from_the_last_start(
    observer: RecordingObserver, passed: float, interval: float, due: float
) -> None:
    manual = ManualSchedule(observer)
    job = Job(held=True)
    manual.scheduler.start()
    manual.add(job, 500.0)
    assert job.has_started(1)
    manual.scheduler.stop()
    manual.clock.advance(passed)
    manual.scheduler.set_interval(POOL, interval)
    assert manual.due_in() == pytest.approx(due, abs=START_JITTER_MAX)
    assert len(job.started) == 1, "the run in progress continues"
    job.release.set()


def test_new_interval_delays_neither_a_first_run_nor_a_retry(manual: ManualSchedule) -> None:
    failing = Job(30.0)
    manual.add(failing, 100.0)
    assert failing.has_run(1)
    assert eventually(lambda: manual.due_in() == pytest.approx(30))
    manual.scheduler.set_interval(POOL, 1000.0)
    assert manual.due_in() == pytest.approx(30)
    manual.scheduler.add("first", 100.0, Job(), delay=50.0)
    manual.scheduler.set_interval("first", 1000.0)
    assert manual.due_in("first") < 52


def test_runs_follow_the_new_interval(manual: ManualSchedule) -> None:
    job = Job()
    manual.add(job, 1000.0)
    assert job.has_run(1)
    manual.scheduler.set_interval(POOL, INTERVAL)
    for runs in (2, 3):
        manual.advance(manual.due_in() - 0.1)
        assert all_runs_ended()
        assert len(job.started) == runs - 1
        manual.advance(0.101)
        assert job.has_run(runs)


def test_due_is_in_wall_time(manual: ManualSchedule) -> None:
    assert manual.scheduler.due() == {}
    manual.scheduler.add(POOL, 3600, Job(), delay=600)
    assert 600 <= manual.due_in() <= 601
    manual.clock.step_wall(DAY)
    assert 600 <= manual.due_in() <= 601
    manual.scheduler.remove(POOL)
    assert manual.scheduler.due() == {}


def test_thread_limit_skips_one_run(manual: ManualSchedule, observer: RecordingObserver) -> None:
    job = Job()
    default = threading.stack_size(1 << 46)  # more than the address space: no thread can start
    try:
        manual.add(job)
        assert eventually(lambda: observer.heard["unexpected", "schedule"] > 0)
    finally:
        threading.stack_size(default)
    manual.advance(INTERVAL)
    assert job.has_run(1)
