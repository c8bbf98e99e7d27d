from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest

from exporter.clock import SystemClock
from exporter.collect.scheduler import START_JITTER_MAX, START_JITTER_SHARE, SweepScheduler
from tests.fakes import ManualClock, OffsetClock, RecordingObserver, eventually

POOL = "eu-west-1_AbCdEfGhI"
INTERVAL = 60.0


@pytest.fixture
def observer() -> RecordingObserver:
    return RecordingObserver()


@pytest.fixture
def schedule(observer: RecordingObserver) -> Iterator[SweepScheduler]:
    schedule = SweepScheduler(observer, SystemClock())
    schedule.start()
    yield schedule
    schedule.stop()


@pytest.fixture
def manual(observer: RecordingObserver) -> Iterator[Manual]:
    manual = Manual(observer)
    manual.schedule.start()
    yield manual
    manual.schedule.stop()


def meanwhile(seconds: float) -> None:
    """Let some time pass in which nothing is expected."""
    eventually(lambda: False, within=seconds)


class Manual:
    """A schedule on a manual clock. Intervals must be long, as the scheduler's own thread sleeps in real time."""

    def __init__(self, observer: RecordingObserver) -> None:
        self.clock = ManualClock()
        self.schedule = SweepScheduler(observer, self.clock)

    def add(self, job: Callable[[], float | None], interval: float = INTERVAL, *, delay: float = 0.0) -> None:
        """Add the pool's job and advance to its first run."""
        self.schedule.add(POOL, interval, job, delay=delay)
        self.advance(START_JITTER_MAX + delay)

    def advance(self, seconds: float) -> None:
        """Advance the clock and start what is due."""
        self.clock.advance(seconds)
        self.schedule._scheduler._process_jobs()

    @staticmethod
    def finish() -> None:
        """Wait until no job runs."""
        assert eventually(lambda: not any(thread.name.startswith("sweep-") for thread in threading.enumerate()))


class CountedReads(SystemClock):
    def __init__(self) -> None:
        self.reads = 0

    def monotonic(self) -> float:
        self.reads += 1
        return super().monotonic()


class Job:
    """Notes when it runs; lasts for some seconds, or until it is let go."""

    def __init__(self, *answers: float | None, seconds: float = 0.0, held: bool = False) -> None:
        self.started: list[float] = []
        self.ended: list[float] = []
        self.most_at_once = 0
        self.daemonic: list[bool] = []
        self.go_on = threading.Event()
        self._answers = list(answers)
        self._seconds = seconds
        self._held = held

    def __call__(self) -> float | None:
        self.started.append(time.monotonic())
        self.most_at_once = max(self.most_at_once, len(self.started) - len(self.ended))
        self.daemonic.append(threading.current_thread().daemon)
        self.go_on.wait(10 if self._held else self._seconds)
        self.ended.append(time.monotonic())
        return self._answers.pop(0) if self._answers else None

    def has_run(self, times: int) -> bool:
        return eventually(lambda: len(self.ended) >= times)


def due_in(schedule: SweepScheduler, pool_id: str = POOL) -> float:
    """Seconds until the job's next run."""
    due = schedule._scheduler.get_job(pool_id).next_run_time
    return float((due - schedule._in(0)).total_seconds())


def overslept(schedule: SweepScheduler, seconds: float) -> None:
    """As if the process had been stopped while the job was due."""
    schedule._scheduler.modify_job(POOL, next_run_time=schedule._in(-seconds))


def test_runs_stand_an_interval_apart_from_start_to_start(schedule: SweepScheduler) -> None:
    job = Job(seconds=0.15)
    schedule.add(POOL, 0.25, job)
    assert job.has_run(5)
    took = job.started[4] - job.started[0]
    assert 4 * 0.25 - 0.1 <= took < 4 * (0.25 + 0.15) - 0.1
    assert all(job.daemonic)


@pytest.mark.parametrize(
    ("interval", "delay", "longest"),
    [(2.0, 0.0, 2.0 * START_JITTER_SHARE), (3600.0, 0.0, START_JITTER_MAX), (3600.0, 60.0, 60 + START_JITTER_MAX)],
)
def test_many_pools_do_not_start_as_one(interval: float, delay: float, longest: float) -> None:
    schedule = SweepScheduler(RecordingObserver(), SystemClock())
    names = [f"pool-{i}" for i in range(50)]
    for name in names:
        schedule.add(name, interval, Job(), delay=delay)
    starts = [due_in(schedule, name) for name in names]
    assert delay - 1 <= min(starts) < max(starts) <= longest
    assert max(starts) - min(starts) > (longest - delay) / 3


def test_runs_longer_than_the_interval_go_back_to_back_without_overlap(
    manual: Manual, observer: RecordingObserver
) -> None:
    started, go_on = [], threading.Semaphore(0)

    def job() -> float | None:
        started.append(manual.clock.monotonic())
        go_on.acquire(timeout=10)
        return None

    manual.add(job)
    for runs in (1, 2, 3):
        assert eventually(lambda expected=runs: len(started) == expected)  # type: ignore[misc] # mypy cannot infer a default of a lambda
        assert started[-1] == manual.clock.monotonic(), "at once"
        manual.advance(INTERVAL)
        manual.advance(2.5 * INTERVAL)
        assert len(started) == runs
        assert observer.heard["overran", POOL] == runs, "once for a run"
        go_on.release()
    assert eventually(lambda: len(started) == 4)
    manual.schedule.remove(POOL)
    go_on.release()


def test_a_run_that_asks_for_it_is_repeated_before_the_interval_is_over(schedule: SweepScheduler) -> None:
    job = Job(0.1, None)
    schedule.add(POOL, 5.0, job)
    assert job.has_run(2)
    assert 0.1 <= job.started[1] - job.ended[0] < 3
    assert eventually(lambda: due_in(schedule) > 4)


def test_a_run_that_asks_for_more_than_the_interval_is_repeated_after_the_interval(schedule: SweepScheduler) -> None:
    job = Job(1000.0)
    schedule.add(POOL, 0.3, job)
    assert job.has_run(2)
    assert job.started[1] - job.started[0] < 2


def test_runs_missed_while_the_process_was_stopped_are_counted_and_one_is_started(observer: RecordingObserver) -> None:
    schedule = SweepScheduler(observer, SystemClock())
    job = Job()
    schedule.add(POOL, 10.0, job)
    schedule._scheduler.start(paused=True)
    overslept(schedule, 35)
    schedule._scheduler.resume()
    assert job.has_run(1)
    assert observer.heard == {("missed", POOL): 3}  # due 35, 25 and 15 seconds ago; that of 5 seconds ago runs
    assert 4 < due_in(schedule) <= 5
    schedule.stop()
    assert len(job.started) == 1


def test_a_run_that_is_merely_late_is_not_missed(observer: RecordingObserver) -> None:
    schedule = SweepScheduler(observer, SystemClock())
    job = Job()
    schedule.add(POOL, 7200.0, job)
    schedule._scheduler.start(paused=True)
    overslept(schedule, 7000)
    schedule._scheduler.resume()
    assert job.has_run(1)
    schedule.stop()
    assert observer.heard == {}


def test_a_removed_job_runs_no_more(manual: Manual) -> None:
    job = Job()
    manual.add(job)
    assert job.has_run(1)
    manual.schedule.remove(POOL)
    manual.advance(10 * INTERVAL)
    manual.finish()
    assert len(job.started) == 1


@pytest.mark.parametrize("answer", [None, 0.01])
def test_a_job_removed_in_mid_run_is_not_started_again(
    manual: Manual, observer: RecordingObserver, answer: float | None
) -> None:
    job = Job(answer, held=True)
    manual.add(job)
    manual.advance(INTERVAL)
    assert observer.heard["overran", POOL] == 1
    manual.schedule.remove(POOL)
    job.go_on.set()
    assert job.has_run(1)
    manual.advance(10 * INTERVAL)
    manual.finish()
    assert len(job.started) == 1
    assert observer.heard == {("overran", POOL): 1}


def test_a_job_that_takes_the_place_of_another_waits_for_the_run_under_way(
    manual: Manual, observer: RecordingObserver
) -> None:
    old, new = Job(1.0, held=True), Job(held=True)
    manual.add(old)
    assert eventually(lambda: len(old.started) == 1)
    manual.schedule.remove(POOL)
    manual.add(new)
    manual.advance(2 * INTERVAL)
    assert new.started == []
    assert observer.heard["overran", POOL] == 0
    old.go_on.set()
    assert eventually(lambda: len(new.started) == 1), "at once"
    assert new.started[0] >= old.ended[0]
    manual.advance(INTERVAL + 1)
    assert observer.heard["overran", POOL] == 1, "its own run does overrun"
    manual.schedule.remove(POOL)
    new.go_on.set()
    manual.finish()
    assert (len(old.started), len(new.started)) == (1, 1)


def test_jobs_do_not_wait_for_each_other(schedule: SweepScheduler) -> None:
    slow, quick = Job(held=True), Job()
    schedule.add("slow", 0.1, slow)
    schedule.add("quick", 0.1, quick)
    assert quick.has_run(3)
    assert len(slow.started) == 1
    slow.go_on.set()


def test_a_job_that_raises_is_told_and_runs_again(schedule: SweepScheduler, observer: RecordingObserver) -> None:
    runs = []

    def broken() -> float | None:
        runs.append(1)
        raise RuntimeError("nobody foresaw this")

    schedule.add(POOL, 0.1, broken)
    assert eventually(lambda: len(runs) >= 2)
    assert eventually(lambda: observer.heard["unexpected", "schedule"] >= 2)


def test_after_the_stop_nothing_starts_and_what_runs_is_not_waited_for(observer: RecordingObserver) -> None:
    schedule = SweepScheduler(observer, SystemClock())
    held, quick = Job(held=True), Job()
    schedule.add("held", 0.1, held)
    schedule.add("quick", 0.1, quick)
    schedule.start()
    assert eventually(lambda: bool(held.started and quick.ended))
    begun = time.monotonic()
    schedule.stop()
    assert time.monotonic() - begun < 5
    assert eventually(lambda: len(quick.started) == len(quick.ended))
    runs = len(quick.started)
    held.go_on.set()
    meanwhile(0.3)
    assert (len(quick.started), len(held.started)) == (runs, 1)


def test_the_scheduler_shows_life_as_long_as_it_runs_jobs(observer: RecordingObserver) -> None:
    clock = ManualClock()
    schedule = SweepScheduler(observer, clock)
    clock.advance(400)
    assert schedule.seconds_since_heartbeat() == 400
    schedule.start()
    schedule._scheduler.modify_job("heartbeat", next_run_time=schedule._in(0))
    assert eventually(lambda: schedule.seconds_since_heartbeat() == 0)
    schedule.stop()
    clock.advance(30)
    assert schedule.seconds_since_heartbeat() == 30


def test_a_run_that_fails_outside_of_its_job_is_counted_and_the_next_may_begin() -> None:
    observer = RecordingObserver()
    schedule = SweepScheduler(observer, SystemClock())
    schedule.start()
    try:
        executor = schedule._scheduler._lookup_executor("default")
        executor._instances["pool"] = 1
        executor._run(SimpleNamespace(id="pool", _jobstore_alias=None), [schedule._in(0)])
    finally:
        schedule.stop()
    assert observer.heard["unexpected", "schedule"] == 1
    assert "pool" not in executor._instances


@pytest.mark.parametrize("seconds", [-86400.0, -3.0, 3.0, 86400.0], ids=["back a day", "back", "on", "on a day"])
def test_a_wall_clock_that_is_set_moves_no_run_and_misses_none(
    manual: Manual, observer: RecordingObserver, seconds: float
) -> None:
    job = Job()
    manual.add(job)
    assert job.has_run(1)
    due = due_in(manual.schedule)
    manual.clock.step_wall(seconds)
    assert due_in(manual.schedule) == due
    for runs in (2, 3, 4):
        manual.advance(due_in(manual.schedule) - 1)
        manual.finish()
        assert len(job.started) == runs - 1
        manual.advance(1.001)
        assert job.has_run(runs)
        assert due_in(manual.schedule) == pytest.approx(INTERVAL, abs=0.01)
    assert observer.heard == {}


def test_the_time_of_the_schedule_is_monotonic_and_nothing_else() -> None:
    clock = ManualClock()
    schedule = SweepScheduler(RecordingObserver(), clock)
    zone = schedule._scheduler.timezone
    before = datetime.now(zone)
    clock.advance(90)
    assert datetime.now(zone) - before == timedelta(seconds=90)
    assert datetime.now(zone) == schedule._in(0)
    assert (zone.dst(None), zone.tzname(None)) == (timedelta(0), "monotonic")


def test_between_runs_the_scheduler_sleeps(observer: RecordingObserver) -> None:
    clock = CountedReads()
    schedule = SweepScheduler(observer, clock)
    job = Job()
    schedule.add(POOL, 3600.0, job)
    schedule.start()
    try:
        assert job.has_run(1)
        meanwhile(0.1)
        before = clock.reads
        meanwhile(0.3)
        assert clock.reads - before < 5
    finally:
        schedule.stop()


def test_time_that_passes_makes_a_run_due(observer: RecordingObserver) -> None:
    clock = OffsetClock()
    schedule = SweepScheduler(observer, clock)
    job = Job()
    schedule.add(POOL, 3600.0, job)
    clock.advance(3601)
    schedule.start()
    assert job.has_run(1)
    schedule.stop()


def test_a_removed_job_that_asks_for_another_run_is_not_heard(manual: Manual) -> None:
    old, new = Job(0.01, held=True), Job()
    manual.add(old, 1000.0)
    assert eventually(lambda: len(old.started) == 1)
    manual.schedule.remove(POOL)
    manual.schedule.add(POOL, 1000.0, new, delay=500.0)
    old.go_on.set()
    assert old.has_run(1)
    manual.finish()
    manual.advance(1)
    assert new.started == []
    assert due_in(manual.schedule) > 490


def test_a_job_that_raised_while_another_waited_lets_it_run(manual: Manual) -> None:
    go_on, started, new = threading.Event(), threading.Event(), Job()

    def broken() -> float | None:
        started.set()
        assert go_on.wait(10)
        raise RuntimeError("nobody foresaw this")

    manual.add(broken, 1000.0)
    assert started.wait(10)
    manual.schedule.remove(POOL)
    manual.add(new, 1000.0)
    assert new.started == []
    go_on.set()
    assert new.has_run(1)


@pytest.mark.parametrize(
    ("passed", "interval", "due"),
    [(100.0, 1000.0, 900.0), (100.0, 50.0, 0.0), (100.0, 200.0, 100.0)],
    ids=["longer", "over already", "shorter"],
)
def test_another_interval_counts_from_the_last_start(
    observer: RecordingObserver, passed: float, interval: float, due: float
) -> None:
    clock = OffsetClock()
    schedule = SweepScheduler(observer, clock)
    job = Job(held=True)
    schedule.add(POOL, 500.0, job)
    schedule.start()
    try:
        assert eventually(lambda: len(job.started) == 1)
        clock.advance(passed)
        schedule._scheduler.pause()
        schedule.set_interval(POOL, interval)
        assert due_in(schedule) == pytest.approx(due, abs=1)
        assert len(job.started) == 1, "the run under way goes on"
    finally:
        job.go_on.set()
        schedule.stop()


def test_another_interval_moves_neither_a_first_run_nor_a_repetition_to_later(schedule: SweepScheduler) -> None:
    failing = Job(30.0)
    schedule.add(POOL, 100.0, failing)
    assert failing.has_run(1)
    assert eventually(lambda: due_in(schedule) < 31)
    schedule.set_interval(POOL, 1000.0)
    assert due_in(schedule) < 31
    schedule.add("first", 100.0, Job(), delay=50.0)
    schedule.set_interval("first", 1000.0)
    assert due_in(schedule, "first") < 52


def test_later_runs_stand_the_new_interval_apart(manual: Manual) -> None:
    job = Job()
    manual.add(job, 1000.0)
    assert job.has_run(1)
    manual.schedule.set_interval(POOL, INTERVAL)
    for runs in (2, 3):
        manual.advance(INTERVAL - START_JITTER_MAX - 0.1)
        manual.finish()
        assert len(job.started) == runs - 1
        manual.advance(START_JITTER_MAX + 0.101)
        assert job.has_run(runs)


def test_when_each_pool_is_due_is_told_by_the_clock_on_the_wall(schedule: SweepScheduler) -> None:
    assert schedule.due() == {}
    schedule.add(POOL, 3600, Job(), delay=600)
    due = schedule.due()
    assert set(due) == {POOL}
    assert 595 < due[POOL] - SystemClock().wall() < 605
    schedule.remove(POOL)
    assert schedule.due() == {}


def test_a_run_that_ends_just_as_it_is_found_under_way_is_followed_all_the_same(schedule: SweepScheduler) -> None:
    job = Job(held=True)
    skipping = logging.getLogger("apscheduler.scheduler")

    def end_the_run(record: logging.LogRecord) -> bool:
        """Between APScheduler's finding that the job runs and its telling so."""
        if record.getMessage().startswith("Execution of job"):
            (thread,) = (one for one in threading.enumerate() if one.name == f"sweep-{POOL}")
            job.go_on.set()
            thread.join(10)
        return False

    level, disabled = skipping.level, skipping.disabled
    skipping.setLevel(logging.WARNING)  # whatever another test has made of it
    skipping.disabled = False
    skipping.addFilter(end_the_run)
    try:
        schedule.add(POOL, 3600.0, job)
        assert eventually(lambda: len(job.started) == 1)
        schedule._run_in(POOL, 0)
        assert job.has_run(2)
    finally:
        skipping.removeFilter(end_the_run)
        skipping.setLevel(level)
        skipping.disabled = disabled


def test_a_run_for_which_the_system_grants_no_thread_is_counted_and_the_next_one_starts(
    schedule: SweepScheduler, observer: RecordingObserver
) -> None:
    job = Job()
    usual = threading.stack_size(1 << 46)  # more than there are addresses: no thread can begin
    try:
        schedule.add(POOL, 0.2, job)
        assert eventually(lambda: observer.heard["unexpected", "schedule"] > 0)
    finally:
        threading.stack_size(usual)
    assert job.has_run(1)
