from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter.collect.persistence import writer as journal
from exporter.collect.persistence.recovery import (
    NO_RECOVERY,
    REWRITE_SECONDS,
    FileRecovery,
    _selection,
    recover,
    stored_identity_key,
)
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


class Counting:
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
        self.failures = Counting()
        pool = pool or settings(detail=Detail.DEVICE)
        self.recovery = recover(path, self.failures, clock, shard)
        self.store = PoolStore(pool, identity, clock, self.recovery.journal(pool, identity), shard=shard)
        self.restored = self.recovery.restored([(pool, identity)]).get(pool.id)
        if self.restored is not None:
            self.store.restore(self.restored)
        self.recovery.start()

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
        self.recovery.stop()

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


def test_a_restart_shows_what_was_known_before_it_asks_anything(path: Path, clock: ManualClock) -> None:
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


def test_the_next_sweep_is_due_when_it_would_have_been(path: Path, clock: ManualClock) -> None:
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


def test_an_interrupted_sweep_goes_on_where_it_stood(path: Path, clock: ManualClock) -> None:
    first = Process(path, clock)
    first.begin(ANN)
    first.end()
    second = Process(path, clock)
    assert second.shown() is None
    assert second.store.first_delay() == 0
    second.store.sweep_started()
    assert second.store.was_read(ANN)
    assert not second.store.was_read(BOB)
    second.store.put(BOB, ())
    second.store.sweep_completed(every_user_read=True)
    assert second.shown() == labels(ANN, BOB)
    second.end()


def test_a_second_sweep_interrupted_shows_old_values_and_goes_on(path: Path, clock: ManualClock) -> None:
    first = Process(path, clock)
    first.sweep(ANN, BOB, CARL)
    clock.advance(HOUR)
    first.begin(ANN)
    first.end()
    second = Process(path, clock)
    assert second.shown() == labels(ANN, BOB, CARL)
    second.store.sweep_started()
    assert [second.store.was_read(who) for who in (ANN, BOB, CARL)] == [True, False, False]
    second.store.put(BOB, ())
    second.store.sweep_completed(every_user_read=True)
    assert second.shown() == labels(ANN, BOB)
    second.end()


def test_a_sweep_that_failed_goes_on_where_it_stood(path: Path, clock: ManualClock) -> None:
    process = Process(path, clock)
    process.begin(ANN)
    process.store.sweep_failed(Reason.THROTTLED)
    clock.advance(60)
    process.store.sweep_started()
    assert [process.store.was_read(who) for who in (ANN, BOB)] == [True, False]
    process.end()
    again = Process(path, clock)
    assert again.store.first_delay() == 0
    again.store.sweep_started()
    assert [again.store.was_read(who) for who in (ANN, BOB)] == [True, False]
    again.end()


def test_who_was_deleted_before_the_sweep_went_on_is_gone_with_it(path: Path, clock: ManualClock) -> None:
    process = Process(path, clock)
    process.begin(ANN, BOB)
    process.store.sweep_failed(Reason.THROTTLED)
    process.store.sweep_started()
    assert process.store.was_read(BOB)
    process.store.sweep_completed(every_user_read=True)
    assert process.shown() == labels(BOB)
    process.end()


def test_a_user_who_could_not_be_read_is_asked_again_when_the_sweep_goes_on(path: Path, clock: ManualClock) -> None:
    process = Process(path, clock)
    process.sweep(ANN)
    clock.advance(60)
    process.store.sweep_started()
    process.store.mark_unreadable(ANN)
    process.end()
    again = Process(path, clock)
    again.store.sweep_started()
    assert not again.store.was_read(ANN)
    again.end()


def test_damage_in_one_pool_restores_none(path: Path, clock: ManualClock) -> None:
    sound, spoiled = settings(id="eu-west-1_Sound"), settings(id="eu-west-1_Spoiled")
    for pool in (sound, spoiled):
        process = Process(path, clock, pool=pool)
        process.sweep(ANN)
        process.end()
    with contextlib.closing(sqlite3.connect(path)) as db:
        number = db.execute("SELECT number FROM pools WHERE pool_id = 'eu-west-1_Spoiled'").fetchone()
        db.execute("UPDATE users SET record = 'text' WHERE pool = ?", number)
        db.commit()
    failures = Counting()
    recovery = recover(path, failures, clock)
    restored = recovery.restored([(sound, IDENTITY), (spoiled, IDENTITY)])
    recovery.start()
    recovery.stop()
    assert restored == {}
    assert failures.failures == 1
    assert list(path.parent.glob("*.set-aside-*"))


def test_damage_in_a_file_that_cannot_be_set_aside_stops_nothing(
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
    assert second.failures.failures >= 2


def test_a_sweep_interrupted_longer_ago_than_the_interval_begins_anew(path: Path, clock: ManualClock) -> None:
    first = Process(path, clock)
    first.begin(ANN)
    first.end()
    clock.advance(HOUR + 1)
    second = Process(path, clock)
    second.store.sweep_started()
    assert not second.store.was_read(ANN)
    second.end()


def test_a_failing_pool_is_failing_after_a_restart_and_its_silence_goes_on(path: Path, clock: ManualClock) -> None:
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


def test_a_missing_pool_leaves_nothing_behind(path: Path, clock: ManualClock) -> None:
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


def test_users_who_were_gone_stay_gone(path: Path, clock: ManualClock) -> None:
    first = Process(path, clock)
    first.sweep(ANN, BOB)
    first.sweep(BOB)
    first.end()
    second = Process(path, clock)
    assert second.shown() == labels(BOB)
    second.end()


def test_another_key_starts_from_nothing_and_the_old_one_finds_its_users_again(path: Path, clock: ManualClock) -> None:
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


def test_the_same_pool_in_another_detail_starts_from_nothing(path: Path, clock: ManualClock) -> None:
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
def test_another_selection_of_users_starts_from_nothing(
    path: Path, clock: ManualClock, changes: dict[str, Any]
) -> None:
    first = Process(path, clock, pool=SELECTED)
    first.sweep(ANN, BOB)
    first.end()
    second = Process(path, clock, pool=replace(SELECTED, **changes))
    assert (second.restored, second.store.view().data) == (None, None)
    second.end()


def test_the_same_selection_in_another_order_is_the_same(path: Path, clock: ManualClock) -> None:
    first = Process(path, clock, pool=SELECTED)
    first.sweep(ANN, BOB)
    first.end()
    second = Process(path, clock, pool=replace(SELECTED, users=UserSelection(usernames=("bob", "ann"))))
    assert second.shown() == labels(ANN, BOB)
    second.end()


def test_the_names_of_a_selection_cannot_be_tried_against_the_file_without_the_key() -> None:
    def stand_in(key: bytes) -> str:
        return _selection(SELECTED, HmacIdentity(key))

    assert stand_in(b"0123456789abcdef") == stand_in(b"0123456789abcdef") != stand_in(b"another key here")


def test_a_removed_pool_is_not_brought_back_by_what_was_still_to_be_written(path: Path, clock: ManualClock) -> None:
    process = Process(path, clock)
    process.sweep(ANN)  # the journal has had no time to write
    process.recovery.retain(())
    process.sweep(BOB)
    process.end()
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT (SELECT count(*) FROM pools), (SELECT count(*) FROM users)").fetchall() == [(0, 0)]


def test_what_was_pending_in_another_shape_takes_nothing_from_this_one(path: Path, clock: ManualClock) -> None:
    there = Process(path, clock, pool=SELECTED)
    there.sweep(ANN, BOB)
    there.end()
    recovery = recover(path, Counting(), clock)
    away = replace(SELECTED, users=UserSelection())
    elsewhere = PoolStore(away, IDENTITY, clock, recovery.journal(away, IDENTITY))
    elsewhere.sweep_started()
    elsewhere.sweep_completed(every_user_read=True)  # complete: once written, it takes the other shape's place
    back = recovery.restored([(SELECTED, IDENTITY)])
    recovery.start()
    recovery.stop()
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
def test_of_another_shard_nothing_is_restored_and_nobody_counts_as_gone(
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
def test_a_sweep_of_another_shard_that_did_not_come_to_its_end_takes_nothing_from_this_one(
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
    assert on.store.was_read(CARL)
    assert on.store.sweep_completed(every_user_read=True) == 0
    assert on.shown() == labels(CARL)
    on.end()


def test_a_pool_without_data_leaves_nothing_of_another_shard_behind(path: Path, clock: ManualClock) -> None:
    first = Process(path, clock)
    first.sweep(ANN)
    first.end()
    second = Process(path, clock, shard=Shard(1, 2))
    second.store.sweep_started()
    second.store.pool_missing()
    second.end()
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM users").fetchall() == [(0,)]


def test_a_damaged_file_is_set_aside_and_a_new_one_begun(path: Path, clock: ManualClock) -> None:
    path.write_bytes(b"nonsense" * 1000)
    process = Process(path, clock)
    assert process.restored is None
    assert process.failures.failures == 1
    process.sweep(ANN)
    process.end()
    assert [p.read_bytes()[:8] for p in path.parent.glob("*.set-aside-*")] == [b"nonsense"]
    again = Process(path, clock)
    assert again.shown() == labels(ANN)
    again.end()


def test_a_record_that_is_no_record_sets_the_file_aside(path: Path, clock: ManualClock) -> None:
    first = Process(path, clock)
    first.sweep(ANN)
    first.end()
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE users SET record = x'00'")
        db.commit()
    second = Process(path, clock)
    assert second.restored is None
    assert second.failures.failures == 1
    assert list(path.parent.glob("*.set-aside-*"))
    second.sweep(BOB)
    second.end()
    third = Process(path, clock)
    assert third.shown() == labels(BOB)
    third.end()


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(journal, "RETRY_SECONDS", 0.02)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("moved", [False, True])
def test_a_file_that_is_removed_while_the_program_runs_is_begun_again_with_everything(
    path: Path, clock: ManualClock, moved: bool
) -> None:
    first = Process(path, clock)
    first.sweep(ANN)
    assert eventually(lambda: ANN in path.read_bytes())
    with capture_logs() as logs:
        if moved:
            path.parent.joinpath("elsewhere").mkdir()
            path.rename(path.parent / "elsewhere" / "state.db")
        else:
            path.unlink()
        assert eventually(lambda: any("removed" in entry["event"] for entry in logs))
    assert first.failures.failures == 1
    first.sweep(ANN, BOB)
    first.end()
    assert first.failures.failures == 1
    assert [entry["log_level"] for entry in logs] == ["error"]
    second = Process(path, clock)
    assert second.shown() == labels(ANN, BOB)
    second.end()


@pytest.mark.usefixtures("soon")
def test_with_its_directory_gone_nothing_is_lost_when_it_comes_back(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "kept" / "state.db"
    path.parent.mkdir()
    first = Process(path, clock)
    first.sweep(ANN)
    path.parent.rename(tmp_path / "away")
    assert eventually(lambda: first.failures.failures > 2)
    path.parent.mkdir()
    assert eventually(path.exists)
    first.end()
    second = Process(path, clock)
    assert second.shown() == labels(ANN)
    second.end()


@pytest.mark.usefixtures("soon")
def test_another_file_in_its_place_is_told_and_left_to_the_next_start(path: Path, clock: ManualClock) -> None:
    first = Process(path, clock)
    first.sweep(ANN)
    first.end()
    second = Process(path, clock)
    copy = path.read_bytes()
    path.unlink()
    path.write_bytes(copy)
    assert eventually(lambda: second.failures.failures > 1)
    second.sweep(BOB)
    second.end()
    assert path.read_bytes() == copy
    third = Process(path, clock)
    assert third.shown() == labels(ANN)
    third.end()


def test_a_pool_that_could_not_be_taken_out_of_the_file_is_with_the_next_batch(path: Path, clock: ManualClock) -> None:
    first = Process(path, clock)
    first.sweep(ANN)
    first.end()
    recovery = FileRecovery(path, Counting(), clock)
    recovery._state._db.execute("PRAGMA query_only = ON")
    recovery.retain(())
    with pytest.raises(OSError, match="readonly"):
        recovery.write({})
    recovery._state._db.execute("PRAGMA query_only = OFF")
    recovery.write({})
    recovery.close()
    assert in_file(path) == set()


def test_a_pool_that_comes_after_others_were_taken_out_stays(path: Path, clock: ManualClock) -> None:
    recovery = FileRecovery(path, Counting(), clock)
    recovery.retain(())
    header = PoolStore(settings(), IDENTITY, clock)._header()
    recovery.write({PoolKey("one", ""): Batch(header, forget=False, records={ANN: b"1"})})
    recovery.write({})
    recovery.close()
    assert in_file(path) == {ANN}


def test_a_pool_that_was_to_be_taken_out_and_is_back_stays(path: Path, clock: ManualClock) -> None:
    first = Process(path, clock)
    first.sweep(ANN)
    first.end()
    recovery = FileRecovery(path, Counting(), clock)
    recovery._state._db.execute("PRAGMA query_only = ON")
    recovery.retain(())
    recovery._state._db.execute("PRAGMA query_only = OFF")
    assert recovery.restored([(settings(detail=Detail.DEVICE), IDENTITY)])
    recovery.write({})
    recovery.close()
    assert in_file(path) == {ANN}


def test_rewriting_takes_its_share_of_the_time_and_no_more(path: Path) -> None:
    clock = Ticking()
    recovery = FileRecovery(path, Counting(), clock)
    recovery.vacuum()
    assert not recovery._state.has_erased
    rewritten = recovery._next_rewrite
    assert rewritten == pytest.approx(clock.monotonic() + REWRITE_SECONDS, abs=5)
    key = PoolKey("one", "")
    recovery.write({key: Batch(PoolStore(settings(), IDENTITY, clock)._header(), forget=False, records={b"ann": b"1"})})
    recovery.write({key: Batch(None, forget=False, records={b"ann": None})})
    recovery.vacuum()
    assert recovery._state.has_erased
    clock.advance(REWRITE_SECONDS)
    assert recovery.vacuum()
    assert not recovery._state.has_erased
    recovery.close()


class Ticking(ManualClock):
    """Each look at it takes a second."""

    def monotonic(self) -> float:
        self.advance(1)
        return super().monotonic()


def in_file(path: Path) -> set[bytes]:
    with contextlib.closing(sqlite3.connect(path)) as db:
        return {identity for (identity,) in db.execute("SELECT identity FROM users")}


def test_where_no_file_can_be_had_the_daemon_goes_on_without(tmp_path: Path) -> None:
    failures = Counting()
    assert isinstance(recover(tmp_path / "nowhere" / "state.db", failures, ManualClock()), type(NO_RECOVERY))
    assert failures.failures == 1


def test_the_identity_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    before = os.umask(0)
    try:
        key = stored_identity_key(path)
    finally:
        os.umask(before)
    assert len(key) == 64
    assert stored_identity_key(path) == key
    assert (tmp_path / "state.db.key").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["state.db.key"]


def test_processes_that_begin_together_have_one_identity_key(tmp_path: Path) -> None:
    path, keys = tmp_path / "state.db", set()
    barrier = threading.Barrier(8)

    def begin() -> None:
        barrier.wait(10)
        keys.add(stored_identity_key(path))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert keys == {stored_identity_key(path)}
    assert [file.name for file in tmp_path.iterdir()] == ["state.db.key"]


def test_an_identity_key_is_not_written_through_what_somebody_has_put_in_its_way(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.touch(mode=0o644)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / f"state.db.key.{os.getpid()}").symlink_to(theirs)  # a name that could be known
    (kept / "state.db.key").symlink_to(theirs)
    with pytest.raises(ValueError, match=r"expected mode 0600|expected mode 0640|expected a key of"):
        stored_identity_key(kept / "state.db")
    assert theirs.read_bytes() == b""


def test_an_identity_key_that_others_can_reach_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    key = stored_identity_key(path)
    (tmp_path / "state.db.key").chmod(0o644)
    with pytest.raises(ValueError, match=r"found 0644: others could read the key$"):
        stored_identity_key(path)
    (tmp_path / "state.db.key").chmod(0o600)
    assert stored_identity_key(path) == key


def test_a_state_directory_that_cannot_be_written_leaves_no_half_key(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        stored_identity_key(tmp_path / "nowhere" / "state.db")
