"""Freshness of the page, and every state of a pool, over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exporter.emulator import Emulator, Fault, Rule
from exporter.model import PoolState
from tests.fakes import OffsetClock
from tests.harness import FAST_RETRIES, Exporter, Page, config, serving, wait_until
from tests.integration.test_exporter_bad_pools import DATA
from tests.truth import assert_correct

TRACKED = {"DeviceConfiguration": {"ChallengeRequiredOnNewDevice": True, "DeviceOnlyRememberedOnUserPrompt": False}}
OLDEST = "cognito_exporter_oldest_observation_timestamp_seconds"
UP: dict[str, set[float]] = {
    "missing": {0},
    "denied": {0},
    "failing": {0},
    "tracking_off": {1},
    "unread": {0, 1},  # 0 before the first contact
    "ok": {1},
}


def state_of(page: Page, pool_id: str) -> str:
    """Return the state of a pool; assert that every state has a series and `up` agrees."""
    states = page.series("cognito_user_pool_state", "state", user_pool_id=pool_id)
    assert set(states) == {state.value for state in PoolState}
    state = page.state(pool_id)
    assert page.value("cognito_user_pool_up", user_pool_id=pool_id) in UP[state]
    return state


def reaches(exporter: Exporter, pool_id: str, state: str) -> Page:
    assert wait_until(lambda: state_of(exporter.scrape(), pool_id) == state), exporter.state(pool_id)
    return exporter.scrape()


def denied(emulator: Emulator, pool_id: str) -> Callable[[], None]:
    emulator.faults.rules = (Rule(Fault.DENIED, pool_id=pool_id),)
    return lambda: setattr(emulator.faults, "rules", ())


def failing(emulator: Emulator, pool_id: str) -> Callable[[], None]:
    emulator.faults.rules = (Rule(Fault.SERVER_ERROR, pool_id=pool_id),)
    return lambda: setattr(emulator.faults, "rules", ())


def tracking_off(emulator: Emulator, pool_id: str) -> Callable[[], None]:
    def update(**settings: Any) -> None:
        emulator.call("UpdateUserPool", {"UserPoolId": pool_id, **settings})

    update()
    return lambda: update(**TRACKED)


@pytest.mark.parametrize(
    ("trouble", "state", "keeps"),
    [(denied, "denied", True), (failing, "failing", True), (tracking_off, "tracking_off", False)],
    ids=["denied", "failing", "tracking_off"],
)
def test_pool_state_reports_a_problem_and_recovers(
    emulator: Emulator,
    tmp_path: Path,
    trouble: Callable[[Emulator, str], Callable[[], None]],
    state: str,
    keeps: bool,
) -> None:
    pool_id = emulator.seed_pool("pool", users=30)
    with serving(
        config(emulator.url, pool_id, refresh_interval="1s"), tmp_path, emulator.url, retry_policy=FAST_RETRIES
    ) as exporter:
        reaches(exporter, pool_id, "ok")
        over = trouble(emulator, pool_id)
        page = reaches(exporter, pool_id, state)
        assert bool(page.about(pool_id) & DATA) is keeps
        if keeps:
            assert_correct(page, pool_id, emulator.truth(pool_id))
        over()
        page = reaches(exporter, pool_id, "ok")
        assert_correct(exporter.after_sweep(pool_id), pool_id, emulator.truth(pool_id))


def test_pool_is_unread_until_its_first_sweep_ends(emulator: Emulator, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("pool", users=60)
    text = config(emulator.url, pool_id, rate={"UserResourceRead": 20})
    with serving(text, tmp_path, emulator.url) as exporter:
        assert state_of(exporter.scrape(), pool_id) == "unread"
        assert wait_until(lambda: "cognito_user_pool_info" in exporter.scrape().about(pool_id))
        page = exporter.scrape()
        assert (page.state(pool_id), page.value("cognito_user_pool_up", user_pool_id=pool_id)) == ("unread", 1)
        assert not page.about(pool_id) & DATA
        page = reaches(exporter, pool_id, "ok")
        assert_correct(page, pool_id, emulator.truth(pool_id))


def test_missing_pool_is_replaced_by_a_reload(emulator: Emulator, tmp_path: Path) -> None:
    """Pool ids are never reused, so only a changed configuration helps."""
    wrong, right = "eu-west-1_NoSuchOne", emulator.seed_pool("pool", users=10)
    (tmp_path / "config.yaml").write_text(config(emulator.url, right))
    with serving(config(emulator.url, wrong), tmp_path, emulator.url, reload_interval=0.1) as exporter:
        page = reaches(exporter, wrong, "missing")
        assert not page.about(wrong) & DATA
        (tmp_path / "config.yaml").write_text(config(emulator.url, right) + "# fixed\n")
        assert wait_until(lambda: bool(exporter.scrape().about(right)))
        assert_correct(reaches(exporter, right, "ok"), right, emulator.truth(right))
        assert exporter.scrape().about(wrong) == set()


def test_first_state_in_the_list_takes_precedence(emulator: Emulator, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("pool", users=10)
    with serving(
        config(emulator.url, pool_id, refresh_interval="1s"), tmp_path, emulator.url, retry_policy=FAST_RETRIES
    ) as exporter:
        reaches(exporter, pool_id, "ok")
        over = failing(emulator, pool_id)
        tracking_off(emulator, pool_id)
        reaches(exporter, pool_id, "failing")
        denied(emulator, pool_id)
        reaches(exporter, pool_id, "denied")
        over()
        reaches(exporter, pool_id, "tracking_off")
        emulator.call("DeleteUserPool", {"UserPoolId": pool_id})
        reaches(exporter, pool_id, "missing")


def test_staleness_starts_at_the_first_failure(emulator: Emulator, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("pool", users=10)
    text = config(emulator.url, pool_id, refresh_interval="1s", max_staleness="3s")
    with serving(text, tmp_path, emulator.url, retry_policy=FAST_RETRIES) as exporter:
        reaches(exporter, pool_id, "ok")
        over = failing(emulator, pool_id)
        reaches(exporter, pool_id, "failing")
        began = time.monotonic()
        assert wait_until(lambda: not exporter.scrape().about(pool_id) & DATA)
        assert 1.5 < time.monotonic() - began < 6
        failures = exporter.scrape().failures("cognito_exporter_sweep_failures_total", user_pool_id=pool_id)
        assert failures["server_error"] >= 2, "a further failure does not restart the time"
        over()
        page = reaches(exporter, pool_id, "ok")
        assert page.about(pool_id) >= DATA
        began = time.monotonic()
        failing(emulator, pool_id)
        reaches(exporter, pool_id, "failing")
        assert exporter.scrape().about(pool_id) >= DATA, "the time starts again"


def test_pool_read_repeatedly_never_becomes_stale(emulator: Emulator, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("pool", users=10)
    text = config(emulator.url, pool_id, refresh_interval="1h", max_staleness="1s")
    clock = OffsetClock()
    with serving(text, tmp_path, emulator.url, clock=clock) as exporter:
        reaches(exporter, pool_id, "ok")
        for _ in range(5):
            clock.advance(2)
            assert exporter.scrape().about(pool_id) >= DATA


def test_oldest_observation_is_of_the_least_recently_read(emulator: Emulator, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("pool", users=60)
    text = config(emulator.url, pool_id, refresh_interval="1s", rate={"UserResourceRead": 20})
    with serving(text, tmp_path, emulator.url) as exporter:
        began = time.time()
        first = exporter.after_first_sweep(pool_id)
        oldest = first.value(OLDEST, user_pool_id=pool_id) or 0
        assert began - 1 <= oldest <= began + 2, "the first user was read at the beginning of a sweep of three seconds"
        assert time.time() - oldest > 2
        assert wait_until(lambda: (exporter.value(OLDEST, user_pool_id=pool_id) or 0) > oldest)
        page = exporter.scrape()
        assert (page.value(OLDEST, user_pool_id=pool_id) or 0) < time.time()
