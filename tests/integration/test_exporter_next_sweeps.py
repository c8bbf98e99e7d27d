"""Effect of later sweeps on the page."""

from __future__ import annotations

from pathlib import Path

from exporter.emulator import SEED_PASSWORD, AgeDistribution, DeviceMix, Emulator, Fault, Rule
from tests.harness import FAST_RETRIES, Exporter, Page, config, serving, wait_until
from tests.integration.test_exporter_bad_pools import DATA
from tests.truth import DAY, assert_correct

TIMESTAMP = "cognito_device_last_authentication_timestamp_seconds"
AGE = "cognito_device_last_authentication_age_seconds"

ONE_OLD = DeviceMix(per_user={1: 1}, ages=AgeDistribution.constant(100 * DAY))


def sign_in_again(emulator: Emulator, pool_id: str, name: str) -> str:
    """Authenticate a user's first device and return its key."""
    key = emulator.truth(pool_id).users[name][0].key
    client = emulator.call("CreateUserPoolClient", {"UserPoolId": pool_id, "ClientName": "tests"})["UserPoolClient"]
    parameters = {"USERNAME": name, "PASSWORD": SEED_PASSWORD, "DEVICE_KEY": key}
    emulator.call(
        "AdminInitiateAuth",
        {
            "UserPoolId": pool_id,
            "ClientId": client["ClientId"],
            "AuthFlow": "ADMIN_USER_PASSWORD_AUTH",
            "AuthParameters": parameters,
        },
    )
    return key


def users_shown(page: Page) -> set[str]:
    return set(page.series("cognito_user_devices", "user"))


def test_changed_users_update_and_deleted_ones_disappear(emulator: Emulator, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("pool", users=50, devices=ONE_OLD)
    # The second sweep lists the users only after the test has changed them.
    emulator.faults.latency = {"DescribeUserPool": 1.5}
    text = config(
        emulator.url, pool_id, refresh_interval="4s", detail="device", identity="raw", rate={"UserResourceRead": 25}
    )
    with serving(text, tmp_path, emulator.url) as exporter:
        first = exporter.after_first_sweep(pool_id)
        names = list(emulator.truth(pool_id).users)
        soon_read, deleted = names[0], names[-1]
        key = sign_in_again(emulator, pool_id, soon_read)
        emulator.call("AdminDeleteUser", {"UserPoolId": pool_id, "Username": deleted})
        device = {"user_pool_id": pool_id, "user": soon_read, "device_key": key}
        assert wait_until(lambda: is_younger(exporter, first, device))
        middle = exporter.scrape()
        assert middle.value("cognito_exporter_sweeps_total", user_pool_id=pool_id) == 1
        assert users_shown(middle) == set(names)
        assert wait_until(lambda: exporter.sweeps(pool_id) == 2)
        last = exporter.scrape()
    assert (first.value(AGE, **device) or 0) >= 100 * DAY
    assert last.value(TIMESTAMP, **device) == (emulator.truth(pool_id).users[soon_read][0].authenticated_ms or 0) / 1000
    assert 0 <= (last.value(AGE, **device) or 0) < 60
    assert users_shown(last) == set(names) - {deleted}
    assert_correct(last, pool_id, emulator.truth(pool_id))


def is_younger(exporter: Exporter, before: Page, device: dict[str, str]) -> bool:
    return (exporter.value(TIMESTAMP, **device) or 0) > (before.value(TIMESTAMP, **device) or 0)


def test_pool_denied_later_keeps_its_last_values(emulator: Emulator, tmp_path: Path) -> None:
    pool_id, other = (emulator.seed_pool(name, users=40) for name in ("pool", "other"))
    text = config(emulator.url, pool_id, other, refresh_interval="1s")
    with serving(text, tmp_path, emulator.url, retry_policy=FAST_RETRIES) as exporter:
        exporter.after_first_sweep(pool_id, other)
        truth = emulator.truth(pool_id)
        emulator.faults.rules = (Rule(Fault.DENIED, "AdminListDevices", pool_id),)
        assert wait_until(lambda: exporter.state(pool_id) == "denied")
        success = last_success(exporter.scrape(), pool_id)
        emulator.call("AdminDeleteUser", {"UserPoolId": pool_id, "Username": next(iter(truth.users))})
        page = exporter.after_sweep(pool_id, other)
        assert_correct(page, pool_id, truth)
        assert page.state(pool_id) == "denied"
        assert last_success(page, pool_id) == success
        assert (last_success(page, other) or 0) > (success or 0)
        emulator.faults.rules = ()
        assert wait_until(lambda: exporter.state(pool_id) == "ok")
        assert_correct(exporter.after_sweep(pool_id), pool_id, emulator.truth(pool_id))


def last_success(page: Page, pool_id: str) -> float | None:
    return page.value("cognito_exporter_last_sweep_success_timestamp_seconds", user_pool_id=pool_id)


def test_pool_beyond_max_staleness_has_no_data_until_read_again(emulator: Emulator, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("pool", users=30)
    text = config(emulator.url, pool_id, refresh_interval="1s", max_staleness="2s")
    with serving(text, tmp_path, emulator.url, retry_policy=FAST_RETRIES) as exporter:
        exporter.after_first_sweep(pool_id)
        emulator.faults.rules = (Rule(Fault.SERVER_ERROR),)
        assert wait_until(lambda: exporter.state(pool_id) == "failing")
        assert_correct(exporter.scrape(), pool_id, emulator.truth(pool_id))
        assert wait_until(lambda: not exporter.scrape().about(pool_id) & DATA)
        assert exporter.state(pool_id) == "failing"
        emulator.faults.rules = ()
        assert wait_until(lambda: exporter.state(pool_id) == "ok")
        assert_correct(exporter.scrape(), pool_id, emulator.truth(pool_id))
