"""AWS is unreachable: the exporter is ready, reports the reason, and shows no data."""

from __future__ import annotations

from pathlib import Path

from exporter.emulator import Emulator, Fault, Rule
from tests.harness import FAST_RETRIES, Exporter, Log, Page, config, free_port, pool, serving, wait_until
from tests.integration.test_exporter_bad_pools import DATA
from tests.truth import assert_correct

POOL = "eu-west-1_AbCdEfGhI"


def settled(exporter: Exporter) -> Page:
    """Return the page after the first sweep and a call to STS; assert that the exporter is ready."""
    assert wait_until(exporter.is_ready)
    assert wait_until(lambda: bool(request_failures(exporter.scrape(), "GetCallerIdentity")))
    return exporter.scrape()


def request_failures(page: Page, operation: str) -> dict[str, float]:
    return page.failures("cognito_exporter_aws_request_failures_total", operation=operation)


def requests(page: Page, operation: str) -> float:
    return sum(page.series("cognito_exporter_aws_requests_total", "aws_account_id", operation=operation).values())


def assert_withdrawn(page: Page) -> None:
    assert page.state(POOL) == "failing"
    assert page.value("cognito_user_pool_up", user_pool_id=POOL) == 0
    assert not page.about(POOL) & {*DATA, "cognito_user_pool_info"}


def assert_failing(page: Page, log: Log, reason: str, error: str = "") -> None:
    """Assert the failure in page and log; `error` is the AWS error code, if any."""
    assert_withdrawn(page)
    assert page.failures("cognito_exporter_sweep_failures_total", user_pool_id=POOL) == {reason: 1}
    assert request_failures(page, "DescribeUserPool") == {reason: FAST_RETRIES.first_attempts}
    assert request_failures(page, "GetCallerIdentity") == {reason: 1}
    (line,) = log.events("sweep finished", user_pool_id=POOL)
    assert (line["level"], line["state"], line["reason"]) == ("warn", "failing", reason)
    assert line["error"].startswith(f"DescribeUserPool: {error}")
    assert "Traceback" not in log.text


def test_missing_credentials_fail_the_sweep(emulator: Emulator, tmp_path: Path, log: Log) -> None:
    with serving(
        config(emulator.url, POOL), tmp_path, emulator.url, access_key=None, retry_policy=FAST_RETRIES
    ) as exporter:
        assert wait_until(exporter.is_ready)
        page = exporter.scrape()
    assert_withdrawn(page)
    assert page.failures("cognito_exporter_sweep_failures_total", user_pool_id=POOL) == {"credentials": 1}
    assert not emulator.requests()
    assert requests(page, "DescribeUserPool") == requests(page, "GetCallerIdentity") == 0
    (line,) = log.events(user_pool_id=POOL)
    assert line["level"] == "warn"
    assert "NoCredentials" in line["error"]
    assert "Traceback" not in log.text


def test_expired_credentials_fail_the_sweep(emulator: Emulator, tmp_path: Path, log: Log) -> None:
    emulator.faults.rules = (Rule(Fault.EXPIRED_CREDENTIALS),)
    with serving(config(emulator.url, POOL), tmp_path, emulator.url, retry_policy=FAST_RETRIES) as exporter:
        page = settled(exporter)
    assert_failing(page, log, "credentials", "ExpiredTokenException")
    assert requests(page, "DescribeUserPool") == FAST_RETRIES.first_attempts


def test_unreachable_endpoint_is_a_connection_failure(tmp_path: Path, log: Log) -> None:
    closed = f"http://127.0.0.1:{free_port()}"
    with serving(config(closed, POOL), tmp_path, closed, retry_policy=FAST_RETRIES) as exporter:
        page = settled(exporter)
    assert_failing(page, log, "connection")


def test_dead_endpoint_does_not_affect_other_pools(emulator: Emulator, tmp_path: Path) -> None:
    alive = emulator.seed_pool("alive", users=30)
    dead = pool(POOL, endpoint_url=f"http://127.0.0.1:{free_port()}")
    with serving(config(emulator.url, dead, alive), tmp_path, emulator.url, retry_policy=FAST_RETRIES) as exporter:
        page = exporter.after_first_sweep(POOL, alive)
        assert exporter.is_ready()
    assert page.state(POOL) == "failing"
    assert page.state(alive) == "ok"
    assert_correct(page, alive, emulator.truth(alive))


def test_renewed_credentials_lose_no_data(emulator: Emulator, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("pool", users=30)
    text = config(emulator.url, pool_id, refresh_interval="1s")
    with serving(text, tmp_path, emulator.url, retry_policy=FAST_RETRIES) as exporter:
        exporter.after_first_sweep(pool_id)
        emulator.faults.rules = (Rule(Fault.EXPIRED_CREDENTIALS),)
        assert wait_until(lambda: exporter.state(pool_id) == "failing")
        page = exporter.scrape()
        assert page.value("cognito_user_pool_up", user_pool_id=pool_id) == 0
        assert_correct(page, pool_id, emulator.truth(pool_id))
        assert exporter.is_ready()
        emulator.faults.rules = ()
        assert wait_until(lambda: exporter.state(pool_id) == "ok")
        assert exporter.value("cognito_user_pool_up", user_pool_id=pool_id) == 1
