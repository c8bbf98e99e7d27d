from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter.collect.persistence import writer as writer_module
from exporter.collect.persistence.recovery import (
    VACUUM_SECONDS,
    Persistence,
    _selection,
)
from exporter.collect.persistence.sqlite import SqliteState
from exporter.collect.persistence.writer import Batch, PoolKey
from exporter.collect.store.pool_store import PoolStore
from exporter.config.settings import Detail, PoolSettings, UserSelection
from exporter.errors import Reason
from exporter.identity import HmacIdentity, Identity
from exporter.model import Mfa, PoolDescription, PoolState, Tracking
from exporter.shard import UNSHARDED, Shard
from tests.fakes import ManualClock, eventually
from tests.unit.collect.listed_pools import POOL_ID, device, settings

DESCRIPTION = PoolDescription(
    POOL_ID, "shop", "123456789012", "eu-west-1", Tracking.ALWAYS, Mfa.ON, mfa_bypass=True, estimated_users=3
)
IDENTITY = HmacIdentity(b"0123456789abcdef")
ANN, BOB, CARL = (IDENTITY.of(POOL_ID, name) for name in ("ann", "bob", "carl"))
HOUR = 3600.0


class FailureCounter:
    def __init__(self) -> None:
        self.failures = 0

    def state_failed(self) -> None:
        self.failures += 1


class Process:
    """One life of the daemon as far as the state goes."""

    def __init__(
        self,
        path: Path,
        clock: ManualClock,
        *,
        pool: PoolSettings | None = None,
        identity: Identity = IDENTITY,
        shard: Shard = UNSHARDED,
    ) -> None:
        self.failures = FailureCounter()
        pool = pool or settings(detail=Detail.DEVICE)
        self.persistence = Persistence(path, self.failures, clock, shard, on_new_file=self.write_all)
        self.store = PoolStore(pool, identity, clock, self.persistence.writer(pool, identity), shard=shard)
        self.restored = self.persistence.restored([(pool, identity)]).get(pool.id)
        if self.restored is not None:
            self.store.restore(self.restored)
        self.persistence.start()

    def write_all(self) -> None:
        self.store.write_all()

    def sweep(self, *identities: bytes) -> None:
        self.begin(*identities)
        self.store.sweep_completed(every_user_read=True)

    def begin(self, *identities: bytes) -> None:
        self.store.sweep_started()
        self.store.described(DESCRIPTION)
        for identity in identities:
            self.store.put(identity, (device(identity.hex()),))

    def end(self) -> None:
        self.store.sweep_abandoned()
        self.persistence.stop()

    def shown(self) -> set[str] | None:
        data = self.store.view().data
        return None if data is None else {row.label for row in data.rows}


def labels(*identities: bytes) -> set[str]:
    return {identity.hex() for identity in identities}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def test_restart_publishes_restored_data(path: Path, clock: ManualClock) -> None:
    first = Process(path, clock)
    first.sweep(ANN, BOB)
    before = first.store.view()
    first.end()
    clock.advance(60)
    second = Process(path, clock)
    after = second.store.view()
    second.end()
    assert (after.state, after.up, after.description) == (PoolState.OK, True, DESCRIPTION)
    assert (after.last_success, after.oldest_observation) == (before.last_success, before.oldest_observation)
    assert before.data is not None
    assert after.data is not None
    assert after.data.rows == before.data.rows
    assert after.data.devices == before.data.devices


def test_restart_keeps_the_time_of_the_next_sweep(path: Path, clock: ManualClock) -> None:
    first = Process(path, clock)
    first.sweep(ANN)
    first.end()
    clock.advance(HOUR / 4)
    second = Process(path, clock)
    assert second.store.first_delay() == pytest.approx(HOUR * 3 / 4)
    second.end()
    clock.advance(HOUR)
    third = Process(path, clock)
    assert third.store.first_delay() == 0
    third.end()


def test_interrupted_first_sweep_is_resumed(path: Path, clock: ManualClock) -> None:
    first = Process(path, clock)
    first.begin(ANN)
    first.end()
    second = Process(path, clock)
    assert second.shown() is None
    assert second.store.first_delay() == 0
    second.store.sweep_started()
    assert second.store.mark_if_read(ANN)
    assert not second.store.mark_if_read(BOB)
    second.store.put(BOB, ())
    second.store.sweep_completed(every_user_read=True)
    assert second.shown() == labels(ANN, BOB)
    second.end()


def test_interrupted_later_sweep_is_resumed(path: Path, clock: ManualClock) -> None:
    first = Process(path, clock)
    first.sweep(ANN, BOB, CARL)
    clock.advance(HOUR)
    first.begin(ANN)
    first.end()
    second = Process(path, clock)
    assert second.shown() == labels(ANN, BOB, CARL)
    second.store.sweep_started()
    assert [second.store.mark_if_read(who) for who in (ANN, BOB, CARL)] == [True, False, False]
    second.store.put(BOB, ())
    second.store.sweep_completed(every_user_read=True)
    assert second.shown() == labels(ANN, BOB)
    second.end()


def test_failed_sweep_is_resumed(path: Path, clock: ManualClock) -> None:
    process = Process(path, clock)
    process.begin(ANN)
    process.store.sweep_failed(Reason.THROTTLED)
    clock.advance(60)
    process.store.sweep_started()
    assert [process.store.mark_if_read(who) for who in (ANN, BOB)] == [True, False]
    process.end()
    again = Process(path, clock)
    assert again.store.first_delay() == 0
    again.store.sweep_started()
    assert [again.store.mark_if_read(who) for who in (ANN, BOB)] == [True, False]
    again.end()


def test_resumed_sweep_removes_deleted_users(path: Path, clock: ManualClock) -> None:
    process = Process(path, clock)
    process.begin(ANN, BOB)
    process.store.sweep_failed(Reason.THROTTLED)
    process.store.sweep_started()
    assert process.store.mark_if_read(BOB)
    process.store.sweep_completed(every_user_read=True)
    assert process.shown() == labels(BOB)
    process.end()


def test_resumed_sweep_reads_unreadable_users_again(path: Path, clock: ManualClock) -> None:
    process = Process(path, clock)
    process.sweep(ANN)
    clock.advance(60)
    process.store.sweep_started()
    process.store.mark_unreadable(ANN)
    process.end()
    again = Process(path, clock)
    again.store.sweep_started()
    assert not again.store.mark_if_read(ANN)
    again.end()


def test_corruption_in_one_pool_restores_nothing(path: Path, clock: ManualClock) -> None:
    sound, spoiled = settings(id="eu-west-1_Sound"), settings(id="eu-west-1_Spoiled")
    for pool in (sound, spoiled):
        process = Process(path, clock, pool=pool)
        process.sweep(ANN)
        process.end()
    with contextlib.closing(sqlite3.connect(path)) as db:
        number = db.execute("SELECT number FROM pools WHERE pool_id = 'eu-west-1_Spoiled'").fetchone()
        db.execute("UPDATE users SET record = 'text' WHERE pool = ?", number)
        db.commit()
    failures = FailureCounter()
    persistence = Persistence(path, failures, clock)
    restored = persistence.restored([(sound, IDENTITY), (spoiled, IDENTITY)])
    persistence.start()
    persistence.stop()
    assert restored == {}
    assert failures.failures == 1
    assert list(path.parent.glob("*.corrupt-*"))


def test_corrupt_file_that_cannot_be_moved_disables_persistence(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Process(path, clock)
    first.sweep(ANN)
    first.end()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE users SET record = x'00'")
        db.commit()

    def busy(*_: object) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(Path, "rename", busy)
    second = Process(path, clock)
    assert second.restored is None
    second.sweep(ANN)
    second.end()
    assert second.failures.failures >= 1


def test_sweep_interrupted_before_the_interval_restarts(path: Path, clock: ManualClock) -> None:
    first = Process(path, clock)
    first.begin(ANN)
    first.end()
    clock.advance(HOUR + 1)
    second = Process(path, clock)
    second.store.sweep_started()
    assert not second.store.mark_if_read(ANN)
    second.end()


def test_failing_pool_stays_failing_after_restart(path: Path, clock: ManualClock) -> None:
    first = Process(path, clock)
    first.sweep(ANN)
    first.store.sweep_started()
    first.store.sweep_failed(Reason.TIMEOUT)
    first.end()
    clock.advance(86_000)
    second = Process(path, clock)
    assert (second.store.view().state, second.store.view().up) == (PoolState.FAILING, False)
    assert second.shown() == labels(ANN)
    assert second.store.first_delay() == 0
    clock.advance(401)
    assert second.shown() is None
    second.end()


def test_missing_pool_leaves_no_users_in_the_file(path: Path, clock: ManualClock) -> None:
    first = Process(path, clock)
    first.sweep(ANN)
    first.store.sweep_started()
    first.store.pool_missing()
    first.end()
    second = Process(path, clock)
    assert second.restored is not None
    assert second.restored.records == []
    assert second.store.view().state is PoolState.MISSING
    second.end()


def test_removed_users_are_not_restored(path: Path, clock: ManualClock) -> None:
    first = Process(path, clock)
    first.sweep(ANN, BOB)
    first.sweep(BOB)
    first.end()
    second = Process(path, clock)
    assert second.shown() == labels(BOB)
    second.end()


def test_other_identity_key_restores_nothing(path: Path, clock: ManualClock) -> None:
    first = Process(path, clock)
    first.sweep(ANN)
    first.end()
    other = Process(path, clock, identity=HmacIdentity(b"another key here"))
    assert other.restored is None
    other.begin(b"somebody")
    other.end()
    again = Process(path, clock)
    assert again.shown() == labels(ANN)
    again.end()


def test_other_detail_restores_nothing(path: Path, clock: ManualClock) -> None:
    first = Process(path, clock, pool=settings(detail=Detail.POOL))
    first.sweep(ANN)
    first.end()
    second = Process(path, clock, pool=settings(detail=Detail.DEVICE))
    assert second.restored is None
    second.end()


SELECTED = settings(detail=Detail.DEVICE, users=UserSelection(usernames=("ann", "bob")))


@pytest.mark.parametrize(
    "changes",
    [
        {"users": UserSelection()},
        {"users": UserSelection(usernames=("ann",))},
        {"users": UserSelection(groups=("ann", "bob"))},
        {"users": UserSelection(filter='username ^= "a"')},
        {"skip_federated_users": False},
    ],
)
def test_other_user_selection_restores_nothing(path: Path, clock: ManualClock, changes: dict[str, Any]) -> None:
    first = Process(path, clock, pool=SELECTED)
    first.sweep(ANN, BOB)
    first.end()
    second = Process(path, clock, pool=replace(SELECTED, **changes))
    assert (second.restored, second.store.view().data) == (None, None)
    second.end()


def test_reordered_user_selection_restores_data(path: Path, clock: ManualClock) -> None:
    first = Process(path, clock, pool=SELECTED)
    first.sweep(ANN, BOB)
    first.end()
    second = Process(path, clock, pool=replace(SELECTED, users=UserSelection(usernames=("bob", "ann"))))
    assert second.shown() == labels(ANN, BOB)
    second.end()


def test_selection_digest_depends_on_the_identity_key() -> None:
    def stand_in(key: bytes) -> str:
        return _selection(SELECTED, HmacIdentity(key))

    assert stand_in(b"0123456789abcdef") == stand_in(b"0123456789abcdef") != stand_in(b"another key here")


def test_retain_drops_pending_changes_of_removed_pools(path: Path, clock: ManualClock) -> None:
    process = Process(path, clock)
    process.sweep(ANN)  # the writer thread has had no time to write
    process.persistence.retain(())
    process.sweep(BOB)
    process.end()
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT (SELECT count(*) FROM pools), (SELECT count(*) FROM users)").fetchall() == [(0, 0)]


def test_pending_changes_in_another_shape_are_dropped(path: Path, clock: ManualClock) -> None:
    there = Process(path, clock, pool=SELECTED)
    there.sweep(ANN, BOB)
    there.end()
    persistence = Persistence(path, FailureCounter(), clock)
    away = replace(SELECTED, users=UserSelection())
    elsewhere = PoolStore(away, IDENTITY, clock, persistence.writer(away, IDENTITY))
    elsewhere.sweep_started()
    elsewhere.sweep_completed(every_user_read=True)  # complete: once written, it takes the other shape's place
    back = persistence.restored([(SELECTED, IDENTITY)])
    persistence.start()
    persistence.stop()
    assert len(back[POOL_ID].records) == 2
    again = Process(path, clock, pool=SELECTED)
    assert again.shown() == labels(ANN, BOB)
    again.end()


SHARDS = pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(UNSHARDED, Shard(1, 2), id="narrower"),
        pytest.param(Shard(1, 2), UNSHARDED, id="wider"),
        pytest.param(Shard(0, 2), Shard(1, 2), id="moved"),
        pytest.param(Shard(0, 3), Shard(0, 2), id="another number"),
    ],
)


@SHARDS
def test_other_shard_restores_nothing_and_removes_nobody(
    path: Path, clock: ManualClock, before: Shard, after: Shard
) -> None:
    first = Process(path, clock, shard=before)
    first.sweep(ANN, BOB)
    first.end()
    second = Process(path, clock, shard=after)
    view = second.store.view()
    assert (second.restored, view.state, view.data, view.last_success, view.last_sweep_seconds) == (
        None, PoolState.UNREAD, None, None, None,
    )  # fmt: skip
    assert not second.store.knows_users()
    assert second.store.first_delay() == 0
    second.begin(ANN)
    assert second.store.sweep_completed(every_user_read=True) == 0
    second.end()
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT identity FROM users").fetchall() == [(ANN,)]
        assert db.execute("SELECT count(*) FROM pools").fetchall() == [(1,)]


@SHARDS
def test_incomplete_sweep_of_other_shard_keeps_this_shard(
    path: Path, clock: ManualClock, before: Shard, after: Shard
) -> None:
    first = Process(path, clock, shard=before)
    first.sweep(ANN, BOB)
    first.end()
    second = Process(path, clock, shard=after)
    second.begin(CARL)
    second.end()
    again = Process(path, clock, shard=before)
    assert again.shown() == labels(ANN, BOB)
    again.end()
    on = Process(path, clock, shard=after)
    on.store.sweep_started()
    assert on.store.mark_if_read(CARL)
    assert on.store.sweep_completed(every_user_read=True) == 0
    assert on.shown() == labels(CARL)
    on.end()


def test_missing_pool_deletes_data_of_other_shards(path: Path, clock: ManualClock) -> None:
    first = Process(path, clock)
    first.sweep(ANN)
    first.end()
    second = Process(path, clock, shard=Shard(1, 2))
    second.store.sweep_started()
    second.store.pool_missing()
    second.end()
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM users").fetchall() == [(0,)]


def test_corrupt_file_is_moved_aside(path: Path, clock: ManualClock) -> None:
    path.write_bytes(b"nonsense" * 1000)
    process = Process(path, clock)
    assert process.restored is None
    assert process.failures.failures == 1
    process.sweep(ANN)
    process.end()
    assert [p.read_bytes()[:8] for p in path.parent.glob("*.corrupt-*")] == [b"nonsense"]
    again = Process(path, clock)
    assert again.shown() == labels(ANN)
    again.end()


def test_corrupt_record_moves_the_file_aside(path: Path, clock: ManualClock) -> None:
    first = Process(path, clock)
    first.sweep(ANN)
    first.end()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE users SET record = x'00'")
        db.commit()
    second = Process(path, clock)
    assert second.restored is None
    assert second.failures.failures == 1
    assert list(path.parent.glob("*.corrupt-*"))
    second.sweep(BOB)
    second.end()
    third = Process(path, clock)
    assert third.shown() == labels(BOB)
    third.end()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.02)


def remove(path: Path) -> None:
    path.unlink()


def move(path: Path) -> None:
    path.parent.joinpath("elsewhere").mkdir()
    path.rename(path.parent / "elsewhere" / "state.db")


def replace_file(path: Path) -> None:
    path.unlink()
    path.write_bytes(b"other")


def remove_directory(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("change", [remove, move, replace_file, remove_directory])
def test_removed_file_disables_persistence(tmp_path: Path, clock: ManualClock, change: Callable[[Path], None]) -> None:
    path = tmp_path / "state" / "state.db"
    path.parent.mkdir()
    removal = "state file was removed; continuing without persistence until restart or reload"
    process = Process(path, clock)
    process.sweep(ANN)
    assert eventually(lambda: ANN in path.read_bytes())
    with capture_logs() as logs:
        change(path)
        assert eventually(lambda: removal in [entry["event"] for entry in logs])
        failures = process.failures.failures
        process.sweep(ANN, BOB)
        process.end()
    assert process.shown() == labels(ANN, BOB)
    assert process.failures.failures == failures
    assert [entry["event"] for entry in logs].count(removal) == 1
    assert not path.exists() or path.read_bytes() == b"other"


@pytest.mark.usefixtures("soon")
def test_reopen_after_removal_writes_all_data(path: Path, clock: ManualClock) -> None:
    first = Process(path, clock)
    first.sweep(ANN)
    assert eventually(lambda: ANN in path.read_bytes())
    path.unlink()
    assert eventually(lambda: first.failures.failures >= 1)
    first.sweep(ANN, BOB)
    first.persistence.reopen()
    first.end()
    assert path.stat().st_mode & 0o777 == 0o600
    second = Process(path, clock)
    assert second.shown() == labels(ANN, BOB)
    second.end()


def test_reopen_of_an_open_file_does_nothing(path: Path, clock: ManualClock) -> None:
    process = Process(path, clock)
    process.sweep(ANN)
    process.persistence.reopen()
    process.end()
    assert process.failures.failures == 0
    assert in_file(path) == {ANN}


def test_corrupt_pool_found_later_rewrites_active_pools(path: Path, clock: ManualClock) -> None:
    other = settings(id="eu-west-1_Other", detail=Detail.DEVICE)
    for pool in (other, settings(detail=Detail.DEVICE)):
        process = Process(path, clock, pool=pool)
        process.sweep(ANN)
        process.end()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(
            "UPDATE users SET record = 'text' WHERE pool = (SELECT number FROM pools WHERE pool_id = ?)", (other.id,)
        )
        db.commit()
    running = Process(path, clock)
    assert running.shown() == labels(ANN)
    assert running.persistence.restored([(other, IDENTITY)]) == {}
    running.end()
    again = Process(path, clock)
    assert again.shown() == labels(ANN)
    again.end()


@contextlib.contextmanager
def read_only_disk() -> Iterator[None]:
    """Let deletions of pools fail."""

    def fail(*_: object) -> None:
        raise OSError("readonly")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqliteState, "retain", fail)
        yield


def test_failed_deletion_of_pools_is_retried(path: Path, clock: ManualClock) -> None:
    first = Process(path, clock)
    first.sweep(ANN)
    first.end()
    persistence = Persistence(path, FailureCounter(), clock)
    with read_only_disk():
        persistence.retain(())
        with pytest.raises(OSError, match="readonly"):
            persistence.write({})
    persistence.write({})
    persistence.close()
    assert in_file(path) == set()


def test_pool_added_after_retain_is_kept(path: Path, clock: ManualClock) -> None:
    persistence = Persistence(path, FailureCounter(), clock)
    persistence.retain(())
    header = PoolStore(settings(), IDENTITY, clock).hand_over().header
    persistence.write({PoolKey("one", ""): Batch(header, clear=False, records={ANN: b"1"})})
    persistence.write({})
    persistence.close()
    assert in_file(path) == {ANN}


def test_pool_restored_before_its_deletion_is_kept(path: Path, clock: ManualClock) -> None:
    first = Process(path, clock)
    first.sweep(ANN)
    first.end()
    persistence = Persistence(path, FailureCounter(), clock)
    with read_only_disk():
        persistence.retain(())
    assert persistence.restored([(settings(detail=Detail.DEVICE), IDENTITY)])
    persistence.write({})
    persistence.close()
    assert in_file(path) == {ANN}


def test_vacuum_is_limited_to_its_share_of_time(path: Path) -> None:
    clock = TickingClock()
    persistence = Persistence(path, FailureCounter(), clock)
    assert persistence.vacuum()
    key = PoolKey("one", "")
    header = PoolStore(settings(), IDENTITY, clock).hand_over().header
    persistence.write({key: Batch(header, clear=False, records={b"ann": b"1"})})
    persistence.write({key: Batch(None, clear=False, records={b"ann": None})})
    assert not persistence.vacuum()
    clock.advance(VACUUM_SECONDS)
    assert persistence.vacuum()
    clock.advance(VACUUM_SECONDS)
    assert not persistence.vacuum()
    persistence.close()


class TickingClock(ManualClock):
    """Clock that advances by a second whenever it is read."""

    def monotonic(self) -> float:
        self.advance(1)
        return super().monotonic()


def in_file(path: Path) -> set[bytes]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return {identity for (identity,) in db.execute("SELECT identity FROM users")}


def test_file_that_cannot_be_opened_disables_persistence(tmp_path: Path) -> None:
    failures = FailureCounter()
    with capture_logs() as logs:
        persistence = Persistence(tmp_path / "missing" / "state.db", failures, ManualClock())
    assert persistence.restored([(settings(), IDENTITY)]) == {}
    persistence.start()
    persistence.stop()
    assert failures.failures == 1
    assert [entry["event"] for entry in logs] == ["cannot open state file; continuing without persistence"]


def test_persistence_without_path_does_nothing(clock: ManualClock) -> None:
    persistence = Persistence(None, FailureCounter(), clock)
    persistence.start()
    persistence.writer(settings(), IDENTITY).put(ANN, b"1")
    persistence.retain(())
    persistence.reopen()
    assert persistence.restored([(settings(), IDENTITY)]) == {}
    persistence.stop()
