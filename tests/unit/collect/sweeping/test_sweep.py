from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Callable

import pytest
from structlog.testing import capture_logs

from exporter.aws.api import Operation, Page
from exporter.clock import SystemClock
from exporter.collect.sweeping import workers
from exporter.collect.sweeping.sweep import Outcome, Sweep
from exporter.config.settings import Detail, UserSelection
from exporter.errors import (
    AwsError,
    Cancelled,
    CredentialsError,
    Denied,
    InvalidRequest,
    Reason,
    ResourceNotFound,
    ServerError,
    Throttled,
    TrackingOff,
    UserNotFound,
)
from exporter.identity import RawIdentity
from exporter.model import Device, ListedUser, PoolState, Tracking
from exporter.shard import Shard
from tests.fakes import FakePool, ManualClock, eventually, reader_of
from tests.unit.collect.listed_pools import POOL_ID, device, settings
from tests.unit.collect.sweeping.harness import FAST_RETRIES, SweepHarness, always, once, people


def test_sweep_reads_every_device_of_every_user() -> None:
    swept = SweepHarness(FakePool(users=people(500)), page_size=2)
    assert swept.sweep() == Outcome(None, complete=True)
    assert swept.shown() == swept.pool.users
    assert swept.store.view().state is PoolState.OK
    assert swept.heard("finished", POOL_ID, "None") == 1


def test_selection_by_username_reads_these_users() -> None:
    chosen = settings(detail=Detail.USER, users=UserSelection(usernames=("user-3", "user-7", "user-3")))
    swept = SweepHarness(FakePool(users=people(10)), chosen)
    swept.sweep()
    assert set(swept.shown() or ()) == {"user-3", "user-7"}
    assert swept.api.calls[Operation.LIST_USERS] == 0


def test_selection_by_group_reads_each_member_once() -> None:
    chosen = settings(detail=Detail.USER, users=UserSelection(groups=("staff", "night")))
    pool = FakePool(users=people(10), groups={"staff": ["user-1", "user-2"], "night": ["user-2", "user-3"]})
    swept = SweepHarness(pool, chosen, page_size=1)
    swept.sweep()
    assert set(swept.shown() or ()) == {"user-1", "user-2", "user-3"}
    assert swept.heard("request", "123456789012", "AdminListDevices", "None", "True") == 1 + 2 + 3


def test_selection_by_filter_reads_matching_users() -> None:
    chosen = settings(detail=Detail.USER, users=UserSelection(filter='username ^= "user-1"'))
    swept = SweepHarness(FakePool(users=people(20)), chosen)
    swept.sweep()
    assert set(swept.shown() or ()) == {"user-1", *(f"user-1{i}" for i in range(10))}


@pytest.mark.parametrize(("skip", "asked"), [(True, 2), (False, 3)])
def test_federated_users_are_skipped_if_configured(skip: bool, asked: int) -> None:
    chosen = settings(detail=Detail.USER, skip_federated_users=skip)
    swept = SweepHarness(FakePool(users=people(3), federated={"user-1"}), chosen)
    swept.sweep()
    assert swept.api.calls[Operation.ADMIN_LIST_DEVICES] == asked
    assert swept.heard("skipped", POOL_ID, "federated") == 3 - asked


def test_user_deleted_during_the_sweep_is_no_failure() -> None:
    chosen = settings(detail=Detail.USER, users=UserSelection(usernames=("user-1", "gone")))
    swept = SweepHarness(FakePool(users=people(3)), chosen)
    assert swept.sweep() == Outcome(None, complete=True)
    assert set(swept.shown() or ()) == {"user-1"}
    assert swept.heard("vanished", POOL_ID) == 1


def test_not_found_drops_the_user_if_the_pool_exists() -> None:
    swept = SweepHarness(FakePool(users=people(5)))
    swept.api.fault = always(ResourceNotFound("AdminListDevices", "x"), Operation.ADMIN_LIST_DEVICES, "user-2")
    assert swept.sweep().reason is None
    assert set(swept.shown() or ()) == {"user-0", "user-1", "user-3", "user-4"}
    assert swept.api.calls[Operation.DESCRIBE_USER_POOL] == 2


def test_pool_deleted_during_the_sweep_is_missing() -> None:
    swept = SweepHarness(FakePool(users=people(50)))
    swept.sweep()

    def delete_the_pool(operation: Operation, subject: str) -> AwsError | None:
        if operation is Operation.ADMIN_LIST_DEVICES and subject == "user-20":
            swept.api.pools.clear()
        return None

    swept.api.fault = delete_the_pool
    assert swept.sweep() == Outcome(Reason.NOT_FOUND, complete=False)
    assert swept.store.view().state is PoolState.MISSING
    assert swept.shown() is None


def test_pool_that_does_not_exist_is_missing() -> None:
    swept = SweepHarness(FakePool())
    swept.api.pools.clear()
    assert swept.sweep() == Outcome(Reason.NOT_FOUND, complete=False)
    assert swept.store.view().state is PoolState.MISSING


def test_missing_group_fails_the_sweep() -> None:
    swept = SweepHarness(FakePool(users=people(3)), settings(users=UserSelection(groups=("nobody",))))
    assert swept.sweep() == Outcome(Reason.NOT_FOUND, complete=False)
    assert swept.store.view().state is PoolState.FAILING


def test_pool_without_tracking_is_not_listed() -> None:
    swept = SweepHarness(FakePool(users=people(3), tracking=Tracking.OFF))
    assert swept.sweep() == Outcome(None, complete=True)
    assert swept.store.view().state is PoolState.TRACKING_OFF
    assert swept.api.calls == {Operation.DESCRIBE_USER_POOL: 1}


def test_tracking_disabled_during_the_sweep_is_no_failure() -> None:
    swept = SweepHarness(FakePool(users=people(30)))

    def switch_off(operation: Operation, subject: str) -> AwsError | None:
        if operation is Operation.ADMIN_LIST_DEVICES and subject == "user-9":
            swept.pool.tracking = Tracking.OFF
        return None

    swept.api.fault = switch_off
    assert swept.sweep() == Outcome(None, complete=True)
    assert swept.store.view().state is PoolState.TRACKING_OFF


@pytest.mark.parametrize(
    "operation", [Operation.DESCRIBE_USER_POOL, Operation.LIST_USERS, Operation.ADMIN_LIST_DEVICES]
)
def test_denied_call_ends_the_sweep_and_keeps_the_data(operation: Operation) -> None:
    swept = SweepHarness(FakePool(users=people(5)))
    swept.sweep()
    before = swept.shown()
    swept.api.fault = always(Denied(operation, "AccessDeniedException"), operation)
    assert swept.sweep() == Outcome(Reason.DENIED, complete=False)
    assert swept.store.view().state is PoolState.DENIED
    assert swept.shown() == before


@pytest.mark.parametrize(
    "operation", [Operation.DESCRIBE_USER_POOL, Operation.LIST_USERS, Operation.ADMIN_LIST_DEVICES]
)
@pytest.mark.parametrize("kind", [Throttled, ServerError, CredentialsError])
def test_failed_call_is_retried_in_the_same_sweep(operation: Operation, kind: type[AwsError]) -> None:
    swept = SweepHarness(FakePool(users=people(5)))
    swept.api.fault = once(kind(operation, "x"), operation)
    assert swept.sweep() == Outcome(None, complete=True)
    assert swept.shown() == swept.pool.users


def test_sweep_completes_with_a_third_of_calls_throttled() -> None:
    swept = SweepHarness(FakePool(users=people(300)), page_size=5)
    chance = random.Random(7)
    swept.api.fault = lambda operation, _: Throttled(operation, "x") if chance.random() < 1 / 3 else None
    reader = reader_of(swept.api, POOL_ID, observer=swept.observer)
    reader.account.limiter = lambda _: Unpaced()  # type: ignore[method-assign,assignment,return-value]
    outcome = Sweep(
        swept.store,
        reader,
        RawIdentity(),
        swept.observer,
        SystemClock(),
        cancelled=lambda: False,
        sleep=lambda _: None,
        retry_policy=FAST_RETRIES,
    ).run()
    assert outcome == Outcome(None, complete=True)
    assert swept.shown() == swept.pool.users


class Unpaced:
    """Rate limiter that ignores throttling."""

    def acquire(self, key: str, cancelled: Callable[[], bool]) -> float:
        return 0.0 if key and not cancelled() else 1.0

    def on_throttle(self) -> None:
        pass


def test_unreadable_user_keeps_its_values_and_is_counted() -> None:
    swept = SweepHarness(FakePool(users=people(8)))
    swept.sweep()
    before = dict(swept.pool.users)
    swept.pool.users = dict.fromkeys(before, ())
    swept.api.fault = always(InvalidRequest("AdminListDevices", "x"), Operation.ADMIN_LIST_DEVICES, "user-7")
    assert swept.sweep() == Outcome(Reason.INVALID_REQUEST, complete=True)
    shown = swept.shown() or {}
    assert shown["user-7"] == before["user-7"]
    assert shown["user-6"] == ()
    assert swept.heard("user failed", POOL_ID, "invalid_request") == 1
    assert swept.store.view().state is PoolState.OK


def test_retries_of_a_user_are_limited() -> None:
    swept = SweepHarness(FakePool(users=people(8)))
    swept.api.fault = always(ServerError("AdminListDevices", "x"), Operation.ADMIN_LIST_DEVICES, "user-7")
    assert swept.sweep() == Outcome(Reason.SERVER_ERROR, complete=True)
    assert swept.api.calls[Operation.ADMIN_LIST_DEVICES] == 7 + FAST_RETRIES.attempts


def test_sweep_ends_if_no_call_succeeds() -> None:
    swept = SweepHarness(FakePool(users=people(400)))
    swept.api.fault = always(ServerError("AdminListDevices", "x"), Operation.ADMIN_LIST_DEVICES)
    assert swept.sweep() == Outcome(Reason.SERVER_ERROR, complete=False)
    assert swept.api.calls[Operation.ADMIN_LIST_DEVICES] < 2 * FAST_RETRIES.max_consecutive_failures
    assert swept.store.view().state is PoolState.FAILING


def test_listing_that_repeats_its_token_is_malformed() -> None:
    swept = SweepHarness(FakePool(users=people(3)))
    swept.api.list_users = lambda *_, **__: Page((), "same")  # type: ignore[method-assign]
    assert swept.sweep() == Outcome(Reason.MALFORMED, complete=False)


def test_endless_empty_pages_are_malformed() -> None:
    swept = SweepHarness(FakePool(users=people(3)))
    tokens = itertools.count()
    swept.api.list_users = lambda *_, **__: Page((), str(next(tokens)))  # type: ignore[method-assign]
    assert swept.sweep() == Outcome(Reason.MALFORMED, complete=False)


def test_user_with_endless_devices_does_not_stop_the_others() -> None:
    swept = SweepHarness(FakePool(users=people(6)))
    usual = swept.api.admin_list_devices
    tokens = itertools.count()

    def endless(pool_id: str, username: str, *, token: str | None, attributes: frozenset[str]) -> Page[Device]:
        if username == "user-5":
            return Page((device(),), str(next(tokens)))
        return usual(pool_id, username, token=token, attributes=attributes)

    swept.api.admin_list_devices = endless  # type: ignore[method-assign]
    assert swept.sweep() == Outcome(Reason.MALFORMED, complete=True)
    assert set(swept.shown() or ()) == {f"user-{i}" for i in range(5)}


def test_cancelled_sweep_stops_and_reports_nothing() -> None:
    swept = SweepHarness(FakePool(users=people(2000)))

    def stop_at_some_point(operation: Operation, subject: str) -> AwsError | None:
        if operation is Operation.ADMIN_LIST_DEVICES and subject == "user-50":
            swept.cancelled.set()
        return None

    swept.api.fault = stop_at_some_point
    with pytest.raises(Cancelled):
        swept.sweep()
    assert swept.api.calls[Operation.ADMIN_LIST_DEVICES] < 200
    assert not [what for what in swept.observer.heard if what[0] == "finished"]
    assert swept.store.view().progress is None


def test_unexpected_error_is_raised_by_the_sweep() -> None:
    swept = SweepHarness(FakePool(users=people(20)))

    def broken(*_: object, **__: object) -> Page[Device]:
        raise ZeroDivisionError

    swept.api.admin_list_devices = broken  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        swept.sweep()


def test_workers_end_after_the_sweep() -> None:
    before = threading.active_count()
    swept = SweepHarness(FakePool(users=people(300)))
    swept.sweep()
    assert eventually(lambda: threading.active_count() <= before)


def test_large_pool_is_never_queued_as_a_whole() -> None:
    swept = SweepHarness(FakePool(users=people(5000)))
    waiting: list[int] = []

    class Watching(workers.WorkerPool):
        def submit(self, username: str, identity: bytes) -> bool:
            waiting.append(len(self._queue))
            return super().submit(username, identity)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("exporter.collect.sweeping.sweep.WorkerPool", Watching)
        swept.sweep()
    assert max(waiting) <= workers.MAX_WAITING_TASKS


def test_first_sweep_without_a_readable_user_fails() -> None:
    swept = SweepHarness(FakePool(users=people(3)))
    refused = always(InvalidRequest("AdminListDevices", "x"), Operation.ADMIN_LIST_DEVICES)
    swept.api.fault = refused
    assert swept.sweep() == Outcome(Reason.INVALID_REQUEST, complete=False)
    assert (swept.store.view().state, swept.shown()) == (PoolState.FAILING, None)
    swept.api.fault = None
    swept.sweep()
    swept.api.fault = refused
    assert swept.sweep() == Outcome(Reason.INVALID_REQUEST, complete=True)
    assert (swept.store.view().state, swept.shown()) == (PoolState.OK, swept.pool.users)


def test_log_has_the_result_of_a_sweep() -> None:
    chosen = settings(detail=Detail.USER, users=UserSelection(groups=("staff",)))
    names = ["user-1", "user-2", "user-3", "gone", "federated"]
    swept = SweepHarness(FakePool(users=people(5), groups={"staff": names}, federated={"federated"}), chosen)
    swept.pool.users["federated"] = ()
    refused = InvalidRequest("AdminListDevices", "x")
    throttled = once(Throttled("AdminListDevices", "x"), Operation.ADMIN_LIST_DEVICES, "user-1")
    swept.api.fault = lambda operation, subject: (
        refused if subject == "user-3" and operation is Operation.ADMIN_LIST_DEVICES else throttled(operation, subject)
    )
    with capture_logs() as logs:
        swept.sweep()
    (told,) = (entry for entry in logs if entry["event"] == "sweep finished")
    assert 0 <= told.pop("seconds") < 60
    assert told == {
        "event": "sweep finished",
        "log_level": "warning",
        "user_pool_id": POOL_ID,
        "state": "ok",
        "reason": "invalid_request",
        "complete": True,
        "users": 2,
        "devices": 3,
        "users_read": 2,
        "users_failed": 1,
        "users_vanished": 1,
        "users_skipped": 1,
        "calls": 7,
        "throttled": 1,
    }


def test_log_has_the_error_that_ended_a_sweep() -> None:
    swept = SweepHarness(FakePool(users=people(3)))
    denied = Denied("ListUsers", "AccessDeniedException")
    swept.api.fault = always(denied, Operation.LIST_USERS)
    with capture_logs() as logs:
        swept.sweep()
    (told,) = (entry for entry in logs if entry["event"] == "sweep finished")
    assert (told["log_level"], told["reason"], told["error"]) == ("warning", "denied", str(denied))
    assert (told["state"], told["complete"]) == ("denied", False)
    assert not {"users", "devices"} & told.keys()
    swept.api.fault = None
    with capture_logs() as logs:
        swept.sweep()
    (told,) = (entry for entry in logs if entry["event"] == "sweep finished")
    assert told["log_level"] == "info"
    assert not {"reason", "error"} & told.keys()


def test_known_user_deleted_during_the_sweep_counts_once() -> None:
    swept = SweepHarness(FakePool(users=people(3)))
    swept.sweep()
    swept.api.fault = always(UserNotFound("AdminListDevices", "x"), Operation.ADMIN_LIST_DEVICES, "user-1")
    with capture_logs() as logs:
        swept.sweep()
    assert [entry["users_vanished"] for entry in logs if entry["event"] == "sweep finished"] == [1]
    assert set(swept.shown() or ()) == {"user-0", "user-2"}


def in_turn(*errors: AwsError | None) -> Callable[[], AwsError | None]:
    """Return the next of these at each call; the last one repeats."""
    left = list(errors)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


@pytest.mark.parametrize(
    ("looking_again", "state"),
    [
        (ResourceNotFound("DescribeUserPool", "x"), PoolState.MISSING),
        (Denied("DescribeUserPool", "x"), PoolState.FAILING),
        (None, PoolState.FAILING),
    ],
)
def test_pool_is_missing_only_if_describe_fails_too(looking_again: AwsError | None, state: PoolState) -> None:
    swept = SweepHarness(FakePool(users=people(3)), settings(users=UserSelection(groups=("staff",))))
    describing = in_turn(None, looking_again)
    absent = ResourceNotFound("ListUsersInGroup", "x")
    swept.api.fault = lambda operation, _: describing() if operation is Operation.DESCRIBE_USER_POOL else absent
    assert swept.sweep() == Outcome(Reason.NOT_FOUND, complete=False)
    assert swept.store.view().state is state


def test_tracking_error_fails_if_describe_fails_too() -> None:
    swept = SweepHarness(FakePool(users=people(3)))
    off = TrackingOff("AdminListDevices", "x")
    describing = in_turn(None, Denied("DescribeUserPool", "x"))
    failing = always(off, Operation.ADMIN_LIST_DEVICES)
    swept.api.fault = lambda operation, subject: (
        describing() if operation is Operation.DESCRIBE_USER_POOL else failing(operation, subject)
    )
    assert swept.sweep() == Outcome(off.reason, complete=False)
    assert swept.store.view().state is PoolState.FAILING


def test_other_errors_do_not_describe_the_pool_again() -> None:
    swept = SweepHarness(FakePool(users=people(3)))
    swept.api.fault = always(Denied("ListUsers", "x"), Operation.LIST_USERS)
    swept.sweep()
    assert swept.api.calls[Operation.DESCRIBE_USER_POOL] == 1


@pytest.mark.parametrize("error", [ZeroDivisionError, Cancelled])
def test_unexpected_error_of_the_listing_is_raised(error: type[Exception]) -> None:
    swept = SweepHarness(FakePool(users=people(3)))

    def broken(*_: object, **__: object) -> Page[ListedUser]:
        raise error

    swept.api.list_users = broken  # type: ignore[method-assign]
    with pytest.raises(error):
        swept.sweep()


@pytest.mark.parametrize(
    ("operation", "attempts"),
    [(Operation.DESCRIBE_USER_POOL, FAST_RETRIES.first_attempts), (Operation.LIST_USERS, FAST_RETRIES.attempts)],
)
def test_failing_call_is_retried_with_delays(operation: Operation, attempts: int) -> None:
    swept = SweepHarness(FakePool(users=people(3)))
    swept.api.fault = always(ServerError(operation, "x"), operation)
    assert swept.sweep() == Outcome(Reason.SERVER_ERROR, complete=False)
    assert swept.api.calls[operation] == attempts
    assert len(swept.slept) == attempts - 1
    assert all(pause > 0 for pause in swept.slept)


@pytest.mark.parametrize("known", [False, True])
def test_most_frequent_reason_is_reported(known: bool) -> None:
    swept = SweepHarness(FakePool(users=people(3)))
    if known:
        swept.sweep()
    errors: dict[str, AwsError] = {"user-0": ServerError("AdminListDevices", "x")}
    refused = InvalidRequest("AdminListDevices", "x")
    swept.api.fault = lambda operation, subject: (
        errors.get(subject, refused) if operation is Operation.ADMIN_LIST_DEVICES else None
    )
    assert Reason.SERVER_ERROR > Reason.INVALID_REQUEST, "else the last of the alphabet would do as well"
    assert swept.sweep() == Outcome(Reason.INVALID_REQUEST, complete=known)


def test_store_receives_the_number_of_users() -> None:
    swept = SweepHarness(FakePool(users=people(5), federated={"user-1"}))
    told: list[int] = []
    swept.store.enumerated = told.append  # type: ignore[method-assign,assignment]
    swept.sweep()
    assert told == [4]


def test_users_of_other_shards_are_not_read() -> None:
    ours = Shard(0, 2)
    swept = SweepHarness(FakePool(users=people(20)), shard=ours)
    swept.sweep()
    owned = {name for name in people(20) if ours.owns(name)}
    assert 0 < len(owned) < 20
    assert set(swept.shown() or ()) == owned


def test_log_has_the_duration_in_milliseconds() -> None:
    clock = ManualClock()
    swept = SweepHarness(FakePool(users=people(1)), clock=clock)

    def slow(operation: Operation, _about: str) -> None:
        if operation is Operation.DESCRIBE_USER_POOL:
            clock.advance(1.23456)

    swept.api.fault = slow
    with capture_logs() as logs:
        swept.sweep()
    assert [line["seconds"] for line in logs if line["event"] == "sweep finished"] == [1.235]


def test_complete_sweep_with_an_unread_user_is_no_success() -> None:
    swept = SweepHarness(FakePool(users=people(3)))
    swept.api.fault = always(InvalidRequest("AdminListDevices", "x"), Operation.ADMIN_LIST_DEVICES, "user-1")
    assert swept.sweep() == Outcome(Reason.INVALID_REQUEST, complete=True)
    assert swept.heard("finished", POOL_ID, "None") == 1
    assert swept.store.view().last_success is None
    swept.api.fault = lambda _asked, _about: None
    swept.sweep()
    assert swept.store.view().last_success is not None


def test_failed_sweep_is_reported_with_its_reason() -> None:
    swept = SweepHarness(FakePool(users=people(3)))
    swept.api.fault = always(Denied("ListUsers", "x"), Operation.LIST_USERS)
    assert swept.sweep() == Outcome(Reason.DENIED, complete=False)
    assert swept.heard("finished", POOL_ID, str(Reason.DENIED)) == 1
