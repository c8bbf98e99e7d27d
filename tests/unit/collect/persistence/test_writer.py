from __future__ import annotations

import threading
from collections.abc import Mapping

import pytest
from structlog.testing import capture_logs

from exporter.collect.persistence import writer as module
from exporter.collect.persistence.writer import Batch, PoolHeader, PoolKey, StateWriter
from exporter.model import PoolState
from tests.fakes import eventually

HEADER = PoolHeader(
    state=PoolState.UNREAD,
    description=None,
    sweep=1,
    first_sweep=1,
    sweep_started=None,
    sweeping=False,
    complete_once=False,
    last_sweep_seconds=None,
    last_success=None,
    failing_since=None,
)
ONE, OTHER = PoolKey("one", ""), PoolKey("other", "")


class File:
    """A state file in memory, whose disk can be full."""

    def __init__(self) -> None:
        self.users: dict[PoolKey, dict[bytes, bytes]] = {}
        self.full = False
        self.crowded = False
        """There is room to write, and none to rewrite."""
        self.writes = 0
        self.tidied = 0
        self.hurried = 0
        self.looked = 0
        self.closed = threading.Event()

    def write(self, batches: Mapping[PoolKey, Batch]) -> None:
        if self.full:
            raise OSError("disk full")
        self.looked += 1
        self.writes += bool(batches)
        for key, batch in batches.items():
            users = self.users.setdefault(key, {})
            if batch.forget:
                users.clear()
            for identity, record in batch.records.items():
                if record is None:
                    users.pop(identity, None)
                else:
                    users[identity] = record

    def vacuum(self) -> bool:
        if self.full or self.crowded:
            raise OSError("disk full")
        self.tidied += 1
        return True

    def interrupt(self) -> None:
        self.hurried += 1

    def close(self) -> None:
        self.closed.set()


class Counting:
    def __init__(self) -> None:
        self.failures = 0

    def state_failed(self) -> None:
        self.failures += 1


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.02)


def test_what_is_told_is_written_a_little_later() -> None:
    file = File()
    journal = StateWriter(file, Counting())
    journal.start()
    journal.of(ONE).put(b"ann", b"1")
    journal.of(OTHER).put(b"bob", b"2")
    assert eventually(lambda: file.users == {ONE: {b"ann": b"1"}, OTHER: {b"bob": b"2"}})
    journal.of(ONE).drop(b"ann")
    assert eventually(lambda: file.users[ONE] == {})
    journal.stop()


def test_many_changes_are_one_write() -> None:
    file = File()
    journal = StateWriter(file, Counting())
    for number in range(1000):
        journal.of(ONE).put(b"%d" % number, b"")
    journal.start()
    journal.stop()
    assert len(file.users[ONE]) == 1000
    assert file.writes == 1
    assert file.closed.is_set()


def test_a_file_is_looked_after_while_there_is_nothing_to_write_and_not_while_the_program_stops() -> None:
    file, failures = File(), Counting()
    journal = StateWriter(file, failures)
    journal.start()
    assert eventually(lambda: file.tidied >= 2)
    assert file.writes == 0
    assert file.hurried == 0
    journal.stop()
    assert (file.looked, failures.failures) == (file.tidied + 1, 0)
    assert file.hurried == 1


def test_a_failure_that_only_looking_after_the_file_shows_is_counted_and_its_end_told() -> None:
    file, failures = File(), Counting()
    journal = StateWriter(file, failures)
    file.full = True
    with capture_logs() as logs:
        journal.start()
        assert eventually(lambda: failures.failures >= 2)
        file.full = False
        assert eventually(lambda: file.tidied >= 1)
        journal.stop()
    assert [entry["event"].partition(";")[0] for entry in logs] == ["state cannot be written", "state is written again"]


def test_what_is_written_stays_written_when_the_file_cannot_be_rewritten() -> None:
    file, failures = File(), Counting()
    file.crowded = True
    journal = StateWriter(file, failures)
    pool = journal.of(ONE)
    with capture_logs() as lines:
        for number in range(5):
            pool.put(b"ann", b"%d" % number)
            journal._flush()
        assert (file.writes, failures.failures) == (5, 5)
        journal._flush()
        assert file.writes == 5, "nothing was given back"
        file.crowded = False
        journal._flush()
        file.crowded = True
        journal._flush()
    told = [line["event"] for line in lines]
    assert told == ["state cannot be rewritten; traces of who was erased stay until it can"] * 2, "once each time"


def test_forgetting_wins_over_what_came_before_and_not_over_what_comes_after() -> None:
    file = File()
    journal = StateWriter(file, Counting())
    one = journal.of(ONE)
    one.put(b"ann", b"1")
    one.forget(HEADER)
    one.put(b"bob", b"2")
    journal.start()
    journal.stop()
    assert file.users == {ONE: {b"bob": b"2"}}


def test_a_full_disk_loses_nothing_and_is_counted() -> None:
    file, failures = File(), Counting()
    journal = StateWriter(file, failures)
    one = journal.of(ONE)
    file.full = True
    one.put(b"ann", b"1")
    one.put(b"bob", b"1")
    journal.start()
    assert eventually(lambda: failures.failures >= 2)
    one.put(b"ann", b"2")
    one.drop(b"bob")
    file.full = False
    assert eventually(lambda: file.users == {ONE: {b"ann": b"2"}})
    journal.stop()


def test_forgetting_while_the_disk_is_full_is_not_undone_by_what_waits() -> None:
    file, failures = File(), Counting()
    file.users[ONE] = {b"old": b"0"}
    journal = StateWriter(file, failures)
    file.full = True
    journal.of(ONE).put(b"ann", b"1")
    journal.start()
    assert eventually(lambda: failures.failures >= 1)
    journal.of(ONE).forget(HEADER)
    journal.of(ONE).put(b"bob", b"2")
    file.full = False
    assert eventually(lambda: file.users == {ONE: {b"bob": b"2"}})
    journal.stop()


def test_of_a_pool_that_was_let_go_nothing_is_written_whoever_tells() -> None:
    file = File()
    journal = StateWriter(file, Counting())
    one, other = journal.of(ONE), journal.of(OTHER)
    one.put(b"ann", b"1")
    other.put(b"bob", b"2")
    journal.retain({OTHER.pool_id})
    one.header(HEADER)
    one.put(b"ann", b"3")
    journal.start()
    journal.stop()
    assert file.users == {OTHER: {b"bob": b"2"}}
    assert journal.of(ONE) is not one


def test_a_pool_has_one_shape_at_a_time() -> None:
    file = File()
    journal = StateWriter(file, Counting())
    old, new = journal.of(PoolKey("one", "old")), journal.of(PoolKey("one", "new"))
    old.put(b"ann", b"1")
    new.put(b"ann", b"2")
    assert journal.of(PoolKey("one", "new")) is new
    journal.start()
    journal.stop()
    assert file.users == {PoolKey("one", "new"): {b"ann": b"2"}}


@pytest.mark.parametrize("full", [False, True])
def test_who_lets_a_pool_go_waits_for_the_batch_under_way(full: bool) -> None:
    file, writes_before = Slow(full=full), []
    journal = StateWriter(file, Counting())
    journal.of(ONE).put(b"ann", b"1")
    journal.start()
    assert file.begun.wait(10)

    def let_go() -> None:
        journal.retain(())
        writes_before.append(file.ended)

    thread = threading.Thread(target=let_go)
    thread.start()
    file.go_on.set()
    thread.join(10)
    journal.stop()
    assert writes_before == [file.ended] == [1]


class Slow:
    """A state file whose write ends when a test says so, well or not."""

    def __init__(self, *, full: bool) -> None:
        self.full = full
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.ended = 0

    def write(self, batches: Mapping[PoolKey, Batch]) -> None:
        if not batches:
            return
        self.begun.set()
        assert self.go_on.wait(10)
        self.ended += 1
        if self.full:
            raise OSError("disk full")

    def vacuum(self) -> bool:
        return False

    def interrupt(self) -> None:
        pass

    def close(self) -> None:
        pass
