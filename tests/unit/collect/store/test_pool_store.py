from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from exporter.collect.persistence.writer import PoolHeader, PoolWriter
from exporter.collect.snapshot import SweepFailure
from exporter.collect.store.pool_store import PUBLISH_SECONDS, PUBLISH_SHARE, PoolStore
from exporter.config.settings import Detail, UserSelection
from exporter.errors import Reason
from exporter.identity import HmacIdentity, RawIdentity
from exporter.model import Mfa, PoolDescription, PoolState, Tracking
from exporter.shard import Shard
from tests.fakes import ACCOUNT, ManualClock
from tests.unit.collect.listed_pools import POOL_ID, device, settings


def description(tracking: Tracking = Tracking.ALWAYS, estimated: int | None = 3) -> PoolDescription:
    return PoolDescription(
        POOL_ID, "shop", ACCOUNT, "eu-west-1", tracking, Mfa.ON, mfa_bypass=True, estimated_users=estimated
    )


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def store(clock: ManualClock) -> PoolStore:
    return PoolStore(settings(detail=Detail.DEVICE), RawIdentity(), clock)


def sweep(store: PoolStore, **users: int) -> None:
    """Run a sweep that finds users with the given numbers of devices."""
    store.sweep_started()
    store.described(description())
    for name, size in users.items():
        store.put(name.encode(), tuple(device(f"{name}-{i}") for i in range(size)))
    store.sweep_completed(every_user_read=True)


def shown(store: PoolStore) -> dict[str, int] | None:
    data = store.view().data
    return None if data is None else {row.label: len(row.devices) for row in data.rows}


def test_new_store_has_no_data(store: PoolStore) -> None:
    view = store.view()
    assert (view.state, view.up, view.data, view.progress, view.last_success) == (
        PoolState.UNREAD, False, None, None, None,
    )  # fmt: skip


def test_described_pool_is_up_before_its_first_sweep_completes(store: PoolStore) -> None:
    store.sweep_started()
    store.described(description())
    store.put(b"ann", (device(),))
    view = store.view()
    assert (view.state, view.up, view.data) == (PoolState.UNREAD, True, None)


def test_completed_sweep_is_published(store: PoolStore, clock: ManualClock) -> None:
    sweep(store, ann=1, bob=2)
    view = store.view()
    assert (view.state, view.up, view.last_success) == (PoolState.OK, True, clock.wall())
    assert view.data is not None
    assert view.data.users == 2
    assert shown(store) == {"ann": 1, "bob": 2}


def test_later_sweep_replaces_users_one_by_one(store: PoolStore, clock: ManualClock) -> None:
    sweep(store, ann=1, bob=2)
    clock.advance(60)
    store.sweep_started()
    store.put(b"ann", (device("x"), device("y"), device("z")))
    clock.advance(PUBLISH_SECONDS)
    store.put(b"carl", ())
    assert shown(store) == {"ann": 3, "bob": 2, "carl": 0}


def test_completed_sweep_removes_absent_users(store: PoolStore) -> None:
    sweep(store, ann=1, bob=2)
    sweep(store, bob=2)
    assert shown(store) == {"bob": 2}


def test_unreadable_user_keeps_values_and_observation(store: PoolStore, clock: ManualClock) -> None:
    sweep(store, ann=1, bob=2)
    first = clock.wall()
    clock.advance(60)
    store.sweep_started()
    store.mark_unreadable(b"ann")
    store.put(b"bob", ())
    store.sweep_completed(every_user_read=False)
    assert shown(store) == {"ann": 1, "bob": 0}
    assert store.view().oldest_observation == first
    assert store.view().last_success == first


def test_oldest_observation_advances_as_users_are_read(store: PoolStore, clock: ManualClock) -> None:
    sweep(store, ann=1, bob=2)
    clock.advance(60)
    sweep(store, ann=1, bob=2)
    assert store.view().oldest_observation == clock.wall()


def test_failed_sweep_keeps_the_last_values(store: PoolStore) -> None:
    sweep(store, ann=1)
    store.sweep_started()
    store.sweep_failed(Reason.TIMEOUT)
    view = store.view()
    assert (view.state, view.up) == (PoolState.FAILING, False)
    assert shown(store) == {"ann": 1}


def test_values_are_withdrawn_after_max_staleness(store: PoolStore, clock: ManualClock) -> None:
    sweep(store, ann=1)
    clock.advance(50_000)
    store.sweep_failed(Reason.TIMEOUT)
    clock.advance(86_399)
    store.sweep_failed(Reason.TIMEOUT)
    assert shown(store) == {"ann": 1}
    clock.advance(1)
    assert shown(store) is None
    assert store.view().oldest_observation is None
    assert store.view().state is PoolState.FAILING


def test_withdrawn_values_return_with_the_next_sweep(store: PoolStore, clock: ManualClock) -> None:
    sweep(store, ann=1)
    store.sweep_failed(Reason.TIMEOUT)
    clock.advance(90_000)
    assert shown(store) is None
    sweep(store, ann=2)
    assert shown(store) == {"ann": 2}
    assert store.view().state is PoolState.OK


def test_failing_pool_stays_failing_until_a_sweep_completes(store: PoolStore, clock: ManualClock) -> None:
    sweep(store, ann=1)
    store.sweep_failed(Reason.TIMEOUT)
    store.sweep_started()
    store.described(description())
    clock.advance(90_000)
    store.put(b"ann", (device(),))
    assert (store.view().state, store.view().up) == (PoolState.FAILING, False)
    assert shown(store) == {"ann": 1}, "it answers: its values are not withdrawn"
    store.sweep_completed(every_user_read=True)
    assert (store.view().state, store.view().up) == (PoolState.OK, True)


def test_denied_sweep_sets_state_denied(store: PoolStore) -> None:
    store.sweep_started()
    store.sweep_failed(Reason.DENIED)
    assert (store.view().state, store.view().up) == (PoolState.DENIED, False)


def test_missing_pool_deletes_its_data_at_once(store: PoolStore) -> None:
    sweep(store, ann=1)
    store.sweep_started()
    store.pool_missing()
    assert (store.view().state, store.view().up, store.view().data) == (PoolState.MISSING, False, None)
    store.sweep_started()
    store.described(description())
    assert (store.view().state, store.view().up, store.view().data) == (PoolState.UNREAD, True, None)


def test_tracking_off_deletes_data_and_on_starts_empty(store: PoolStore) -> None:
    sweep(store, ann=1)
    store.sweep_started()
    store.described(description(Tracking.OFF))
    store.tracking_is_off()
    assert (store.view().state, store.view().up, store.view().data) == (PoolState.TRACKING_OFF, True, None)
    store.sweep_started()
    store.described(description())
    assert (store.view().state, store.view().data) == (PoolState.UNREAD, None)
    sweep(store, bob=1)
    assert shown(store) == {"bob": 1}


def test_removed_user_leaves_with_the_next_publication(store: PoolStore, clock: ManualClock) -> None:
    sweep(store, ann=1, bob=2)
    clock.advance(60)
    store.sweep_started()
    store.remove(b"ann")
    store.put(b"bob", ())
    assert shown(store) == {"bob": 0}


def test_progress_has_remaining_time(store: PoolStore, clock: ManualClock) -> None:
    store.sweep_started()
    store.described(description(estimated=None))
    progress = store.view().progress
    assert progress is not None
    assert (progress.users_done, progress.users_expected, progress.remaining_seconds) == (0, None, None)
    store.enumerated(4)
    clock.advance(10)
    store.put(b"ann", ())
    progress = store.view().progress
    assert progress is not None
    assert (progress.users_done, progress.users_expected, progress.remaining_seconds) == (1, 4, 30.0)
    store.sweep_completed(every_user_read=True)
    assert store.view().progress is None
    assert store.view().last_sweep_seconds == 10


def test_rows_are_in_hash_order() -> None:
    identity = HmacIdentity(b"0123456789abcdef")
    store = PoolStore(settings(detail=Detail.USER), identity, ManualClock())
    store.sweep_started()
    for name in ("ann", "bob", "carl", "dora"):
        store.put(identity.of(POOL_ID, name), (device(),))
    store.remove(identity.of(POOL_ID, "carl"))
    store.sweep_completed(every_user_read=True)
    data = store.view().data
    assert data is not None
    assert [row.label for row in data.rows] == sorted(identity.of(POOL_ID, n).hex() for n in ("ann", "bob", "dora"))


def test_detail_pool_stores_no_keys_or_attributes() -> None:
    writer = RecordingWriter()
    store = PoolStore(settings(detail=Detail.POOL), RawIdentity(), ManualClock(), writer)
    store.sweep_started()
    store.put(b"ann", (device("secret-key", attributes=(("device_name", "Firefox"),)),))
    store.sweep_completed(every_user_read=True)
    assert b"secret-key" not in b"".join(writer.records.values())
    data = store.view().data
    assert data is not None
    assert (data.rows, data.users, sum(data.devices.values())) == ((), 1, 1)


def test_abandoned_sweep_keeps_the_state(store: PoolStore) -> None:
    sweep(store, ann=1)
    store.sweep_started()
    store.sweep_abandoned()
    assert (store.view().state, store.view().progress) == (PoolState.OK, None)


def test_last_failure_is_kept_after_a_success(store: PoolStore, clock: ManualClock) -> None:
    assert store.view().last_failure is None
    store.sweep_started()
    store.sweep_failed(Reason.TIMEOUT)
    failed = SweepFailure(Reason.TIMEOUT, clock.wall())
    assert store.view().last_failure == failed
    clock.advance(60)
    sweep(store, ann=1)
    assert store.view().last_failure == failed
    store.sweep_started()
    store.pool_missing()
    assert store.view().last_failure == SweepFailure(Reason.NOT_FOUND, clock.wall())


def test_users_not_read_is_of_the_last_finished_sweep(store: PoolStore) -> None:
    sweep(store, ann=1, bob=1)
    store.sweep_started()
    store.put(b"ann", (device(),))
    store.mark_unreadable(b"bob")
    assert store.view().users_not_read == 0
    store.sweep_completed(every_user_read=False)
    assert store.view().users_not_read == 1
    sweep(store, ann=1, bob=1)
    assert store.view().users_not_read == 0


class RecordingWriter(PoolWriter):
    """Records what is written to a state file."""

    def __init__(self) -> None:
        self.headers: list[PoolHeader] = []
        self.cleared: list[PoolHeader] = []
        self.records: dict[bytes, bytes] = {}

    def header(self, header: PoolHeader) -> None:
        self.headers.append(header)

    def put(self, identity: bytes, record: bytes) -> None:
        self.records[identity] = record

    def drop(self, identity: bytes) -> None:
        self.records.pop(identity, None)

    def clear(self, header: PoolHeader) -> None:
        self.cleared.append(header)
        self.records.clear()


@pytest.fixture
def writer() -> RecordingWriter:
    return RecordingWriter()


@pytest.fixture
def kept(clock: ManualClock, writer: RecordingWriter) -> PoolStore:
    """Store with a writer."""
    return PoolStore(settings(detail=Detail.DEVICE), RawIdentity(), clock, writer)


def test_users_not_read_counts_every_unreadable_user(store: PoolStore) -> None:
    sweep(store, ann=1, bob=1)
    store.sweep_started()
    store.mark_unreadable(b"ann")
    store.mark_unreadable(b"bob")
    store.sweep_completed(every_user_read=False)
    assert store.view().users_not_read == 2


def test_progress_counts_read_unreadable_and_removed_users(store: PoolStore) -> None:
    sweep(store, ann=1, bob=1, carl=1)
    store.sweep_started()
    for number, done in enumerate((store.remove, store.remove, store.mark_unreadable), start=1):
        done(f"user {number}".encode())
        progress = store.view().progress
        assert progress is not None
        assert progress.users_done == number
    store.put(b"dora", ())
    progress = store.view().progress
    assert progress is not None
    assert progress.users_done == 4


def test_tracking_off_counts_as_success(store: PoolStore, clock: ManualClock) -> None:
    store.sweep_started()
    store.described(description(Tracking.OFF))
    store.tracking_is_off()
    assert store.view().last_success == clock.wall()


def test_missing_pool_clears_observation_and_writer(
    kept: PoolStore, writer: RecordingWriter, clock: ManualClock
) -> None:
    sweep(kept, ann=1)
    assert set(writer.records) == {b"ann"}
    clock.advance(60)
    kept.sweep_started()
    kept.sweep_failed(Reason.TIMEOUT)
    kept.sweep_started()
    kept.pool_missing()
    assert kept.view().oldest_observation is None
    assert writer.records == {}
    (cleared,) = writer.cleared
    last = writer.headers[-1]
    assert (cleared.complete_once, last.complete_once) == (False, False)
    assert (cleared.failing_since, last.failing_since) == (None, None)
    assert (last.state, last.sweeping) == (PoolState.MISSING, False)


def test_sweep_resumes_if_last_read_is_within_the_interval(clock: ManualClock) -> None:
    interval = 3600.0
    for since, goes_on in ((interval - 1, True), (interval, True), (interval + 1, False)):
        store = PoolStore(settings(refresh_interval=interval), RawIdentity(), clock)
        store.sweep_started()
        clock.advance(interval * 0.9)
        store.put(b"ann", ())
        store.sweep_failed(Reason.TIMEOUT)
        clock.advance(since)
        store.sweep_started()
        assert store.mark_if_read(b"ann") is goes_on


def test_sweep_without_reads_resumes_within_the_interval(clock: ManualClock) -> None:
    writer = RecordingWriter()
    store = PoolStore(settings(refresh_interval=3600.0), RawIdentity(), clock, writer)
    for pause, number in ((0.0, 1), (3600.0, 1), (3601.0, 3)):
        clock.advance(pause)
        store.sweep_started()
        assert writer.headers[-1].first_sweep == number
        store.sweep_failed(Reason.TIMEOUT)


def test_unreadable_unknown_user_is_not_known(store: PoolStore) -> None:
    store.sweep_started()
    store.mark_unreadable(b"ann")
    assert not store.knows_users()
    store.put(b"ann", ())
    assert store.knows_users()


def test_adopt_publishes_and_keeps_the_sweep_in_progress(clock: ManualClock) -> None:
    limits = [1]
    store = PoolStore(settings(detail=Detail.USER), RawIdentity(), clock, series_limit=lambda: limits[0])
    other = settings(detail=Detail.USER, refresh_interval=60.0)
    store.adopt(other)
    assert (store.view().settings, store.view().data) == (other, None), "nothing is published before a sweep has ended"
    sweep(store, ann=1, bob=1)
    store.sweep_started()
    store.put(b"ann", ())
    limits[0] = 2
    store.adopt(settings(detail=Detail.USER))
    assert store.settings == store.view().settings == settings(detail=Detail.USER)
    assert set(shown(store) or ()) == {"ann", "bob"}
    progress = store.view().progress
    assert progress is not None
    assert progress.users_done == 1


def test_mark_unreadable_writes_known_users_only(kept: PoolStore, writer: RecordingWriter) -> None:
    sweep(kept, ann=1)
    before = writer.records[b"ann"]
    kept.sweep_started()
    kept.mark_unreadable(b"ann")
    kept.mark_unreadable(b"bob")
    assert set(writer.records) == {b"ann"}
    assert writer.records[b"ann"] != before
    assert writer.records == dict(kept.hand_over().records)


def test_publication_is_limited_to_once_a_second(store: PoolStore, clock: ManualClock) -> None:
    sweep(store, ann=1, bob=1)
    clock.advance(60)
    store.sweep_started()
    store.put(b"ann", ())
    store.put(b"bob", ())
    assert shown(store) == {"ann": 0, "bob": 1}
    clock.advance(PUBLISH_SECONDS)
    store.put(b"carl", ())
    assert shown(store) == {"ann": 0, "bob": 0, "carl": 0}


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        (UserSelection(), 3),
        (UserSelection(usernames=("ann",)), None),
        (UserSelection(groups=("staff",)), None),
        (UserSelection(filter="x"), None),
    ],
)
def test_estimated_users_are_expected_only_for_everyone(
    clock: ManualClock, selection: UserSelection, expected: int | None
) -> None:
    store = PoolStore(settings(users=selection), RawIdentity(), clock)
    store.sweep_started()
    store.described(description(estimated=3))
    progress = store.view().progress
    assert progress is not None
    assert progress.users_expected == expected


def test_sweep_completed_after_hand_over_removes_nobody(store: PoolStore) -> None:
    sweep(store, ann=1, bob=1)
    store.sweep_started()
    store.put(b"ann", (device(),))
    store.hand_over()
    store.put(b"bob", (device(),))  # ignored: the store is retired, and bob stays
    assert store.sweep_completed(every_user_read=True) == 0
    assert shown(store) == {"ann": 1, "bob": 1}


def test_store_after_hand_over_ignores_changes(kept: PoolStore, writer: RecordingWriter) -> None:
    sweep(kept, ann=1, bob=1)
    kept.sweep_started()
    kept.put(b"ann", ())
    kept.hand_over()
    headers, records = list(writer.headers), dict(writer.records)
    assert kept.view().progress is None
    kept.put(b"carl", ())
    kept.described(description())
    assert kept.sweep_completed(every_user_read=True) == 0
    assert (writer.headers, writer.records) == (headers, records)


def test_take_over_writes_all_data(store: PoolStore, kept: PoolStore, writer: RecordingWriter) -> None:
    sweep(store, ann=1, bob=2)
    handed = store.hand_over()
    kept.take_over(handed)
    assert writer.cleared == [handed.header]
    assert writer.records == dict(handed.records)
    assert set(writer.records) == {b"ann", b"bob"}
    assert shown(kept) == {"ann": 1, "bob": 2}


def test_hand_over_keeps_the_last_sweep_duration(store: PoolStore, kept: PoolStore, clock: ManualClock) -> None:
    store.sweep_started()
    clock.advance(10)
    store.sweep_completed(every_user_read=True)
    kept.take_over(store.hand_over())
    assert kept.view().last_sweep_seconds == 10


def test_hand_over_before_the_first_sweep_is_empty(store: PoolStore) -> None:
    handed = store.hand_over()
    assert handed.header == PoolHeader(
        state=PoolState.UNREAD,
        description=None,
        sweep=0,
        first_sweep=0,
        sweep_started=None,
        sweeping=False,
        complete_once=False,
        last_sweep_seconds=None,
        last_success=None,
        failing_since=None,
    )
    assert handed.records == []


def test_hand_over_of_an_interrupted_sweep_has_no_delay(store: PoolStore, kept: PoolStore) -> None:
    sweep(store, ann=1)
    store.sweep_started()
    kept.take_over(store.hand_over())
    assert kept.first_delay() == 0


@pytest.mark.parametrize("before", [0, 100])
def test_hand_over_keeps_the_time_of_the_first_failure(
    store: PoolStore, kept: PoolStore, clock: ManualClock, before: float
) -> None:
    sweep(store, ann=1)
    store.sweep_failed(Reason.TIMEOUT)
    clock.advance(before)
    kept.take_over(store.hand_over())
    clock.advance(86_399.5 - before)
    assert shown(kept) == {"ann": 1}
    clock.advance(0.5)
    assert shown(kept) is None


def test_costly_publication_is_less_frequent(clock: ManualClock) -> None:
    cost = 1.0

    def counted_slowly() -> int:
        clock.advance(cost)
        return 100

    store = PoolStore(settings(detail=Detail.USER), RawIdentity(), clock, series_limit=counted_slowly)
    sweep(store, ann=1)
    store.sweep_started()
    clock.advance(cost / PUBLISH_SHARE - cost - 0.5)
    store.put(b"ann", ())
    assert shown(store) == {"ann": 1}
    clock.advance(0.5)
    store.put(b"bob", ())
    assert shown(store) == {"ann": 0, "bob": 0}


def test_shard_expects_its_share_of_the_estimated_users(clock: ManualClock) -> None:
    store = PoolStore(settings(), RawIdentity(), clock, shard=Shard(0, 2))
    store.sweep_started()
    store.described(description(estimated=3))
    progress = store.view().progress
    assert progress is not None
    assert repr(progress.users_expected) == "1"


def test_later_sweep_expects_the_known_users(store: PoolStore) -> None:
    sweep(store, ann=1, bob=1)
    store.sweep_started()
    progress = store.view().progress
    assert progress is not None
    assert progress.users_expected == 2


@pytest.mark.parametrize(("users", "remaining"), [(6, 20.0), (2, 0.0), (1, 0.0)])
def test_remaining_time_is_extrapolated_and_never_negative(
    store: PoolStore, clock: ManualClock, users: int, remaining: float
) -> None:
    store.sweep_started()
    store.enumerated(users)
    clock.advance(10)
    store.put(b"ann", ())
    store.put(b"bob", ())
    progress = store.view().progress
    assert progress is not None
    assert progress.remaining_seconds == remaining


class BlockingWriter(RecordingWriter):
    """Writer whose `put` blocks until it is released."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.release = threading.Event(), threading.Event()

    def put(self, identity: bytes, record: bytes) -> None:
        self.entered.set()
        assert self.release.wait(10)
        super().put(identity, record)


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda store: store.sweep_abandoned(), id="sweep_abandoned"),
        pytest.param(lambda store: store.enumerated(5), id="enumerated"),
    ],
)
def test_update_waits_for_a_put_in_progress(clock: ManualClock, call: Callable[[PoolStore], None]) -> None:
    writer = BlockingWriter()
    store = PoolStore(settings(), RawIdentity(), clock, writer)
    store.sweep_started()
    with ThreadPoolExecutor(2) as threads:
        put = threads.submit(store.put, b"ann", ())
        assert writer.entered.wait(10)
        update = threads.submit(call, store)
        with pytest.raises(TimeoutError):
            update.result(0.05)
        writer.release.set()
        put.result(10)
        update.result(10)
    assert set(writer.records) == {b"ann"}


def test_abandoned_sweep_is_handed_over_as_resumable(store: PoolStore) -> None:
    store.sweep_started()
    store.sweep_abandoned()
    assert store.hand_over().header.sweeping


def test_write_all_passes_every_user_to_the_writer(kept: PoolStore, writer: RecordingWriter) -> None:
    sweep(kept, ann=1, bob=2)
    records = dict(writer.records)
    writer.records.clear()
    kept.write_all()
    assert writer.records == records
