"""Explanations of pool states in the debug log."""

from __future__ import annotations

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from exporter.collect.store.pool_store import PoolStore
from exporter.collect.store.state_reasons import explanation
from exporter.errors import Reason
from exporter.identity import RawIdentity
from exporter.model import PoolState, Tracking
from tests.fakes import ManualClock
from tests.unit.collect.listed_pools import POOL_ID, settings
from tests.unit.collect.store.test_pool_store import description, sweep

HOUR = 3600.0


class LoggedPool:
    """Store of a pool, and the lines that it logs."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = PoolStore(settings(max_staleness=3 * HOUR), RawIdentity(), self.clock)

    def fail(self, reason: Reason = Reason.TIMEOUT) -> None:
        self.store.sweep_started()
        self.store.sweep_failed(reason)

    def logged(self, method: str, **arguments: object) -> dict[str, object]:
        """Call a method of the store and return the line that it logs."""
        with capture_logs() as logs:
            getattr(self.store, method)(**arguments)
        (line,) = logs
        assert (line.pop("event"), line.pop("log_level"), line.pop("user_pool_id")) == (
            "pool state", "debug", POOL_ID,
        )  # fmt: skip
        return dict(line)


@pytest.fixture
def pool() -> LoggedPool:
    return LoggedPool()


def test_sweep_start_logs_the_current_state(pool: LoggedPool) -> None:
    assert pool.logged("sweep_started") == {
        "state": "unread",
        "explanation": "the pool has not responded yet; no sweep has completed and nothing was restored, "
        "no data is shown",
    }
    pool.store.described(description())
    assert "the pool responds; no sweep" in str(pool.logged("sweep_started")["explanation"])


def test_completed_sweep_is_ok(pool: LoggedPool) -> None:
    sweep(pool.store, ann=1)
    pool.store.sweep_started()
    assert pool.logged("sweep_completed", every_user_read=True) == {
        "state": "ok",
        "explanation": "the last completed sweep read every user",
    }


def test_unreadable_users_are_counted(pool: LoggedPool) -> None:
    sweep(pool.store, ann=1, bob=1)
    pool.store.sweep_started()
    pool.store.put(b"ann", ())
    pool.store.mark_unreadable(b"bob")
    line = pool.logged("sweep_completed", every_user_read=False)
    assert line["explanation"] == "every user was processed; 1 could not be read and keep their last values"


def test_failure_says_how_long_data_is_shown(pool: LoggedPool) -> None:
    sweep(pool.store, ann=1)
    pool.fail()
    pool.clock.advance(2 * HOUR + 60)
    pool.store.sweep_started()
    assert pool.logged("sweep_failed", reason=Reason.TIMEOUT) == {
        "state": "failing",
        "reason": "timeout",
        "explanation": "the last sweep failed; no response for 2h1m, max_staleness 3h: data still shown",
    }


def test_failure_says_when_data_is_withdrawn(pool: LoggedPool) -> None:
    sweep(pool.store, ann=1)
    pool.fail()
    pool.clock.advance(3 * HOUR)
    pool.store.sweep_started()
    line = pool.logged("sweep_failed", reason=Reason.DENIED)
    assert line == {
        "state": "denied",
        "reason": "denied",
        "explanation": "IAM denied a request of the last sweep; no response for 3h, max_staleness 3h: data withdrawn",
    }


def test_failure_of_unread_pool_has_no_data_to_withdraw(pool: LoggedPool) -> None:
    pool.store.sweep_started()
    line = pool.logged("sweep_failed", reason=Reason.THROTTLED)
    assert line["explanation"] == "the last sweep failed; no sweep has completed yet, no data to show"


def test_missing_pool_is_explained(pool: LoggedPool) -> None:
    sweep(pool.store, ann=1)
    pool.store.sweep_started()
    line = pool.logged("pool_missing")
    assert (line["state"], line["reason"]) == ("missing", "not_found")
    assert "deleted" in str(line["explanation"])


def test_tracking_turned_off_is_reported_immediately(pool: LoggedPool) -> None:
    sweep(pool.store, ann=1)
    pool.store.sweep_started()
    line = pool.logged("described", description=description(Tracking.OFF))
    assert line["state"] == "tracking_off"


def test_restored_state_is_explained(pool: LoggedPool) -> None:
    sweep(pool.store, ann=1)
    handed = pool.store.hand_over()
    pool.store = PoolStore(settings(max_staleness=3 * HOUR), RawIdentity(), pool.clock)
    assert pool.logged("restore", restored=handed)["state"] == "ok"


def test_every_state_has_an_explanation(pool: LoggedPool) -> None:
    sweep(pool.store)
    view = pool.store.view()
    explanations = {explanation(replace(view, state=state), read_once=True, silent=None) for state in PoolState}
    assert len(explanations) == len(PoolState)
