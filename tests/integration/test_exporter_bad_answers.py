"""Bad responses: broken bodies, dropped connections, unusual pages, absent fields, users deleted during a sweep."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from exporter.emulator import Chain, DeviceMix, Emulator, Fault, Paging, PoolTruth, Rule
from tests.harness import FAST_RETRIES, STUBBORN, Log, Page, config, serving, wait_until
from tests.integration.test_exporter_bad_pools import DATA
from tests.truth import assert_correct

REASONS = {Fault.MALFORMED: "malformed", Fault.DROPPED: "connection", Fault.SERVER_ERROR: "server_error"}

MANY_DEVICES = DeviceMix(per_user={0: 1, 7: 1, 130: 1})
"""Some users fill several pages."""


def failures(page: Page, what: str, pool_id: str) -> dict[str, float]:
    return page.failures(f"cognito_exporter_{what}_failures_total", user_pool_id=pool_id)


def last_success(page: Page, pool_id: str) -> float | None:
    return page.value("cognito_exporter_last_sweep_success_timestamp_seconds", user_pool_id=pool_id)


@pytest.mark.parametrize("fault", REASONS, ids=lambda fault: fault.name)
def test_sweep_with_every_fifth_response_bad_is_correct(
    emulator: Emulator, tmp_path: Path, log: Log, fault: Fault
) -> None:
    pool_id = emulator.seed_pool("pool", users=80)
    emulator.faults.rules = (Rule(fault, pool_id=pool_id, share=0.2),)
    with serving(config(emulator.url, pool_id), tmp_path, emulator.url, retry_policy=STUBBORN) as exporter:
        page = exporter.after_first_sweep(pool_id)
    assert page.state(pool_id) == "ok"
    assert_correct(page, pool_id, emulator.truth(pool_id))
    assert failures(page, "sweep", pool_id) == failures(page, "user_read", pool_id) == {}
    assert last_success(page, pool_id) is not None
    struck = sum(request.code != "OK" for request in emulator.requests())
    counted = page.series("cognito_exporter_aws_request_failures_total", "operation", "reason")
    assert {reason for (_, reason), count in counted.items() if count} == {REASONS[fault]}
    assert sum(counted.values()) == struck > 5
    (line,) = log.events("sweep finished")
    assert (line["level"], line["state"], line["users_read"]) == ("info", "ok", 80)


@pytest.mark.parametrize("fault", REASONS, ids=lambda fault: fault.name)
def test_only_bad_responses_fail_the_sweep(emulator: Emulator, tmp_path: Path, log: Log, fault: Fault) -> None:
    pool_id = emulator.seed_pool("pool", users=80)
    emulator.faults.rules = (Rule(fault, "AdminListDevices"),)
    with serving(config(emulator.url, pool_id), tmp_path, emulator.url, retry_policy=FAST_RETRIES) as exporter:
        page = exporter.after_first_sweep(pool_id)
        assert exporter.is_ready()
    assert page.state(pool_id) == "failing"
    assert page.value("cognito_user_pool_up", user_pool_id=pool_id) == 0
    assert not page.about(pool_id) & DATA
    assert failures(page, "sweep", pool_id) == {REASONS[fault]: 1}
    (line,) = log.events("sweep finished")
    assert (line["level"], line["state"], line["reason"]) == ("warn", "failing", REASONS[fault])
    assert "Traceback" not in log.text


@pytest.mark.parametrize(
    "paging", [Paging(longest=3), Paging(blank_pages=True), Paging(longest=7, blank_pages=True)], ids=str
)
def test_short_and_empty_pages_change_nothing(emulator: Emulator, tmp_path: Path, paging: Paging) -> None:
    pool_id = emulator.seed_pool("pool", users=70, devices=MANY_DEVICES)
    emulator.faults.paging = {"ListUsers": paging, "AdminListDevices": replace(paging, longest=40)}
    with serving(config(emulator.url, pool_id), tmp_path, emulator.url) as exporter:
        page = exporter.after_first_sweep(pool_id)
    assert page.state(pool_id) == "ok"
    assert_correct(page, pool_id, emulator.truth(pool_id))


@pytest.mark.parametrize(
    ("chain", "error"),
    [
        (Chain.REPEATED, "ListUsers: a page token repeats"),
        (Chain.ENDLESS, "ListUsers: too many pages"),
    ],
    ids=lambda value: value.name if isinstance(value, Chain) else "",
)
def test_endless_enumeration_is_aborted(emulator: Emulator, tmp_path: Path, log: Log, chain: Chain, error: str) -> None:
    pool_id = emulator.seed_pool("pool", users=70)
    emulator.faults.paging = {"ListUsers": Paging(chain=chain)}
    with serving(config(emulator.url, pool_id), tmp_path, emulator.url, retry_policy=FAST_RETRIES) as exporter:
        page = exporter.after_first_sweep(pool_id)
    assert page.state(pool_id) == "failing"
    assert not page.about(pool_id) & DATA
    assert failures(page, "sweep", pool_id) == {"malformed": 1}
    (line,) = log.events("sweep finished")
    assert (line["reason"], line["error"]) == ("malformed", error)
    assert sum(request.operation == "ListUsers" for request in emulator.requests()) <= 1010


@pytest.mark.parametrize("chain", [Chain.REPEATED, Chain.ENDLESS], ids=lambda chain: chain.name)
def test_endless_devices_fail_only_their_users(emulator: Emulator, tmp_path: Path, log: Log, chain: Chain) -> None:
    """The users keep their last values, and the sweep fails."""
    pool_id = emulator.seed_pool("pool", users=3)
    text = config(emulator.url, pool_id, refresh_interval="1s")
    with serving(text, tmp_path, emulator.url, retry_policy=FAST_RETRIES) as exporter:
        success = last_success(exporter.after_first_sweep(pool_id), pool_id)
        before = emulator.truth(pool_id)
        emulator.faults.paging = {"AdminListDevices": Paging(chain=chain)}
        assert wait_until(lambda: failures(exporter.scrape(), "user_read", pool_id).get("malformed", 0) >= 3)
        page = exporter.scrape()
    assert failures(page, "sweep", pool_id) == {}
    assert page.state(pool_id) == "ok"
    assert_correct(page, pool_id, before)
    assert success is not None
    (line, *_) = log.events("sweep finished", reason="malformed")
    assert (line["level"], line["users_failed"], line["complete"]) == ("warn", 3, True)
    (well, *_) = log.events("sweep finished", users_read=3)
    assert "reason" not in well


def test_user_deleted_during_a_sweep_is_not_a_failure(emulator: Emulator, tmp_path: Path, log: Log) -> None:
    pool_id = emulator.seed_pool("pool", users=40)
    doomed = list(emulator.truth(pool_id).users)[-7:]
    text = config(emulator.url, pool_id, rate={"UserResourceRead": 20})
    with serving(text, tmp_path, emulator.url) as exporter:
        assert wait_until(lambda: any(request.operation == "AdminListDevices" for request in emulator.requests()))
        for name in doomed:
            emulator.call("AdminDeleteUser", {"UserPoolId": pool_id, "Username": name})
        page = exporter.after_first_sweep(pool_id)
    assert page.state(pool_id) == "ok"
    assert page.value("cognito_exporter_users_vanished_total", user_pool_id=pool_id) == 7
    assert_correct(page, pool_id, emulator.truth(pool_id))
    assert failures(page, "sweep", pool_id) == failures(page, "user_read", pool_id) == {}
    assert last_success(page, pool_id) is not None
    (line,) = log.events("sweep finished")
    assert (line["level"], line["users_read"], line["users_vanished"]) == ("info", 33, 7)


def without(truth: PoolTruth, **fields: object) -> PoolTruth:
    """Return the expected values if every device lacks some fields."""
    users = {
        name: tuple(replace(device, **fields) for device in devices)  # type: ignore[arg-type] # fields of the test
        for name, devices in truth.users.items()
    }
    return PoolTruth(users, truth.federated)


@pytest.mark.parametrize(
    ("omitted", "fields", "sources"),
    [
        ({"DeviceLastAuthenticatedDate"}, {"authenticated_ms": None}, {"created"}),
        (
            {"DeviceLastAuthenticatedDate", "DeviceCreateDate", "DeviceLastModifiedDate"},
            {"authenticated_ms": None, "created_ms": None},
            {"none"},
        ),
        ({"EstimatedNumberOfUsers", "DeviceAttributes"}, {"remembered": "unknown"}, {"authenticated"}),
    ],
    ids=["no last authentication", "no date", "no attribute"],
)
def test_optional_fields_may_be_absent(
    emulator: Emulator, tmp_path: Path, omitted: set[str], fields: dict[str, object], sources: set[str]
) -> None:
    pool_id = emulator.seed_pool("pool", users=60)
    emulator.faults.omitted = frozenset(omitted)
    with serving(config(emulator.url, pool_id), tmp_path, emulator.url) as exporter:
        page = exporter.after_first_sweep(pool_id)
    truth = emulator.truth(pool_id)
    if fields.get("remembered"):
        total = len(truth.devices)
        assert page.series("cognito_user_pool_devices", "remembered_status", user_pool_id=pool_id)["unknown"] == total
    else:
        assert_correct(page, pool_id, without(truth, **fields))
    found = page.series("cognito_user_pool_devices_by_date_source", "date_source", user_pool_id=pool_id)
    assert {source for source, count in found.items() if count} == sources
    assert sum(found.values()) == len(truth.devices)
