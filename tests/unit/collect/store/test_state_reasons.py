"""Every state of a pool, and the words for it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from exporter.collect.store.pool_store import PoolStore
from exporter.collect.store.state_reasons import because
from exporter.errors import Reason
from exporter.identity import RawIdentity
from exporter.model import PoolState, Tracking
from tests.fakes import ManualClock
from tests.unit.collect.listed_pools import POOL_ID, settings
from tests.unit.collect.store.test_pool_store import description, sweep

HOUR = 3600.0


class Told:
    """A pool, and what the log says of it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = PoolStore(settings(max_staleness=3 * HOUR), RawIdentity(), self.clock)

    def fails(self, reason: Reason = Reason.TIMEOUT) -> None:
        self.store.sweep_started()
        self.store.sweep_failed(reason)

    def ends_with(self, happening: str, **what: object) -> dict[str, object]:
        """The last line that is written of an end."""
        with capture_logs() as logs:
            getattr(self.store, happening)(**what)
        (line,) = logs
        assert (line.pop("event"), line.pop("log_level"), line.pop("user_pool_id")) == (
            "state of the pool", "debug", POOL_ID,
        )  # fmt: skip
        return dict(line)


@pytest.fixture
def told() -> Told:
    return Told()


def test_a_sweep_that_begins_says_how_the_pool_stood(told: Told) -> None:
    assert told.ends_with("sweep_started") == {
        "state": "unread",
        "because": "the pool does not answer yet; no sweep has come to its end and nothing was restored, "
        "so no data is shown",
    }
    told.store.described(description())
    assert "the pool answers; no sweep" in str(told.ends_with("sweep_started")["because"])


def test_a_pool_that_was_read_is_ok(told: Told) -> None:
    sweep(told.store, ann=1)
    told.store.sweep_started()
    assert told.ends_with("sweep_completed", every_user_read=True) == {
        "state": "ok",
        "because": "the last sweep to end has read every user",
    }


def test_users_that_could_not_be_read_are_counted(told: Told) -> None:
    sweep(told.store, ann=1, bob=1)
    told.store.sweep_started()
    told.store.put(b"ann", ())
    told.store.mark_unreadable(b"bob")
    line = told.ends_with("sweep_completed", every_user_read=False)
    assert line["because"] == "every user was asked; 1 could not be read and keep their last values"


def test_a_failure_says_for_how_long_its_data_is_shown(told: Told) -> None:
    sweep(told.store, ann=1)
    told.fails()
    told.clock.advance(2 * HOUR + 60)
    told.store.sweep_started()
    assert told.ends_with("sweep_failed", reason=Reason.TIMEOUT) == {
        "state": "failing",
        "reason": "timeout",
        "because": "the last sweep did not come to its end; no answer for 2h1m, max_staleness 3h: data still shown",
    }


def test_a_failure_says_when_its_data_is_withdrawn(told: Told) -> None:
    sweep(told.store, ann=1)
    told.fails()
    told.clock.advance(3 * HOUR)
    told.store.sweep_started()
    line = told.ends_with("sweep_failed", reason=Reason.DENIED)
    assert line == {
        "state": "denied",
        "reason": "denied",
        "because": "IAM does not allow what the last sweep asked for; no answer for 3h, max_staleness 3h: "
        "data withdrawn",
    }


def test_a_pool_that_was_never_read_has_no_data_to_withdraw(told: Told) -> None:
    told.store.sweep_started()
    line = told.ends_with("sweep_failed", reason=Reason.THROTTLED)
    assert line["because"] == "the last sweep did not come to its end; no sweep ever has, so there is no data to show"


def test_a_missing_pool_is_forgotten(told: Told) -> None:
    sweep(told.store, ann=1)
    told.store.sweep_started()
    line = told.ends_with("pool_missing")
    assert (line["state"], line["reason"]) == ("missing", "not_found")
    assert "forgotten" in str(line["because"])


def test_tracking_turned_off_is_reported_immediately(told: Told) -> None:
    sweep(told.store, ann=1)
    told.store.sweep_started()
    line = told.ends_with("described", description=description(Tracking.OFF))
    assert line["state"] == "tracking_off"


def test_what_was_restored_is_told(told: Told) -> None:
    sweep(told.store, ann=1)
    handed = told.store.hand_over()
    told.store = PoolStore(settings(max_staleness=3 * HOUR), RawIdentity(), told.clock)
    assert told.ends_with("restore", restored=handed)["state"] == "ok"


def test_every_state_has_words(told: Told) -> None:
    sweep(told.store)
    view = told.store.view()
    words = {because(replace(view, state=state), read_once=True, silent=None) for state in PoolState}
    assert len(words) == len(PoolState)
