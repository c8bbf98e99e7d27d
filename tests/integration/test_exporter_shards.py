"""Two processes that share a pool and its rate."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from exporter.aws.api import Category
from exporter.emulator import Emulator, Fault, Rule
from exporter.shard import Shard
from tests.harness import Exporter, Log, Page, config, serving, wait_until
from tests.truth import activity_by_device, counts, native_users

RATE = "cognito_exporter_rate_limit_configured_requests_per_second"


def shards(stack: ExitStack, text: str, directory: Path, url: str, count: int) -> list[Exporter]:
    return [stack.enter_context(serving(text, directory, url, shard=Shard(ordinal, count))) for ordinal in range(count)]


def labels(page: Page) -> set[tuple[str, str]]:
    return set(page.series("cognito_device_last_authentication_timestamp_seconds", "user", "device_key"))


def test_shards_together_have_each_user_exactly_once(emulator: Emulator, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("pool", users=300, federated_share=0.1)
    text = config(emulator.url, pool_id, detail="device", identity="raw", refresh_interval="1h")
    with ExitStack() as stack:
        pages = [one.after_first_sweep(pool_id) for one in shards(stack, text, tmp_path, emulator.url, 3)]
    truth = emulator.truth(pool_id)
    parts = [labels(page) for page in pages]
    assert sum(map(len, parts)) == len(set.union(*parts))
    assert set.union(*parts) == set(activity_by_device(truth))
    assert all(parts)
    assert sum(page.value("cognito_user_pool_users", user_pool_id=pool_id) or 0 for page in pages) == native_users(
        truth
    )
    by_status = [page.series("cognito_user_pool_devices", "remembered_status", user_pool_id=pool_id) for page in pages]
    assert {status: sum(one[status] for one in by_status) for status in by_status[0]} == counts(truth)
    assert [page.value("cognito_exporter_shards") for page in pages] == [3, 3, 3]
    assert [page.value("cognito_exporter_shard_ordinal") for page in pages] == [0, 1, 2]


def test_shards_divide_the_rate(emulator: Emulator, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("pool", users=1)
    text = config(emulator.url, pool_id, rate={"UserResourceRead": 30, "UserList": 6})
    with serving(text, tmp_path, emulator.url, shard=Shard(1, 3)) as exporter:
        page = exporter.scrape()
    assert set(page.series(RATE, "aws_region", category="UserResourceRead").values()) == {10}
    assert set(page.series(RATE, "aws_region", category="UserList").values()) == {2}


def quota(page: Page, name: str) -> dict[str, float]:
    return page.series(f"cognito_exporter_{name}", "category", aws_account_id="123456789012")


def test_share_follows_the_quota_of_aws(emulator: Emulator, tmp_path: Path) -> None:
    emulator.faults.quotas = {Category.USER_RESOURCE_READ: 400}
    pool_id = emulator.seed_pool("pool", users=5)
    text = config(emulator.url, pool_id, rate={"UserResourceRead": "25%"})
    with serving(text, tmp_path, emulator.url) as exporter:
        assert wait_until(lambda: quota(exporter.scrape(), "quota_provisioned").get("UserResourceRead") == 1)
        page = exporter.scrape()
    assert quota(page, "quota_requests_per_second")["UserResourceRead"] == 400
    assert quota(page, "rate_limit_configured_requests_per_second")["UserResourceRead"] == 100
    assert quota(page, "quota_provisioned")["UserList"] == 0
    assert sum(request.operation == "GetProvisionedLimit" for request in emulator.requests()) == 1


def test_share_uses_the_default_quota_without_permission(emulator: Emulator, tmp_path: Path, log: Log) -> None:
    emulator.faults.rules = (Rule(Fault.DENIED, operation="GetProvisionedLimit"),)
    pool_id = emulator.seed_pool("pool", users=5)
    text = config(emulator.url, pool_id, rate={"UserResourceRead": "20%"})
    with serving(text, tmp_path, emulator.url) as exporter:
        page = exporter.after_first_sweep(pool_id)
    assert quota(page, "rate_limit_configured_requests_per_second")["UserResourceRead"] == pytest.approx(10)
    assert quota(page, "quota_provisioned")["UserResourceRead"] == 0
    (line,) = log.events("cannot read provisioned quota; using the default quota")
    assert (line["category"], line["error"]) == ("UserResourceRead", "GetProvisionedLimit: AccessDeniedException")


LAST_SUCCESS = "cognito_exporter_last_sweep_success_timestamp_seconds"
VANISHED = "cognito_exporter_users_vanished_total"


def restored(log: Log) -> list[int]:
    """Return the number of users in each restore since the last call."""
    users = [line["users"] for line in log.events("pool restored from state file")]
    log.clear()
    return users


def test_users_of_other_shards_did_not_vanish_after_resharding(emulator: Emulator, tmp_path: Path, log: Log) -> None:
    pool_id = emulator.seed_pool("pool", users=80)
    names = emulator.truth(pool_id).users
    text = config(emulator.url, pool_id, refresh_interval="1h", skip_federated_users=False, state="state.db")
    for shard in (Shard(0, 1), Shard(1, 2), Shard(0, 2), Shard(0, 1)):
        ours = sum(map(shard.owns, names))
        with serving(text, tmp_path, emulator.url, shard=shard) as running:
            page = running.after_first_sweep(pool_id)
            assert page.value("cognito_user_pool_users", user_pool_id=pool_id) == ours
            assert page.value(VANISHED, user_pool_id=pool_id) == 0
        assert [line["users_vanished"] for line in log.events("sweep finished")] == [0]
        assert restored(log) == []
        with serving(text, tmp_path, emulator.url, shard=shard) as running:
            assert running.value("cognito_user_pool_users", user_pool_id=pool_id) == ours
        assert restored(log) == [ours]


def test_shard_does_not_restore_data_of_another_shard(emulator: Emulator, tmp_path: Path, log: Log) -> None:
    pool_id = emulator.seed_pool("pool", users=80)
    wanted: dict[str, Any] = {"refresh_interval": "1h", "skip_federated_users": False, "state": "state.db"}
    text = config(emulator.url, pool_id, **wanted)
    with serving(text, tmp_path, emulator.url) as running:
        success = running.after_first_sweep(pool_id).value(LAST_SUCCESS, user_pool_id=pool_id)
    assert restored(log) == []
    slow = config(emulator.url, pool_id, rate={"UserResourceRead": 0.5}, **wanted)
    with serving(slow, tmp_path, emulator.url, shard=Shard(1, 2)) as running:
        assert wait_until(lambda: running.value("cognito_user_pool_up", user_pool_id=pool_id) == 1)
        page = running.scrape()
        assert page.state(pool_id) == "unread"
        assert page.value(LAST_SUCCESS, user_pool_id=pool_id) is None
    assert restored(log) == []
    with serving(text, tmp_path, emulator.url) as running:
        page = running.scrape()
        assert page.value(LAST_SUCCESS, user_pool_id=pool_id) == success
        assert page.value("cognito_user_pool_users", user_pool_id=pool_id) == 80
    assert restored(log) == [80]
