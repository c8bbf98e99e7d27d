from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from exporter.aws.rate.limiter import RateLimiter
from exporter.clock import SystemClock
from exporter.collect.sweeping.workers import (
    MAX_QUEUED,
    MAX_WAITING_TASKS,
    MAX_WORKERS,
    MAX_WORKERS_PER_TARGET,
    ReadTask,
    WorkerLimit,
    WorkerPool,
)
from exporter.config.settings import TargetSettings
from exporter.errors import AwsError, Cancelled, Denied, InvalidRequest, Reason, ServerError, Throttled
from exporter.retry import RetryPolicy
from tests.fakes import eventually

FAST_RETRIES = RetryPolicy(first_delay=0.001)
IRELAND, OHIO, TOKYO = TargetSettings("eu-west-1"), TargetSettings("us-east-2"), TargetSettings("ap-northeast-1")
THROTTLED = Throttled("AdminListDevices", "TooManyRequestsException")

Read = Callable[[ReadTask, Callable[[], None]], None]


class Gauge:
    """Current and maximum number of concurrent calls."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.now = 0
        self.most = 0

    def __enter__(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.now -= 1


class GiveUps:
    """Users that were given up, and the reasons."""

    def __init__(self) -> None:
        self.users: list[tuple[str, Reason]] = []

    def __call__(self, task: ReadTask, reason: Reason) -> None:
        self.users.append((task.username, reason))


def worker_pool(
    read: Read,
    *,
    give_ups: GiveUps | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    retry_policy: RetryPolicy = FAST_RETRIES,
    target: TargetSettings = IRELAND,
    name: str = "reader",
    limit: WorkerLimit | None = None,
) -> WorkerPool:
    return WorkerPool(
        read,
        give_ups or GiveUps(),
        SystemClock(),
        cancelled,
        target=target,
        name=name,
        retry_policy=retry_policy,
        limit=limit or WorkerLimit(),
    )


def submit(pool: WorkerPool, count: int) -> int:
    """Submit numbered users and return how many were accepted."""
    return sum(pool.submit(str(number), b"%d" % number) for number in range(count))


def pause(seconds: float) -> None:
    """Wait for the latency of a response."""
    threading.Event().wait(seconds)


def test_every_user_is_read_once() -> None:
    seen: Counter[str] = Counter()

    def read(task: ReadTask, on_send: Callable[[], None]) -> None:
        on_send()
        seen[task.username] += 1

    pool = worker_pool(read)
    assert submit(pool, 500) == 500
    pool.finish()
    assert seen == {str(number): 1 for number in range(500)}
    assert pool.failures == {}


def test_concurrency_adjusts_to_rate_times_latency() -> None:
    rate, latency, users = 200, 0.05, 200
    limiter = RateLimiter(rate, SystemClock())
    queued, flight = Gauge(), Gauge()
    all_submitted = threading.Event()  # workers started by submit() would hide missing ones

    def read(_task: ReadTask, on_send: Callable[[], None]) -> None:
        with queued:
            all_submitted.wait(10)
            limiter.acquire("pool", lambda: False)
        on_send()
        with flight:
            pause(latency)

    pool = worker_pool(read, name="growing")
    submit(pool, users)
    started = time.monotonic()
    all_submitted.set()
    pool.finish()
    seconds = time.monotonic() - started
    assert queued.most <= MAX_QUEUED
    assert rate * latency * 0.7 <= flight.most <= rate * latency * 2
    # Two workers would take users × latency / 2 = 5 seconds.
    assert seconds < 2.5


def test_slot_is_released_once_per_user() -> None:
    queued = Gauge()
    held = threading.Event()

    def read(task: ReadTask, on_send: Callable[[], None]) -> None:
        with queued:
            pause(0.001)
        for _ in range(5):
            on_send()
        if int(task.username) < 20:
            held.wait(10)

    pool = worker_pool(read)
    submit(pool, 100)
    held.set()
    pool.finish()
    assert queued.most <= MAX_QUEUED


def test_slot_is_released_if_the_call_fails_before_sending() -> None:
    def read(_task: ReadTask, _on_send: Callable[[], None]) -> None:
        raise InvalidRequest("AdminListDevices", "InvalidParameterException")

    give_ups = GiveUps()
    pool = worker_pool(read, give_ups=give_ups)
    submit(pool, 50)
    pool.finish()
    assert len(give_ups.users) == 50
    assert pool.failures == {Reason.INVALID_REQUEST: 50}


def test_workers_of_a_target_are_limited() -> None:
    flight = Gauge()
    release = threading.Event()

    def read(_task: ReadTask, on_send: Callable[[], None]) -> None:
        on_send()
        with flight:
            release.wait(10)

    pool = worker_pool(read, name="bounded")
    submit(pool, MAX_WORKERS_PER_TARGET + 50)
    assert eventually(lambda: flight.now == MAX_WORKERS_PER_TARGET)
    assert not eventually(lambda: flight.now > MAX_WORKERS_PER_TARGET, within=0.1)
    release.set()
    pool.finish()
    pool.stop()
    assert eventually(lambda: not any(thread.name.startswith("bounded-") for thread in threading.enumerate()))


def test_workers_of_all_sweeps_are_limited_to_one_extra_each() -> None:
    flights = {target: Gauge() for target in (IRELAND, OHIO, TOKYO)}
    release = threading.Event()
    limit = WorkerLimit(total=6, per_target=4)

    def started(target: TargetSettings) -> WorkerPool:
        def read(_task: ReadTask, on_send: Callable[[], None]) -> None:
            on_send()
            with flights[target]:
                release.wait(10)

        pool = worker_pool(read, target=target, limit=limit)
        submit(pool, 20)
        return pool

    pools = []
    for target, workers in {IRELAND: 4, OHIO: 2, TOKYO: 1}.items():
        pools.append(started(target))
        assert eventually(lambda target=target, workers=workers: flights[target].now == workers)  # type: ignore[misc] # mypy cannot infer a default of a lambda
    assert [flight.now for flight in flights.values()] == [4, 2, 1]
    release.set()
    for pool in pools:
        pool.finish()
        pool.stop()
    assert eventually(lambda: all(limit.try_acquire(target, is_first=False) for target in (IRELAND, OHIO, TOKYO)))


def test_worker_limit_is_shared_by_the_sweeps_of_a_target() -> None:
    limit = WorkerLimit(total=6, per_target=2)
    assert [limit.try_acquire(IRELAND, is_first=False) for _ in range(3)] == [True, True, False]
    assert limit.try_acquire(IRELAND, is_first=True)
    limit.release(IRELAND)
    assert not limit.try_acquire(IRELAND, is_first=False)
    limit.release(IRELAND)
    assert limit.try_acquire(IRELAND, is_first=False)
    assert MAX_WORKERS_PER_TARGET == MAX_WORKERS // 2


def test_idle_workers_end_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.collect.sweeping.workers.IDLE_SECONDS", 0.05)
    flight = Gauge()
    release = threading.Event()

    def read(_task: ReadTask, on_send: Callable[[], None]) -> None:
        on_send()
        with flight:
            release.wait(10)

    def workers() -> int:
        return sum(thread.name.startswith("idle-") for thread in threading.enumerate())

    pool = worker_pool(read, name="idle")
    submit(pool, 20)
    assert eventually(lambda: flight.now == 20)
    release.set()
    assert eventually(lambda: workers() == 1)
    submit(pool, 20)
    pool.finish()
    assert flight.most == 20
    pool.stop()
    assert eventually(lambda: workers() == 0)


def test_submit_waits_while_the_queue_is_full() -> None:
    release = threading.Event()
    taken: Counter[str] = Counter()

    def read(_task: ReadTask, on_send: Callable[[], None]) -> None:
        release.wait(10)
        on_send()

    pool = worker_pool(read)
    users = MAX_WAITING_TASKS + 100

    def enumerate_users() -> None:
        for number in range(users):
            pool.submit(str(number), b"")
            taken["users"] += 1

    with ThreadPoolExecutor(1) as executor:
        enumerating = executor.submit(enumerate_users)
        # Tasks with a slot are no longer queued.
        assert eventually(lambda: taken["users"] == MAX_WAITING_TASKS + MAX_QUEUED)
        assert not eventually(lambda: taken["users"] > MAX_WAITING_TASKS + MAX_QUEUED, within=0.1)
        release.set()
        enumerating.result(10)
    pool.finish()
    assert taken["users"] == users


def test_retry_is_not_queued_behind_all_other_users() -> None:
    order: list[str] = []

    def read(task: ReadTask, on_send: Callable[[], None]) -> None:
        on_send()
        order.append(task.username)
        if task.username == "0" and task.attempts == 0:
            raise THROTTLED

    pool = worker_pool(read)
    users = 5 * MAX_WAITING_TASKS
    submit(pool, users)
    pool.finish()
    assert order.count("0") == 2
    again = len(order) - 1 - order[::-1].index("0")
    assert again < 3 * MAX_WAITING_TASKS


def test_other_users_are_read_before_a_delayed_retry() -> None:
    asked: list[tuple[str, float]] = []

    def read(task: ReadTask, on_send: Callable[[], None]) -> None:
        on_send()
        asked.append((task.username, time.monotonic()))
        if task.username == "0" and task.attempts == 0:
            raise THROTTLED

    pool = worker_pool(read, retry_policy=RetryPolicy(first_delay=0.3))
    submit(pool, 20)
    pool.finish()
    first, again = (moment for name, moment in asked if name == "0")
    assert again - first >= 0.15
    assert max(moment for name, moment in asked if name != "0") < again


def test_attempts_per_user_are_limited() -> None:
    attempts: Counter[str] = Counter()

    def read(task: ReadTask, on_send: Callable[[], None]) -> None:
        on_send()
        attempts[task.username] += 1
        if task.username == "3":
            raise ServerError("AdminListDevices", "InternalErrorException")

    give_ups = GiveUps()
    pool = worker_pool(read, give_ups=give_ups, retry_policy=RetryPolicy(attempts=4, first_delay=0.001))
    submit(pool, 10)
    pool.finish()
    assert attempts == {**{str(number): 1 for number in range(10)}, "3": 4}
    assert give_ups.users == [("3", Reason.SERVER_ERROR)]
    assert pool.failures == {Reason.SERVER_ERROR: 1}


def test_outage_ends_the_work() -> None:
    asked: list[str] = []

    def read(task: ReadTask, _on_send: Callable[[], None]) -> None:
        asked.append(task.username)  # and keeps its slot, which limits the calls in flight
        raise THROTTLED

    pool = worker_pool(
        read, retry_policy=RetryPolicy(max_consecutive_failures=10, outage_tolerance=0, first_delay=0.001)
    )
    submit(pool, 100)
    with pytest.raises(Throttled):
        pool.finish()
    assert 10 <= len(asked) <= 10 + 2 * MAX_QUEUED
    assert not pool.submit("one more", b"")


def test_short_outage_does_not_end_the_work() -> None:
    outage = iter(range(60))

    def read(_task: ReadTask, on_send: Callable[[], None]) -> None:
        on_send()
        if next(outage, None) is not None:
            raise THROTTLED

    pool = worker_pool(read, retry_policy=RetryPolicy(max_consecutive_failures=10, first_delay=0.001))
    submit(pool, 20)
    pool.finish()
    assert not pool.failures


def test_on_give_up_is_called_before_finish_returns() -> None:
    given_up = threading.Event()

    def refuse(_task: ReadTask, on_send: Callable[[], None]) -> None:
        on_send()
        raise InvalidRequest("AdminListDevices", "x")

    def on_give_up(_task: ReadTask, _reason: Reason) -> None:
        assert not given_up.wait(0.05)
        given_up.set()

    pool = WorkerPool(refuse, on_give_up, SystemClock(), lambda: False, target=IRELAND, name="reader")
    pool.submit("ann", b"ann")
    pool.finish()
    assert given_up.is_set()


def test_success_resets_the_count_of_failures() -> None:
    calls = itertools.count()

    def read(_task: ReadTask, _on_send: Callable[[], None]) -> None:
        if next(calls) % 2:
            raise THROTTLED

    pool = worker_pool(
        read, retry_policy=RetryPolicy(max_consecutive_failures=10, outage_tolerance=0, first_delay=0.001)
    )
    submit(pool, 100)
    pool.finish()
    assert next(calls) >= 199
    assert pool.failures == {}


@pytest.mark.parametrize("error", [RuntimeError("bug"), Denied("AdminListDevices", "AccessDenied")])
def test_fatal_error_ends_the_work_and_is_raised(error: Exception) -> None:
    def read(task: ReadTask, on_send: Callable[[], None]) -> None:
        on_send()
        if task.username == "5":
            raise error
        pause(0.001)

    give_ups = GiveUps()
    pool = worker_pool(read, give_ups=give_ups)
    assert submit(pool, 10_000) < 10_000
    with pytest.raises(type(error)) as caught:
        pool.finish()
    assert caught.value is error
    assert give_ups.users == []


def test_cancelled_worker_ends_the_work() -> None:
    def read(task: ReadTask, _on_send: Callable[[], None]) -> None:
        if task.username == "5":
            raise Cancelled("only this worker was canceled")

    give_ups = GiveUps()
    pool = worker_pool(read, give_ups=give_ups)
    submit(pool, 10)
    with pytest.raises(Cancelled, match="only this worker"):
        pool.finish()
    assert give_ups.users == []


def test_stop_ends_the_workers_and_gives_up_no_user() -> None:
    stop = threading.Event()

    def read(task: ReadTask, on_send: Callable[[], None]) -> None:
        on_send()
        if task.username == "5":
            stop.set()
            raise Cancelled("canceled")

    give_ups = GiveUps()
    pool = worker_pool(read, give_ups=give_ups, cancelled=stop.is_set, name="stopped")
    submit(pool, 2000)
    with pytest.raises(Cancelled):
        pool.finish()
    assert give_ups.users == []
    assert eventually(lambda: not any(thread.name.startswith("stopped-") for thread in threading.enumerate()))


def test_finish_returns_without_users() -> None:
    pool = worker_pool(lambda _task, _on_send: None)
    pool.finish()


def test_repr_of_a_task_has_no_username() -> None:
    assert "mary" not in repr(ReadTask(0.0, 1, "mary", b"identity"))


def test_error_of_a_user_does_not_delay_the_others() -> None:
    def read(task: ReadTask, on_send: Callable[[], None]) -> None:
        on_send()
        failures: dict[str, AwsError] = {"1": InvalidRequest("AdminListDevices", "InvalidParameterException")}
        if task.username in failures:
            raise failures[task.username]

    give_ups = GiveUps()
    pool = worker_pool(read, give_ups=give_ups)
    submit(pool, 100)
    pool.finish()
    assert give_ups.users == [("1", Reason.INVALID_REQUEST)]
