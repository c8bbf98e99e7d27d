from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter.aws.api import Operation, PoolReader
from exporter.collect.pools import PoolManager
from exporter.collect.scheduler import FIRST_RETRY_SECONDS
from exporter.collect.snapshot import PoolView
from exporter.config.settings import Detail, IdentityMode, PoolSettings, TargetSettings, Threshold, UserSelection
from exporter.errors import AwsError, CredentialsError, Denied, ServerError
from exporter.model import PoolState
from exporter.retry import RetryPolicy
from tests.fakes import FakeCognito, FakePool, OffsetClock, RecordingObserver, eventually, reader_of
from tests.unit.collect.listed_pools import device, settings

FIRST, SECOND = "eu-west-1_First", "eu-west-1_Second"
KEY = b"0123456789abcdef"
FAST_RETRIES = RetryPolicy(attempts=2, first_attempts=2, first_delay=0.001)
NO_CREDENTIALS = CredentialsError("client", "NoCredentialsError")


def pool(pool_id: str = FIRST, **changes: object) -> PoolSettings:
    """A pool whose first sweep starts at once."""
    return settings(**{"id": pool_id, "refresh_interval": 0.1, "detail": Detail.USER, **changes})


class World:
    """Pool manager over fake pools, with a clock that a test advances."""

    def __init__(self) -> None:
        self.api = FakeCognito(
            {
                FIRST: FakePool(users={"ann": (device("a"),), "bob": (device("b"), device("c"))}),
                SECOND: FakePool(users={"carl": ()}),
            }
        )
        self.observer = RecordingObserver()
        self.clock = OffsetClock()
        self.unreachable: list[AwsError] = []
        self.ended_in: list[list[PoolState]] = []
        self.pools = PoolManager(
            self._connect, self.observer, self.clock, retry_policy=FAST_RETRIES, after_sweep=self._after_sweep
        )

    def _after_sweep(self) -> None:
        self.ended_in.append([view.state for view in self.pools.views()])

    def _connect(self, pool: PoolSettings, cancelled: Callable[[], bool]) -> PoolReader:
        if self.unreachable:
            raise self.unreachable[-1]
        return reader_of(self.api, pool.id, observer=self.observer, cancelled=cancelled)

    def apply(self, *pools: PoolSettings) -> None:
        self.pools.apply(pools, 1000)

    def view(self, pool_id: str = FIRST) -> PoolView:
        return {view.settings.id: view for view in self.pools.views()}[pool_id]

    def is_idle(self, pool_id: str) -> bool:
        """Return True if the pool was read and its sweep has ended."""
        return self.is_ok(pool_id) and not any(thread.name == f"sweep-{pool_id}" for thread in threading.enumerate())

    def is_ok(self, pool_id: str = FIRST) -> bool:
        return self.view(pool_id).state is PoolState.OK

    def sweep(self, pool_id: str = FIRST) -> float | None:
        return self.pools.sweep_now(pool_id)


@pytest.fixture
def world() -> World:
    """Pools that are swept by `sweep` only."""
    return World()


@pytest.fixture
def running(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Pools that are swept on schedule."""
    monkeypatch.setattr("exporter.collect.scheduler.CLOCK_CHECK_SECONDS", 0.02)
    monkeypatch.setattr("exporter.collect.scheduler.START_JITTER_MAX", 0.01)
    world.pools.start()
    yield world
    world.pools.stop()


class Gate:
    """Blocks DescribeUserPool of one pool until it is opened."""

    def __init__(self, pool_id: str) -> None:
        self._pool_id = pool_id
        self.reached = threading.Event()
        self.opened = threading.Event()

    def __call__(self, operation: Operation, subject: str) -> AwsError | None:
        if operation is Operation.DESCRIBE_USER_POOL and subject == self._pool_id:
            self.reached.set()
            assert self.opened.wait(10)
        return None


def test_new_pools_are_reported_and_swept(running: World) -> None:
    running.apply(pool(FIRST), pool(SECOND))
    assert eventually(lambda: running.is_ok(FIRST) and running.is_ok(SECOND))
    assert running.observer.heard["added", FIRST] == running.observer.heard["added", SECOND] == 1
    data = running.view(FIRST).data
    assert data is not None
    assert (data.users, sum(data.devices.values())) == (2, 3)


def test_unchanged_pool_keeps_its_data_and_schedule(running: World) -> None:
    unchanged = pool(FIRST, refresh_interval=50.0)
    running.apply(unchanged)
    assert eventually(lambda: running.is_ok(FIRST))
    before = running.view(FIRST)
    due = running.pools.next_sweeps()[FIRST]
    running.apply(replace(unchanged), pool(SECOND))
    assert running.view(FIRST).data is before.data
    assert running.pools.next_sweeps()[FIRST] == pytest.approx(due, abs=0.1)
    assert running.observer.heard["added", FIRST] == 1
    assert running.observer.heard["removed", FIRST] == 0
    assert eventually(lambda: running.is_ok(SECOND))
    assert [view.settings.id for view in running.pools.views()] == [FIRST, SECOND]


def test_removed_pool_is_no_longer_shown_or_swept(running: World) -> None:
    running.apply(pool(FIRST), pool(SECOND))
    assert eventually(lambda: running.is_ok(FIRST))
    running.apply(pool(SECOND))
    assert [view.settings.id for view in running.pools.views()] == [SECOND]
    assert running.observer.heard["removed", FIRST] == 1
    sweeps = running.observer.heard["finished", FIRST, "None"]
    assert not eventually(lambda: running.observer.heard["finished", FIRST, "None"] > sweeps + 1, within=0.3)


@pytest.mark.parametrize(
    "changes",
    [
        {"users": UserSelection(usernames=("ann",))},
        {"skip_federated_users": False},
        {"identity": IdentityMode.HMAC},
        {"device_attributes": ("device_name",)},
    ],
    ids="".join,
)
def test_change_that_invalidates_the_data_restarts_the_pool(running: World, changes: dict[str, Any]) -> None:
    running.apply(pool(FIRST))
    assert eventually(lambda: running.is_ok(FIRST))
    running.api.fault = gate = Gate(FIRST)
    running.apply(pool(FIRST, **changes))
    assert (running.view().state, running.view().data) == (PoolState.UNREAD, None)
    assert running.observer.heard["removed", FIRST] == 0, "its counters continue"
    gate.opened.set()
    assert eventually(lambda: running.is_ok(FIRST))
    assert running.observer.heard["overran", FIRST] == 0


SHOWN_ONLY: list[dict[str, Any]] = [
    {"refresh_interval": 70.0},
    {"max_staleness": 5.0},
    {"stale_after": (Threshold(60, "1m"),)},
    {"device_age_series": False},
]


@pytest.mark.parametrize("changes", SHOWN_ONLY, ids="".join)
def test_change_of_display_keeps_data_and_running_sweep(running: World, changes: dict[str, Any]) -> None:
    running.apply(pool(FIRST, refresh_interval=50.0))
    assert eventually(lambda: running.is_idle(FIRST))
    running.api.fault = gate = Gate(FIRST)
    running.clock.advance(50)
    assert gate.reached.wait(10)
    running.apply(pool(FIRST, **{"refresh_interval": 50.0, **changes}))
    view = running.view()
    assert (view.state, view.data is not None, view.progress is not None) == (PoolState.OK, True, True)
    assert {name: getattr(view.settings, name) for name in changes} == changes
    gate.opened.set()
    assert eventually(lambda: running.observer.heard["finished", FIRST, "None"] == 2)
    assert running.observer.heard["overran", FIRST] == 0
    assert running.api.calls[Operation.DESCRIBE_USER_POOL] == 2, "the sweep continued"


def test_new_interval_counts_from_the_last_start(running: World) -> None:
    running.apply(pool(FIRST, refresh_interval=1000.0))
    assert eventually(lambda: running.is_idle(FIRST))
    running.apply(pool(FIRST, refresh_interval=50.0))
    running.clock.advance(51)
    assert eventually(lambda: running.observer.heard["finished", FIRST, "None"] == 2)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"detail": Detail.DEVICE}, {"detail": Detail.USER}),
        ({"detail": Detail.USER}, {"detail": Detail.DEVICE}),
        ({"detail": Detail.DEVICE}, {"detail": Detail.POOL}),
        ({"detail": Detail.DEVICE, "device_attributes": ("a", "b")}, {"detail": Detail.DEVICE}),
        ({}, {"target": TargetSettings("eu-west-1", role_arn="arn:aws:iam::123456789012:role/reader")}),
    ],
    ids=["user", "device", "pool", "fewer attributes", "role"],
)
def test_change_of_sweeps_hands_the_valid_data_over(
    running: World, before: dict[str, Any], after: dict[str, Any]
) -> None:
    attributes = (("a", "1"), ("b", "2"))
    running.api.pools[FIRST].users["ann"] = (replace(device("a"), attributes=attributes),)
    running.apply(pool(FIRST, **{"refresh_interval": 50.0, **before}))
    assert eventually(lambda: running.is_ok(FIRST))
    old = running.view()
    running.api.fault = gate = Gate(FIRST)
    running.apply(pool(FIRST, **{"refresh_interval": 50.0, **after}))
    new = running.view()
    assert old.data is not None
    assert new.data is not None
    assert new.state is PoolState.OK
    assert (new.data.users, new.data.devices, new.data.oldest_ms) == (2, old.data.devices, old.data.oldest_ms)
    assert (new.last_success, new.oldest_observation) == (old.last_success, old.oldest_observation)
    assert bool(new.data.rows) is (new.settings.detail is not Detail.POOL)
    assert all(attribute[0] in new.settings.device_attributes for attribute in attributes_of(new))
    at_once = "target" in after
    assert gate.reached.wait(10 if at_once else 0.2) is at_once, "a new target is tried at once"
    gate.opened.set()


def attributes_of(view: PoolView) -> list[tuple[str, str]]:
    rows = view.data.rows if view.data else ()
    return [attribute for row in rows for one in row.devices for attribute in one.attributes]


def test_change_during_a_sweep_resumes_the_sweep(running: World) -> None:
    running.api.pools[FIRST].users = {f"user-{i}": () for i in range(40)}
    held = threading.Event()

    def hold(operation: Operation, subject: str) -> AwsError | None:
        if (operation, subject) == (Operation.ADMIN_LIST_DEVICES, "user-30"):
            assert held.wait(10)
        return None

    running.api.fault = hold
    running.apply(pool(FIRST, refresh_interval=50.0))
    assert eventually(lambda: running.api.calls[Operation.ADMIN_LIST_DEVICES] >= 31)
    assert eventually(lambda: (progress := running.view().progress) is not None and progress.users_done >= 30)
    running.api.fault = None
    running.apply(pool(FIRST, refresh_interval=50.0, detail=Detail.DEVICE))
    held.set()
    assert eventually(lambda: running.is_ok(FIRST))
    data = running.view().data
    assert data is not None
    assert data.users == 40
    assert running.api.calls[Operation.ADMIN_LIST_DEVICES] < 60


@pytest.mark.parametrize("limit", [1, 5000])
def test_new_series_limit_is_applied_at_once(running: World, limit: int) -> None:
    running.apply(pool(FIRST, refresh_interval=50.0))
    assert eventually(lambda: running.is_ok(FIRST))
    running.pools.apply((pool(FIRST, refresh_interval=50.0),), limit)
    data = running.view().data
    assert data is not None
    assert len(data.rows) == (1 if limit == 1 else 2)


def test_changed_identity_key_restarts_the_pool(world: World, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.touch(0o600)
    path.write_bytes(KEY)
    keyed = pool(FIRST, identity=IdentityMode.HMAC, identity_key_file=path)
    world.apply(keyed)
    world.sweep()
    world.apply(keyed)
    assert world.is_ok()
    path.write_bytes(KEY[::-1])
    world.apply(keyed)
    assert (world.view().state, world.view().data) == (PoolState.UNREAD, None)


def test_random_identity_key_is_kept_over_reloads(world: World) -> None:
    world.apply(pool(FIRST, identity=IdentityMode.HMAC, detail=Detail.POOL))
    world.sweep()
    world.apply(pool(FIRST, identity=IdentityMode.HMAC, detail=Detail.POOL))
    assert world.is_ok()
    world.apply(pool(FIRST, identity=IdentityMode.HMAC, detail=Detail.POOL, target=TargetSettings("eu-west-1", "role")))
    assert world.is_ok()


def test_reduced_data_is_restored_after_a_restart(world: World, tmp_path: Path) -> None:
    def pools() -> PoolManager:
        return PoolManager(
            world._connect, world.observer, world.clock, state_path=tmp_path / "state.db", retry_policy=FAST_RETRIES
        )

    def users(one: PoolManager) -> int | None:
        (view,) = one.views()
        return None if view.data is None else view.data.users

    first = pools()
    first.apply((pool(FIRST, detail=Detail.DEVICE),), 1000)
    first.sweep_now(FIRST)
    first.apply((pool(FIRST, detail=Detail.POOL),), 1000)
    first.start()
    first.stop()
    second = pools()
    second.apply((pool(FIRST, detail=Detail.POOL),), 1000)
    assert users(second) == 2
    second.start()
    second.stop()


def test_results_after_the_removal_are_dropped(world: World) -> None:
    world.apply(pool(FIRST))
    old = world.pools._pools[FIRST]
    old.store.sweep_started()
    world.apply()
    old.store.put(b"ann", (device("a"),))
    assert not len(old.store._users)
    assert world.observer.heard["removed", FIRST] == 1


def test_ready_stays_true_when_a_pool_joins(world: World) -> None:
    world.apply(pool(FIRST))
    assert not world.pools.is_ready()
    world.sweep()
    world.apply(pool(FIRST), pool(SECOND))
    assert world.pools.is_ready()


def test_sweep_of_a_removed_pool_ends_without_a_report(running: World) -> None:
    running.api.fault = gate = Gate(FIRST)
    running.apply(pool(FIRST))
    assert gate.reached.wait(10)
    running.apply()
    gate.opened.set()
    assert eventually(lambda: not any(thread.name == f"sweep-{FIRST}" for thread in threading.enumerate()))
    assert not [what for what in running.observer.heard if what[0] == "finished"]


def test_reopen_state_after_removal_writes_all_pools(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.collect.persistence.writer.FLUSH_SECONDS", 0.01)
    path, wanted = tmp_path / "state.db", (pool(FIRST, refresh_interval=3600.0),)

    def manager() -> PoolManager:
        return PoolManager(world._connect, world.observer, world.clock, state_path=path, retry_policy=FAST_RETRIES)

    first = manager()
    first.start()
    first.apply(wanted, 1000)
    assert eventually(lambda: first.views()[0].state is PoolState.OK)
    path.unlink()
    with capture_logs() as logs:
        assert eventually(lambda: any("removed" in entry["event"] for entry in logs))
    first.reopen_state()
    first.stop()
    second = manager()
    second.apply(wanted, 1000)
    data = second.views()[0].data
    second.start()
    second.stop()
    assert data is not None
    assert data.users == 2


def test_unreadable_identity_key_changes_nothing(running: World, tmp_path: Path) -> None:
    running.apply(pool(FIRST))
    assert eventually(lambda: running.is_ok(FIRST))
    keyed = pool(FIRST, identity=IdentityMode.HMAC, identity_key_file=tmp_path / "missing")
    with pytest.raises(FileNotFoundError):
        running.apply(keyed, pool(SECOND))
    assert [view.settings.id for view in running.pools.views()] == [FIRST]
    assert running.is_ok(FIRST)
    assert running.observer.heard["added", SECOND] == 0


def test_ready_once_every_pool_was_contacted(running: World) -> None:
    assert not running.pools.is_ready(), "no settings were applied yet"
    running.api.fault = gate = Gate(SECOND)
    running.apply(pool(FIRST), pool(SECOND))
    assert eventually(lambda: running.is_ok(FIRST) and gate.reached.is_set())
    assert not running.pools.is_ready()
    gate.opened.set()
    assert eventually(running.pools.is_ready)


@pytest.mark.parametrize(
    "error", [Denied("DescribeUserPool", "AccessDeniedException"), ServerError("DescribeUserPool", "HTTP 500")]
)
def test_failed_pool_counts_as_contacted(world: World, error: AwsError) -> None:
    world.apply(pool(FIRST))
    world.api.fault = lambda _operation, _subject: error
    assert not world.pools.is_ready()
    world.sweep()
    assert world.pools.is_ready()


def test_unreachable_account_fails_the_sweep_with_a_retry(world: World) -> None:
    world.apply(pool(FIRST))
    world.unreachable = [NO_CREDENTIALS]
    with capture_logs() as logs:
        assert world.sweep() == FIRST_RETRY_SECONDS
    assert world.view().state is PoolState.FAILING
    assert world.observer.heard["finished", FIRST, "credentials"] == 1
    assert [entry["event"] for entry in logs if entry["log_level"] != "debug"] == ["cannot start sweep"]
    assert world.pools.is_ready()


def test_retry_delay_doubles_until_a_success(world: World) -> None:
    world.apply(pool(FIRST))
    world.unreachable = [NO_CREDENTIALS]
    assert [world.sweep() for _ in range(4)] == [30, 60, 120, 240]
    world.unreachable = []
    assert world.sweep() is None
    world.api.fault = lambda _operation, _subject: Denied("DescribeUserPool", "AccessDeniedException")
    assert [world.sweep() for _ in range(2)] == [30, 60]


def test_after_sweep_is_called_after_success_and_failure(world: World) -> None:
    world.apply(pool(FIRST))
    world.sweep()
    world.unreachable = [NO_CREDENTIALS]
    world.sweep()
    assert world.ended_in == [[PoolState.OK], [PoolState.FAILING]]
