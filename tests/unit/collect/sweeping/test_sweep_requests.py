from __future__ import annotations

import threading

import pytest

from exporter.aws.api import Operation
from exporter.collect.sweeping.sweep import Outcome
from exporter.errors import Denied, InvalidRequest, Reason
from exporter.identity import HmacIdentity
from tests.fakes import FakePool
from tests.unit.collect.listed_pools import POOL_ID
from tests.unit.collect.sweeping.harness import SweepHarness, always, people


@pytest.mark.parametrize("operation", [Operation.DESCRIBE_USER_POOL, Operation.LIST_USERS])
@pytest.mark.parametrize("kind", [Denied, InvalidRequest])
def test_error_that_is_not_retryable_is_not_retried(operation: Operation, kind: type[Denied | InvalidRequest]) -> None:
    swept = SweepHarness(FakePool(users=people(3)))
    error = kind(operation, "x")
    swept.api.fault = always(error, operation)
    assert swept.sweep() == Outcome(error.reason, complete=False)
    assert swept.api.calls[operation] == 1
    assert swept.slept == []


def test_resumed_sweep_skips_users_that_were_read() -> None:
    swept = SweepHarness(FakePool(users=people(5)))
    swept.store.sweep_started()
    swept.store.put(b"user-3", swept.pool.users["user-3"])
    swept.store.sweep_failed(Reason.SERVER_ERROR)
    asked: list[str] = []

    def note(operation: Operation, about: str) -> None:
        if operation is Operation.ADMIN_LIST_DEVICES:
            asked.append(about)

    swept.api.fault = note
    assert swept.sweep() == Outcome(None, complete=True)
    assert sorted(asked) == ["user-0", "user-1", "user-2", "user-4"]
    assert swept.shown() == swept.pool.users


def test_identity_of_a_user_depends_on_the_pool() -> None:
    identity = HmacIdentity(b"0123456789abcdef")
    swept = SweepHarness(FakePool(users=people(3)), identity=identity)
    swept.sweep()
    assert set(swept.shown() or ()) == {identity.of(POOL_ID, name).hex() for name in swept.pool.users}


def test_worker_threads_are_named_after_the_pool() -> None:
    swept = SweepHarness(FakePool(users=people(20)))
    names: set[str] = set()

    def note(operation: Operation, _about: str) -> None:
        if operation is Operation.ADMIN_LIST_DEVICES:
            names.add(threading.current_thread().name.rpartition("-")[0])

    swept.api.fault = note
    swept.sweep()
    assert names == {f"reader-{POOL_ID}"}
