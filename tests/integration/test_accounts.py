"""Pools of several accounts: roles with external ids over STS, and isolation of accounts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3

from exporter.aws.sessions import AwsApis
from exporter.config.load import parse_settings
from exporter.daemon.app import App
from exporter.emulator import Emulator, Fault, Rule
from exporter.options import ListenAddress, ServeOptions
from tests.harness import ACCOUNT, FAST, FAST_RETRIES, Exporter, Page, config, pool, serving, session, wait_until
from tests.truth import assert_correct

OTHERS = ("210987654321", "321098765432")
RIGHT = {account: f"tenant-{account}" for account in OTHERS}


def role(account: str) -> str:
    return f"arn:aws:iam::{account}:role/device-exporter"


def seeded(emulator: Emulator, users: int = 5) -> list[str]:
    """Seed a pool in each account, whose roles require an external id."""
    for account in OTHERS:
        emulator.trust(role(account), RIGHT[account])
    return [emulator.seed_pool(f"shop of {account}", account_id=account, users=users) for account in OTHERS]


def test_two_accounts_by_roles_with_external_ids(emulator: Emulator, tmp_path: Path) -> None:
    own = emulator.seed_pool("own", account_id=ACCOUNT, users=5)
    pools = seeded(emulator)
    through = [
        pool(pool_id, role_arn=role(account), external_id=RIGHT[account])
        for pool_id, account in zip(pools, OTHERS, strict=True)
    ]
    with serving(config(emulator.url, own, *through), tmp_path, emulator.url) as running:
        page = running.after_first_sweep(own, *pools)
    for pool_id in (own, *pools):
        assert page.state(pool_id) == "ok"
        assert_correct(page, pool_id, emulator.truth(pool_id))
    accounts = page.series("cognito_user_pool_info", "user_pool_id", "aws_account_id")
    assert set(accounts) == set(zip((own, *pools), (ACCOUNT, *OTHERS), strict=True))
    budgets = page.series("cognito_exporter_rate_limit_configured_requests_per_second", "aws_account_id", "category")
    assert {account for account, _ in budgets} == {ACCOUNT, *OTHERS}, "each account has budgets of its own"


def assumed(page: Page) -> dict[tuple[str, ...], float]:
    """Count AssumeRole calls by account and Region."""
    requests = page.series("cognito_exporter_aws_requests_total", "aws_account_id", "aws_region", "operation")
    return {(account, region): count for (account, region, name), count in requests.items() if name == "AssumeRole"}


def test_assume_role_is_counted_under_its_account(emulator: Emulator, tmp_path: Path) -> None:
    own = emulator.seed_pool("own", account_id=ACCOUNT, users=5)
    pools = seeded(emulator)
    through = [
        pool(pool_id, role_arn=role(account), external_id=RIGHT[account])
        for pool_id, account in zip(pools, OTHERS, strict=True)
    ]
    with serving(config(emulator.url, own, *through), tmp_path, emulator.url) as running:
        page = running.after_first_sweep(own, *pools)
    assert assumed(page) == {(account, "eu-west-1"): 1 for account in OTHERS}
    assert sum(request.operation == "AssumeRole" for request in emulator.requests()) == len(OTHERS)
    took = page.series("cognito_exporter_aws_request_duration_seconds_sum", "aws_account_id", "operation")
    assert all(took[account, "AssumeRole"] > 0 for account in OTHERS)


def asked_of_sts(emulator: Emulator) -> int:
    return sum(request.operation == "AssumeRole" for request in emulator.requests())


def test_failed_assume_role_is_counted_with_its_reason(emulator: Emulator, tmp_path: Path) -> None:
    refused, dead = seeded(emulator)
    entries = [
        pool(refused, role_arn=role(OTHERS[0]), external_id="another-external-id"),
        pool(dead, role_arn=role(OTHERS[1]), external_id=RIGHT[OTHERS[1]]),
    ]
    emulator.faults.rules = (Rule(Fault.DROPPED, operation="AssumeRole", share=1.0),)
    with serving(config(emulator.url, *entries), tmp_path, emulator.url, retry_policy=FAST_RETRIES) as running:
        page = running.after_first_sweep(refused, dead)
        failures = "cognito_exporter_aws_request_failures_total"
        assert page.failures(failures, aws_account_id=OTHERS[1], operation="AssumeRole").keys() == {"connection"}
        emulator.faults.rules = ()
        assert wait_until(
            lambda: "denied" in running.scrape().failures(failures, aws_account_id=OTHERS[0], operation="AssumeRole")
        )
        # once no request is in flight
        assert wait_until(lambda: sum(assumed(running.scrape()).values()) == asked_of_sts(emulator))
        assert running.scrape().failures(failures, aws_account_id=ACCOUNT) == {}


def test_two_accounts_by_rules(emulator: Emulator, tmp_path: Path) -> None:
    pools = seeded(emulator)
    rules = [
        {"regions": ["eu-west-1"], "interval": "1s", "role_arn": role(account), "external_id": RIGHT[account]}
        for account in OTHERS
    ]
    with serving(config(emulator.url, discovery=rules), tmp_path, emulator.url) as running:
        assert wait_until(lambda: set(running.scrape().series("cognito_user_pool_up", "user_pool_id")) == set(pools))
        page = running.after_first_sweep(*pools)
    for pool_id in pools:
        assert_correct(page, pool_id, emulator.truth(pool_id))


def test_wrong_external_id_does_not_affect_the_other_account(emulator: Emulator, tmp_path: Path) -> None:
    wrong, right = seeded(emulator)
    entries = [
        pool(wrong, role_arn=role(OTHERS[0]), external_id="another-external-id"),
        pool(right, role_arn=role(OTHERS[1]), external_id=RIGHT[OTHERS[1]]),
    ]
    rules = [{"regions": ["eu-west-1"], "interval": "1s", "role_arn": role(OTHERS[0]), "external_id": "not-ours"}]
    text = config(emulator.url, *entries, discovery=rules)
    with serving(text, tmp_path, emulator.url, retry_policy=FAST_RETRIES) as running:
        page = running.after_first_sweep(wrong, right)
        assert (page.state(wrong), page.state(right)) == ("denied", "ok")
        assert page.failures("cognito_exporter_sweep_failures_total", user_pool_id=wrong).keys() == {"denied"}
        failures = "cognito_exporter_discovery_failures_total"
        assert wait_until(lambda: running.scrape().failures(failures, rule="0").keys() == {"denied"})
        assert_correct(running.scrape(), right, emulator.truth(right))
        assert "another-external-id" not in running.get("/metrics").text + running.get("/").text


def test_unreachable_account_does_not_affect_the_other(emulator: Emulator, tmp_path: Path) -> None:
    dead, alive = seeded(emulator)
    entries = [
        pool(dead, role_arn=role(OTHERS[0]), external_id=RIGHT[OTHERS[0]], endpoint_url="http://127.0.0.1:9"),
        pool(alive, role_arn=role(OTHERS[1]), external_id=RIGHT[OTHERS[1]], refresh_interval="1s"),
    ]
    with serving(config(emulator.url, *entries), tmp_path, emulator.url, retry_policy=FAST_RETRIES) as running:
        running.after_first_sweep(dead, alive)
        page = running.after_sweep(alive)
        assert (page.state(dead), page.state(alive)) == ("failing", "ok")
        assert page.failures("cognito_exporter_sweep_failures_total", user_pool_id=alive) == {}


class IssuedKeys:
    """Records the access keys in STS responses, as parsed by botocore."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def note(self, parsed: dict[str, dict[str, str]], **_: object) -> None:
        if "Credentials" in parsed:
            self.keys.append(parsed["Credentials"]["AccessKeyId"])


@contextmanager
def noting(text: str, directory: Path, emulator: Emulator, given: IssuedKeys) -> Iterator[Exporter]:
    """Run the exporter with the shortest role credentials, which botocore renews at each call."""

    def make() -> boto3.Session:
        made = session(directory, emulator.url)
        made.events.register("before-parameter-build.sts.AssumeRole", shortest)
        made.events.register("after-call.sts.AssumeRole", given.note)
        return made

    def shortest(params: dict[str, int], **_: object) -> None:
        params["DurationSeconds"] = 900

    options = ServeOptions(directory / "config.yaml", (ListenAddress("127.0.0.1", 0),))
    app = App(parse_settings(text, str(directory / "config.yaml")), options, make_api=AwsApis(make))
    app.start()
    try:
        yield Exporter(f"http://{app.addresses[0]}")
    finally:
        app.stop()


def test_role_credentials_are_renewed_during_a_sweep(emulator: Emulator, tmp_path: Path) -> None:
    (pool_id, _) = seeded(emulator, users=120)
    entry = pool(pool_id, role_arn=role(OTHERS[0]), external_id=RIGHT[OTHERS[0]])
    given = IssuedKeys()
    text = config(emulator.url, entry, rate={**FAST, "UserResourceRead": 60}, refresh_interval="1h")
    with noting(text, tmp_path, emulator, given) as running:

        def under_way() -> bool:
            return sum(request.operation == "AdminListDevices" for request in emulator.requests()) > 30

        assert wait_until(under_way)
        assert not running.sweeps(pool_id)
        emulator.faults.rules = (Rule(Fault.SERVER_ERROR, operation="AssumeRole", share=0.3),)
        first = len(given.keys)
        emulator.faults.expired = frozenset(given.keys[:first])
        page = running.after_first_sweep(pool_id, within=40)
        assert len(given.keys) > first
        assert page.state(pool_id) == "ok"
        assert_correct(page, pool_id, emulator.truth(pool_id))
        assert page.failures("cognito_exporter_user_read_failures_total", user_pool_id=pool_id) == {}
