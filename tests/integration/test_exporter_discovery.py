"""Pools found by rule: over real HTTP, against the emulator."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from exporter.emulator import Emulator, Fault, Paging, Rule
from tests.harness import ACCOUNT, FAST, FAST_RETRIES, Exporter, Log, Page, config, pool, serving, wait_until
from tests.truth import assert_correct

IRELAND, OREGON = "eu-west-1", "us-west-2"
UP, POOLS = "cognito_exporter_discovery_up", "cognito_exporter_discovery_pools"
FAILURES = "cognito_exporter_discovery_failures_total"
LAST_SUCCESS = "cognito_exporter_discovery_last_success_timestamp_seconds"


def seeded(emulator: Emulator, name: str, region: str = IRELAND, users: int = 3, **tags: str) -> str:
    pool_id = emulator.seed_pool(name, region, account_id=ACCOUNT, users=users)
    emulator.tag(pool_id, **tags)
    return pool_id


def rule(*regions: str, **settings: Any) -> dict[str, Any]:
    return {"regions": list(regions or (IRELAND,)), "interval": "1s", **settings}


def pools_of(page: Page) -> set[str]:
    return set(page.series("cognito_user_pool_up", "user_pool_id"))


def reads(exporter: Exporter, *pool_ids: str) -> bool:
    """Return True if the page has these pools and no others."""
    return pools_of(exporter.only("cognito_user_pool_up")) == set(pool_ids)


def forget(emulator: Emulator, pool_id: str, region: str = IRELAND) -> None:
    emulator.call("DeleteUserPool", {"UserPoolId": pool_id}, region=region, account_id=ACCOUNT)


def asked(emulator: Emulator, operation: str) -> list[str | None]:
    """The pools of which an operation was asked, in order."""
    return [request.pool_id for request in emulator.requests() if request.operation == operation]


def test_rule_reads_pools_with_matching_name_and_tags(emulator: Emulator, tmp_path: Path) -> None:
    ours = seeded(emulator, "prod-shop", team="identity", stage="prod")
    far = seeded(emulator, "prod-bank", OREGON, team="identity")
    others = seeded(emulator, "prod-news", team="press")
    seeded(emulator, "test-shop", team="identity")
    seeded(emulator, "prod-away", "eu-north-1", team="identity")
    text = config(emulator.url, discovery=[rule(IRELAND, OREGON, name="^prod-", tags={"team": "identity"})])
    with serving(text, tmp_path, emulator.url) as running:
        assert wait_until(lambda: reads(running, ours, far))
        page = running.after_first_sweep(ours, far)
        assert wait_until(running.is_ready)
        for pool_id in (ours, far):
            assert_correct(page, pool_id, emulator.truth(pool_id))
        page = running.scrape()
        told = json.loads(running.get("/api/v1/status").body)["discovery"]
    assert [(place["index"], place["aws_region"], place["pools"]) for place in told] == [
        (0, IRELAND, 1),
        (0, OREGON, 1),
    ]
    assert page.series(UP, "rule", "aws_region") == {("0", IRELAND): 1, ("0", OREGON): 1}
    assert page.series(POOLS, "rule", "aws_region") == {("0", IRELAND): 1, ("0", OREGON): 1}
    assert set(page.series(FAILURES, "reason").values()) == {0}
    assert set(page.series(LAST_SUCCESS, "aws_region")) == {IRELAND, OREGON}
    assert set(asked(emulator, "ListTagsForResource")) == {ours, far, others}, "only pools whose name fits"


def test_listing_with_many_and_empty_pages_finds_all_pools(emulator: Emulator, tmp_path: Path) -> None:
    emulator.faults.paging = {"ListUserPools": Paging(longest=2, blank_pages=True)}
    found = {seeded(emulator, f"pool-{number}", users=0) for number in range(7)}
    with serving(config(emulator.url, discovery=[rule()]), tmp_path, emulator.url) as running:
        assert wait_until(lambda: reads(running, *found))


def test_new_pools_are_added_and_deleted_pools_removed(emulator: Emulator, tmp_path: Path) -> None:
    first = seeded(emulator, "first")
    text = config(emulator.url, discovery=[rule()], refresh_interval="1h")
    with serving(text, tmp_path, emulator.url) as running:
        assert wait_until(lambda: reads(running, first))
        running.after_first_sweep(first)
        second = seeded(emulator, "second")
        assert wait_until(lambda: reads(running, first, second))
        page = running.after_first_sweep(second)
        assert running.sweeps(first) == 1, "the remaining pool was swept again"
        assert_correct(page, second, emulator.truth(second))
        forget(emulator, first)
        assert wait_until(lambda: reads(running, second))
        assert running.scrape().about(first) == set()
        assert running.value(POOLS, rule="0", aws_region=IRELAND) == 1


def test_pool_that_loses_its_tag_is_removed(emulator: Emulator, tmp_path: Path) -> None:
    ours = seeded(emulator, "shop", team="identity")
    other = seeded(emulator, "bank", team="identity")
    with serving(config(emulator.url, discovery=[rule(tags={"team": "identity"})]), tmp_path, emulator.url) as running:
        assert wait_until(lambda: reads(running, ours, other))
        emulator.tag(other, team="press")
        assert wait_until(lambda: reads(running, ours))


def test_explicit_pool_precedes_rules_and_first_rule_applies(emulator: Emulator, tmp_path: Path) -> None:
    explicit, early, late = (seeded(emulator, name) for name in ("prod-explicit", "prod-early", "test-late"))
    (tmp_path / "identity.key").touch(mode=0o600)
    (tmp_path / "identity.key").write_text("the identity key of the tests")
    text = config(
        emulator.url,
        pool(explicit, refresh_interval="3h"),
        discovery=[rule(name="^prod-", refresh_interval="2h"), rule(refresh_interval="4h")],
        identity_key_file="identity.key",
    )
    with serving(text, tmp_path, emulator.url) as running:
        expected = {explicit: 3 * 3600, early: 2 * 3600, late: 4 * 3600}  # once both rules have run
        name = "cognito_exporter_refresh_interval_seconds"
        assert wait_until(lambda: running.scrape().series(name, "user_pool_id") == expected)
        page = running.scrape()
    assert page.series(POOLS, "rule") == {"0": 1, "1": 1}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(Fault.DENIED, "denied"), (Fault.THROTTLED, "throttled"), (Fault.SERVER_ERROR, "server_error")],
)
def test_failed_listing_is_exported_and_removes_no_pool(
    emulator: Emulator, tmp_path: Path, log: Log, fault: Fault, reason: str
) -> None:
    first = seeded(emulator, "first")
    with serving(
        config(emulator.url, discovery=[rule()]), tmp_path, emulator.url, retry_policy=FAST_RETRIES
    ) as running:
        assert wait_until(lambda: reads(running, first))
        emulator.faults.rules = (Rule(fault, operation="ListUserPools"),)
        assert wait_until(lambda: running.value(UP, rule="0", aws_region=IRELAND) == 0)
        page = running.scrape()
        assert (page.value(FAILURES, rule="0", aws_region=IRELAND, reason=reason) or 0) >= 1
        assert pools_of(page) == {first}
        assert page.value(LAST_SUCCESS, rule="0", aws_region=IRELAND)
        assert log.events("pool discovery incomplete; keeping previously discovered pools", reason=reason)


def test_unavailable_region_affects_neither_others_nor_readiness(emulator: Emulator, tmp_path: Path) -> None:
    ours = seeded(emulator, "shop")
    off = {"regions": [OREGON], "interval": "1s", "endpoint_url": "http://127.0.0.1:9"}
    text = config(emulator.url, discovery=[rule(), off])
    with serving(text, tmp_path, emulator.url, retry_policy=FAST_RETRIES) as running:
        assert wait_until(lambda: reads(running, ours))
        assert wait_until(running.is_ready)
        page = running.scrape()
    assert page.series(UP, "rule", "aws_region") == {("0", IRELAND): 1, ("1", OREGON): 0}
    assert (page.value(FAILURES, rule="1", aws_region=OREGON, reason="connection") or 0) >= 1
    assert page.value(LAST_SUCCESS, rule="1", aws_region=OREGON) is None


def test_not_ready_before_every_region_was_listed(emulator: Emulator, tmp_path: Path) -> None:
    seeded(emulator, "shop")
    emulator.faults.latency = {"ListUserPools": 1.0}
    with serving(config(emulator.url, discovery=[rule()]), tmp_path, emulator.url) as running:
        assert not running.is_ready()
        assert wait_until(running.is_ready)
        assert running.value(UP, rule="0", aws_region=IRELAND) == 1


def test_pool_with_unreadable_tags_stays_as_it_was(emulator: Emulator, tmp_path: Path) -> None:
    known = seeded(emulator, "known", team="identity")
    gone = seeded(emulator, "gone", team="identity")
    text = config(emulator.url, discovery=[rule(tags={"team": "identity"})])
    with serving(text, tmp_path, emulator.url, retry_policy=FAST_RETRIES) as running:
        assert wait_until(lambda: reads(running, known, gone))
        new = seeded(emulator, "new", users=0)
        emulator.faults.rules = tuple(
            Rule(Fault.DENIED, operation="ListTagsForResource", pool_id=pool_id) for pool_id in (known, new)
        )
        emulator.tag(new, team="identity")
        emulator.tag(gone, team="press")
        assert wait_until(lambda: reads(running, known)), "one denied pool does not hide what is known of the next"
        page = running.scrape()
        assert (page.value(UP, rule="0", aws_region=IRELAND), page.value(POOLS, rule="0", aws_region=IRELAND)) == (0, 1)
        assert (page.value(FAILURES, rule="0", aws_region=IRELAND, reason="denied") or 0) >= 1


def test_restart_restores_found_pools_and_keeps_unlisted_ones(emulator: Emulator, tmp_path: Path) -> None:
    ours = seeded(emulator, "shop", users=20)
    far = seeded(emulator, "bank", OREGON, users=20)
    text = config(
        emulator.url, discovery=[rule(IRELAND), rule(OREGON)], refresh_interval="1h", state=str(tmp_path / "state.db")
    )
    with serving(text, tmp_path, emulator.url) as running:
        assert wait_until(lambda: reads(running, ours, far))
        before = running.after_first_sweep(ours, far)
    off = text.replace(f"- regions:\n  - {OREGON}", f"- regions:\n  - {OREGON}\n  endpoint_url: http://127.0.0.1:9")
    assert off != text
    with serving(off, tmp_path, emulator.url, retry_policy=FAST_RETRIES) as running:
        assert wait_until(lambda: reads(running, ours))
        assert wait_until(lambda: bool(running.value(FAILURES, rule="1", aws_region=OREGON, reason="connection")))
    emulator.clear_requests()
    with serving(text, tmp_path, emulator.url) as running:
        assert wait_until(lambda: reads(running, ours, far))
        after = running.scrape()
        for pool_id in (ours, far):
            assert_correct(after, pool_id, emulator.truth(pool_id))
        assert after.value("cognito_exporter_sweeps_total", user_pool_id=far) == 0
        oldest = "cognito_exporter_oldest_observation_timestamp_seconds"
        assert after.value(oldest, user_pool_id=far) == before.value(oldest, user_pool_id=far)
    assert not asked(emulator, "AdminListDevices"), "users were read again"


def test_state_of_deleted_pool_is_erased_after_all_regions(emulator: Emulator, tmp_path: Path) -> None:
    ours, gone = (seeded(emulator, name, users=5) for name in ("shop", "bank"))
    text = config(emulator.url, discovery=[rule()], refresh_interval="1h", state=str(tmp_path / "state.db"))
    with serving(text, tmp_path, emulator.url) as running:
        assert wait_until(lambda: reads(running, ours, gone))
        running.after_first_sweep(ours, gone)
    emulator.tag(gone)
    with_name = text.replace("- regions", "- name: shop\n  regions")
    with serving(with_name, tmp_path, emulator.url) as running:
        assert wait_until(lambda: reads(running, ours))
    emulator.clear_requests()
    with serving(text, tmp_path, emulator.url) as running:
        assert wait_until(lambda: reads(running, ours, gone))
        running.after_first_sweep(gone)
    assert set(asked(emulator, "AdminListDevices")) == {gone}


def test_reload_of_a_rule_runs_it_at_once_and_only_it(emulator: Emulator, tmp_path: Path) -> None:
    prod, test = (seeded(emulator, name) for name in ("prod-shop", "test-shop"))
    far = seeded(emulator, "far", OREGON)
    rules = [rule(name="^prod-", interval="1h"), rule(OREGON, interval="1h")]
    changed = [rule(name="shop$", interval="1h"), rule(OREGON, interval="1h")]
    text, other = (
        config(emulator.url, discovery=these, refresh_interval="1h", rate=FAST) for these in (rules, changed)
    )
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with serving(text, tmp_path, emulator.url, reload_interval=0.2) as running:
        assert wait_until(lambda: reads(running, prod, far))
        running.after_first_sweep(prod, far)
        looks = len(asked(emulator, "ListUserPools"))
        file.write_text(other)
        assert wait_until(lambda: reads(running, prod, test, far))
        running.after_first_sweep(test)
        assert (running.sweeps(prod), running.sweeps(far)) == (1, 1), "who stays keeps data and schedule"
        assert len(asked(emulator, "ListUserPools")) == looks + 1
