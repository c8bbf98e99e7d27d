"""`plan` compared with the sweep that follows, both over HTTP with the emulator."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from exporter.emulator import Emulator, Fault, Rule
from exporter.emulator.seed import DeviceMix
from exporter.model import Tracking
from exporter.shard import Shard
from tests.harness import ACCOUNT, config, identity_key, pool, serving
from tests.integration.command_line import CommandLine
from tests.unit.commands.plan.schema import schema


def planned(text: str, run: CommandLine, *flags: str, code: int = 0) -> Any:
    """Return the forecast; `code` is the expected exit code."""
    result = run(text, "plan", "--format=json", *flags)
    assert (result.code, result.err) == (code, "")
    found = json.loads(result.out)
    jsonschema.validate(found, schema())
    return found


def calls(emulator: Emulator, pool_id: str) -> dict[str, int]:
    return dict(Counter(request.operation for request in emulator.requests() if request.pool_id == pool_id))


def test_forecast_calls_equal_those_of_the_sweep(emulator: Emulator, run: CommandLine, tmp_path: Path) -> None:
    large = emulator.seed_pool("large", users=130, federated_share=0.5)
    off = emulator.seed_pool("off", users=30, tracking=Tracking.OFF)
    named = emulator.seed_pool("names", users=["alice", "bob", "carol"])
    entries = (large, off, pool(named, users={"usernames": ["alice", "carol"]}))
    text = config(emulator.url, *entries, refresh_interval="1h")
    found = planned(text, run)
    emulator.clear_requests()
    with serving(text, tmp_path, emulator.url) as exporter:
        exporter.after_first_sweep(large, off, named)
    forecast = {one["user_pool_id"]: one["calls"] for one in found["pools"]}
    assert forecast == {pool_id: calls(emulator, pool_id) for pool_id in (large, off, named)}


def test_forecast_calls_equal_those_of_a_shard(emulator: Emulator, run: CommandLine, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("shared", users=200)
    text = config(emulator.url, pool_id, refresh_interval="1h")
    found = planned(text, run, "--shard=1/3")
    emulator.clear_requests()
    with serving(text, tmp_path, emulator.url, shard=Shard(1, 3)) as exporter:
        exporter.after_first_sweep(pool_id)
    assert found["pools"][0]["calls"] == calls(emulator, pool_id)


def test_large_pool_is_estimated_or_counted_with_exact(emulator: Emulator, run: CommandLine) -> None:
    pool_id = emulator.seed_pool("large", users=1500, federated_share=0.1)
    truth = emulator.truth(pool_id)
    text = config(emulator.url, pool_id, refresh_interval="1h")
    (forecast,) = planned(text, run)["pools"]
    sent = calls(emulator, pool_id)
    assert sent["ListUsers"] == 10
    assert sent["AdminListDevices"] <= 20
    assert (forecast["users_basis"], forecast["users"]) == ("estimated", pytest.approx(1350, rel=0.05))
    (forecast,) = planned(text, run, "--exact")["pools"]
    assert (forecast["users_basis"], forecast["users"]) == ("counted", 1500 - len(truth.federated))
    assert forecast["calls"]["ListUsers"] == 25


def test_series_equal_those_of_the_page_if_all_are_sampled(
    emulator: Emulator, run: CommandLine, tmp_path: Path
) -> None:
    mix = DeviceMix(unauthenticated_share=0.2, undated_share=0.2)
    pool_id = emulator.seed_pool("small", users=40, devices=mix)
    text = config(
        emulator.url, pool_id, refresh_interval="1h", detail="device", identity_key_file=identity_key(tmp_path)
    )
    found = planned(text, run, "--sample=40")
    with serving(text, tmp_path, emulator.url) as exporter:
        page = exporter.after_first_sweep(pool_id)
    series = [sample for family in page.families.values() for sample in family.samples if "user" in sample.labels]
    assert found["total"]["series"] == len(series)


def test_forecast_that_does_not_hold_exits_3(emulator: Emulator, run: CommandLine, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("small", users=100)
    slow = config(emulator.url, pool_id, refresh_interval="10s", rate={"UserResourceRead": 8, "UserList": 100})
    found = planned(slow, run, "--sample=1", code=3)
    assert not found["pools"][0]["keeps_interval"]
    (late,) = [one for one in found["categories"] if not one["suffices"]]
    assert late["category"] == "UserResourceRead"
    better = slow.replace("UserResourceRead: 8", f"UserResourceRead: {late['needed_rate'] + 0.001}")
    assert planned(better, run, "--sample=1")["holds"]
    key = identity_key(tmp_path)
    narrow = config(emulator.url, pool_id, refresh_interval="1h", series=50, detail="user", identity_key_file=key)
    found = planned(narrow, run, code=3)
    assert found["pools"][0]["keeps_interval"]
    assert found["total"]["series"] > found["total"]["series_limit"]


def test_share_is_of_the_quota_that_aws_returns(emulator: Emulator, run: CommandLine) -> None:
    pool_id = emulator.seed_pool("small", users=10)
    emulator.faults.quotas = {"UserResourceRead": 400}  # type: ignore[dict-item] # equal to its Category
    found = planned(config(emulator.url, pool_id, rate={"UserResourceRead": "10%"}), run)
    (reads,) = [one for one in found["categories"] if one["category"] == "UserResourceRead"]
    assert (reads["rate"], reads["quota"], reads["quota_provisioned"]) == (40, 400, True)


def test_failed_pool_does_not_affect_others(emulator: Emulator, run: CommandLine) -> None:
    pool_ids = [emulator.seed_pool(name, users=10) for name in ("one", "two")]
    emulator.faults.rules = (Rule(Fault.DENIED, "ListUsers", pool_ids[0]),)
    text = config(emulator.url, *pool_ids, "eu-west-1_NoSuchOne")
    found = planned(text, run, code=1)
    assert [one["user_pool_id"] for one in found["pools"]] == [pool_ids[1]]
    assert found["failed"] == [
        {"user_pool_id": pool_ids[0], "reason": "denied", "error": "ListUsers: AccessDeniedException"},
        {
            "user_pool_id": "eu-west-1_NoSuchOne",
            "reason": "not_found",
            "error": "DescribeUserPool: ResourceNotFoundException",
        },
    ]


def test_table_lists_failed_pools_with_a_hint(emulator: Emulator, run: CommandLine) -> None:
    denied = emulator.seed_pool("one", users=10)
    emulator.faults.rules = (Rule(Fault.DENIED, "ListUsers", denied),)
    missing = "eu-west-1_NoSuchOne"
    result = run(config(emulator.url, denied, missing), "plan")
    errors = {denied: "ListUsers: AccessDeniedException", missing: "DescribeUserPool: ResourceNotFoundException"}
    assert result.code == 1
    hint = "run check-config --aws for details"
    assert all(f"{pool_id}: could not be read: {error}; {hint}\n" in result.out for pool_id, error in errors.items())
    finding = f"{missing}: user pool does not exist in Region eu-west-1 of account {ACCOUNT}"
    assert finding in run.run("check-config", str(run.file), "--aws").err.splitlines()


def test_table_has_the_same_content(emulator: Emulator, run: CommandLine) -> None:
    pool_id = emulator.seed_pool("small", users=100)
    text = config(emulator.url, pool_id, refresh_interval="10s", rate={"UserResourceRead": 8, "UserList": 100})
    result = run(text, "plan")
    assert result.code == 3
    (row,) = [line for line in result.out.splitlines() if line.startswith(pool_id)]
    assert row.split()[:6] == [pool_id, "100", "103", "13s", "10s", "NO"]
    assert "UserResourceRead of 10.2 is needed to keep every interval, 20% of the quota" in result.out
