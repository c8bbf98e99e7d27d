"""Pools that cannot be read: page, log, and no effect on other pools."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.emulator import Emulator, Fault, Rule
from exporter.model import Tracking
from tests.harness import ACCOUNT, FAST_RETRIES, Log, Page, config, serving, wait_until
from tests.truth import assert_correct

UNKNOWN = "eu-west-1_NoSuchOne"

DATA = {
    "cognito_user_pool_users",
    "cognito_user_pool_devices",
    "cognito_user_pool_devices_by_date_source",
    "cognito_user_pool_stale_devices",
    "cognito_user_pool_device_last_authentication_age_seconds_bucket",
    "cognito_user_pool_devices_per_user_bucket",
    "cognito_user_pool_oldest_device_authentication_timestamp_seconds",
    "cognito_user_pool_newest_device_authentication_timestamp_seconds",
    "cognito_exporter_oldest_observation_timestamp_seconds",
}
"""Metrics of every pool that was read."""


def seeded(emulator: Emulator, *names: str) -> list[str]:
    return [emulator.seed_pool(name, users=40) for name in names]


def sweep_failures(page: Page, pool_id: str) -> dict[str, float]:
    return page.failures("cognito_exporter_sweep_failures_total", user_pool_id=pool_id)


def request_failures(page: Page, operation: str) -> dict[str, float]:
    return page.failures("cognito_exporter_aws_request_failures_total", aws_account_id=ACCOUNT, operation=operation)


def test_unknown_pool_is_missing_and_others_are_unaffected(emulator: Emulator, tmp_path: Path, log: Log) -> None:
    (known,) = seeded(emulator, "known")
    with serving(config(emulator.url, UNKNOWN, known), tmp_path, emulator.url) as exporter:
        page = exporter.after_first_sweep(UNKNOWN, known)
        assert exporter.is_ready()
    assert page.state(UNKNOWN) == "missing"
    assert page.value("cognito_user_pool_up", user_pool_id=UNKNOWN) == 0
    assert not page.about(UNKNOWN) & {*DATA, "cognito_user_pool_info"}
    assert sweep_failures(page, UNKNOWN) == {"not_found": 1}
    assert request_failures(page, "DescribeUserPool") == {"not_found": 1}
    (line,) = log.events("sweep finished", user_pool_id=UNKNOWN)
    assert (line["level"], line["state"], line["reason"]) == ("warn", "missing", "not_found")
    assert line["error"] == "DescribeUserPool: ResourceNotFoundException"
    assert_correct(page, known, emulator.truth(known))


@pytest.mark.parametrize("operation", ["DescribeUserPool", "ListUsers", "AdminListDevices"])
def test_denied_pool_does_not_affect_others(emulator: Emulator, tmp_path: Path, log: Log, operation: str) -> None:
    denied, *others = seeded(emulator, "denied", "one", "two")
    emulator.faults.rules = (Rule(Fault.DENIED, operation, denied),)
    with serving(config(emulator.url, denied, *others), tmp_path, emulator.url) as exporter:
        page = exporter.after_first_sweep(denied, *others)
        assert exporter.is_ready()
    assert page.state(denied) == "denied"
    assert page.value("cognito_user_pool_up", user_pool_id=denied) == 0
    assert not page.about(denied) & DATA
    assert ("cognito_user_pool_info" in page.about(denied)) is (operation != "DescribeUserPool")
    assert sweep_failures(page, denied) == {"denied": 1}
    assert set(request_failures(page, operation)) == {"denied"}
    (line,) = log.events("sweep finished", user_pool_id=denied)
    assert (line["level"], line["state"], line["reason"]) == ("warn", "denied", "denied")
    assert line["error"] == f"{operation}: AccessDeniedException"
    for pool_id in others:
        assert page.state(pool_id) == "ok"
        assert sweep_failures(page, pool_id) == {}
        assert_correct(page, pool_id, emulator.truth(pool_id))


def test_pool_without_tracking_differs_from_one_without_devices(emulator: Emulator, tmp_path: Path, log: Log) -> None:
    off = emulator.seed_pool("off", users=40, tracking=Tracking.OFF)
    without = emulator.seed_pool("without", users=[])
    with serving(config(emulator.url, off, without), tmp_path, emulator.url) as exporter:
        page = exporter.after_first_sweep(off, without)
    assert page.state(off) == "tracking_off"
    assert page.value("cognito_user_pool_up", user_pool_id=off) == 1
    assert page.series("cognito_user_pool_info", "device_tracking", user_pool_id=off) == {"off": 1}
    assert page.value("cognito_user_pool_estimated_users", user_pool_id=off) == 40
    assert not page.about(off) & DATA
    assert sweep_failures(page, off) == {}
    assert page.value("cognito_exporter_last_sweep_success_timestamp_seconds", user_pool_id=off) is not None
    assert {request.operation for request in emulator.requests() if request.pool_id == off} == {"DescribeUserPool"}
    (line,) = log.events("sweep finished", user_pool_id=off)
    assert (line["level"], line["state"], line["calls"]) == ("info", "tracking_off", 1)
    assert page.state(without) == "ok"
    assert page.series("cognito_user_pool_devices", "remembered_status", user_pool_id=without) == {
        "remembered": 0,
        "not_remembered": 0,
        "unknown": 0,
    }


def test_deleted_pool_loses_its_data(emulator: Emulator, tmp_path: Path, log: Log) -> None:
    doomed, other = seeded(emulator, "doomed", "other")
    text = config(emulator.url, doomed, other, refresh_interval="1s")
    with serving(text, tmp_path, emulator.url, retry_policy=FAST_RETRIES) as exporter:
        assert_correct(exporter.after_first_sweep(doomed), doomed, emulator.truth(doomed))
        emulator.call("DeleteUserPool", {"UserPoolId": doomed})
        assert wait_until(lambda: exporter.state(doomed) == "missing")
        page = exporter.after_sweep(other)
    assert page.value("cognito_user_pool_up", user_pool_id=doomed) == 0
    assert not page.about(doomed) & DATA
    assert set(sweep_failures(page, doomed)) == {"not_found"}
    assert log.events("sweep finished", user_pool_id=doomed, state="missing", reason="not_found")
    assert page.state(other) == "ok"
    assert_correct(page, other, emulator.truth(other))


def test_tracking_turned_off_removes_the_data(emulator: Emulator, tmp_path: Path) -> None:
    (pool_id,) = seeded(emulator, "pool")
    with serving(config(emulator.url, pool_id, refresh_interval="1s"), tmp_path, emulator.url) as exporter:
        assert exporter.after_first_sweep(pool_id).about(pool_id) >= DATA
        emulator.call("UpdateUserPool", {"UserPoolId": pool_id})
        assert wait_until(lambda: exporter.state(pool_id) == "tracking_off")
        page = exporter.scrape()
    assert not page.about(pool_id) & DATA
    assert sweep_failures(page, pool_id) == {}
    assert page.value("cognito_user_pool_up", user_pool_id=pool_id) == 1


def test_late_responses_of_a_failed_sweep_do_not_heal_the_pool(emulator: Emulator, tmp_path: Path) -> None:
    (pool_id,) = seeded(emulator, "pool")
    emulator.faults.latency = {"AdminListDevices": 0.3}
    emulator.faults.rules = (Rule(Fault.DENIED, "AdminListDevices", pool_id, share=0.2),)
    with serving(config(emulator.url, pool_id), tmp_path, emulator.url) as exporter:
        exporter.after_first_sweep(pool_id)
        assert wait_until(lambda: requests_made(exporter.scrape()) == asked(emulator))
        page = exporter.scrape()
    assert request_failures(page, "AdminListDevices")["denied"] < asked(emulator)
    assert page.state(pool_id) == "denied"
    assert page.value("cognito_user_pool_up", user_pool_id=pool_id) == 0
    assert not page.about(pool_id) & DATA


def asked(emulator: Emulator) -> int:
    return sum(request.operation == "AdminListDevices" for request in emulator.requests())


def requests_made(page: Page) -> float | None:
    return page.value(
        "cognito_exporter_aws_requests_total",
        aws_account_id=ACCOUNT,
        aws_region="eu-west-1",
        operation="AdminListDevices",
    )
