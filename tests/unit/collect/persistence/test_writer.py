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


class FakeFile:
    """State file in memory. Its writes and its vacuum can be made to fail."""

    def __init__(self) -> None:
        self.users: dict[PoolKey, dict[bytes, bytes]] = {}
        self.full = False
        self.vacuum_fails = False
        self.writes = 0
        self.vacuums = 0
        self.interrupts = 0
        self.calls = 0
        self.closed = threading.Event()

    def write(self, batches: Mapping[PoolKey, Batch]) -> None:
        if self.full:
            raise OSError("disk full")
        self.calls += 1
        self.writes += bool(batches)
        for key, batch in batches.items():
            users = self.users.setdefault(key, {})
            if batch.clear:
                users.clear()
            for identity, record in batch.records.items():
                if record is None:
                    users.pop(identity, None)
                else:
                    users[identity] = record

    def vacuum(self) -> bool:
        if self.full or self.vacuum_fails:
            raise OSError("disk full")
        self.vacuums += 1
        return True

    def interrupt(self) -> None:
        self.interrupts += 1

    def close(self) -> None:
        self.closed.set()


class FailureCounter:
    def __init__(self) -> None:
        self.failures = 0

    def state_failed(self) -> None:
        self.failures += 1


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.02)


def test_changes_are_written_by_the_thread() -> None:
    file = FakeFile()
    writer = StateWriter(file, FailureCounter())
    writer.start()
    writer.for_pool(ONE).put(b"ann", b"1")
    writer.for_pool(OTHER).put(b"bob", b"2")
    assert eventually(lambda: file.users == {ONE: {b"ann": b"1"}, OTHER: {b"bob": b"2"}})
    writer.for_pool(ONE).drop(b"ann")
    assert eventually(lambda: file.users[ONE] == {})
    writer.stop()


def test_many_changes_are_written_at_once() -> None:
    file = FakeFile()
    writer = StateWriter(file, FailureCounter())
    for number in range(1000):
        writer.for_pool(ONE).put(b"%d" % number, b"")
    writer.start()
    writer.stop()
    assert len(file.users[ONE]) == 1000
    assert file.writes == 1
    assert file.closed.is_set()


def test_vacuum_runs_without_changes_and_not_during_stop() -> None:
    file, failures = FakeFile(), FailureCounter()
    writer = StateWriter(file, failures)
    writer.start()
    assert eventually(lambda: file.vacuums >= 2)
    assert file.writes == 0
    assert file.interrupts == 0
    writer.stop()
    assert (file.calls, failures.failures) == (file.vacuums + 1, 0)
    assert file.interrupts == 1


def test_write_failure_without_changes_is_logged() -> None:
    file, failures = FakeFile(), FailureCounter()
    writer = StateWriter(file, failures)
    file.full = True
    with capture_logs() as logs:
        writer.start()
        assert eventually(lambda: failures.failures >= 2)
        file.full = False
        assert eventually(lambda: file.vacuums >= 1)
        writer.stop()
    assert [entry["event"].partition(";")[0] for entry in logs] == [
        "cannot write state file",
        "writing the state file succeeds again",
    ]


def test_vacuum_failure_does_not_affect_the_data() -> None:
    file, failures = FakeFile(), FailureCounter()
    file.vacuum_fails = True
    writer = StateWriter(file, failures)
    pool = writer.for_pool(ONE)
    with capture_logs() as lines:
        for number in range(5):
            pool.put(b"ann", b"%d" % number)
            writer.flush()
        assert (file.writes, failures.failures) == (5, 5)
        writer.flush()
        assert file.writes == 5, "nothing was given back"
        file.vacuum_fails = False
        writer.flush()
        file.vacuum_fails = True
        writer.flush()
    events = [line["event"] for line in lines]
    assert events == ["cannot vacuum state file; deleted users may remain in free pages"] * 2, "once each time"


def test_clear_drops_earlier_changes_only() -> None:
    file = FakeFile()
    writer = StateWriter(file, FailureCounter())
    one = writer.for_pool(ONE)
    one.put(b"ann", b"1")
    one.clear(HEADER)
    one.put(b"bob", b"2")
    writer.start()
    writer.stop()
    assert file.users == {ONE: {b"bob": b"2"}}


def test_full_disk_keeps_changes_pending() -> None:
    file, failures = FakeFile(), FailureCounter()
    writer = StateWriter(file, failures)
    one = writer.for_pool(ONE)
    file.full = True
    one.put(b"ann", b"1")
    one.put(b"bob", b"1")
    writer.start()
    assert eventually(lambda: failures.failures >= 2)
    one.put(b"ann", b"2")
    one.drop(b"bob")
    file.full = False
    assert eventually(lambda: file.users == {ONE: {b"ann": b"2"}})
    writer.stop()


def test_clear_while_the_disk_is_full_is_not_undone() -> None:
    file, failures = FakeFile(), FailureCounter()
    file.users[ONE] = {b"old": b"0"}
    writer = StateWriter(file, failures)
    file.full = True
    writer.for_pool(ONE).put(b"ann", b"1")
    writer.start()
    assert eventually(lambda: failures.failures >= 1)
    writer.for_pool(ONE).clear(HEADER)
    writer.for_pool(ONE).put(b"bob", b"2")
    file.full = False
    assert eventually(lambda: file.users == {ONE: {b"bob": b"2"}})
    writer.stop()


def test_retain_drops_changes_of_other_pools() -> None:
    file = FakeFile()
    writer = StateWriter(file, FailureCounter())
    one, other = writer.for_pool(ONE), writer.for_pool(OTHER)
    one.put(b"ann", b"1")
    other.put(b"bob", b"2")
    writer.retain({OTHER.pool_id})
    one.header(HEADER)
    one.put(b"ann", b"3")
    writer.start()
    writer.stop()
    assert file.users == {OTHER: {b"bob": b"2"}}
    assert writer.for_pool(ONE) is not one


def test_for_pool_drops_changes_of_other_shapes() -> None:
    file = FakeFile()
    writer = StateWriter(file, FailureCounter())
    old, new = writer.for_pool(PoolKey("one", "old")), writer.for_pool(PoolKey("one", "new"))
    old.put(b"ann", b"1")
    new.put(b"ann", b"2")
    assert writer.for_pool(PoolKey("one", "new")) is new
    writer.start()
    writer.stop()
    assert file.users == {PoolKey("one", "new"): {b"ann": b"2"}}


@pytest.mark.parametrize("full", [False, True])
def test_retain_waits_for_the_batch_in_progress(full: bool) -> None:
    file, writes_before = BlockingFile(full=full), []
    writer = StateWriter(file, FailureCounter())
    writer.for_pool(ONE).put(b"ann", b"1")
    writer.start()
    assert file.begun.wait(10)

    def retain_none() -> None:
        writer.retain(())
        writes_before.append(file.ended)

    thread = threading.Thread(target=retain_none)
    thread.start()
    file.go_on.set()
    thread.join(10)
    writer.stop()
    assert writes_before == [file.ended] == [1]


class BlockingFile:
    """State file whose writes block until `go_on` is set, then succeed or fail."""

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
