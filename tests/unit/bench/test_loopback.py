"""The loopback Cognito as a process, over HTTP and with boto3."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from bench.errors import NotMeasured
from bench.processes import Children, environment
from bench.processes_under_test import Launcher, LoopbackCognito
from bench.scraping import Scraper, series, value_of, wait_until

LATENCY = 0.05


@pytest.fixture(scope="module")
def loopback(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoopbackCognito]:
    with Children() as children:
        launcher = Launcher(children, tmp_path_factory.mktemp("bench"))
        with launcher.start_cognito(users=70, latency=LATENCY) as loopback:
            yield loopback


def client_of(loopback: LoopbackCognito, service: str) -> Any:
    """Return a client of a service. The type checker does not know its name."""
    session = boto3.Session(aws_access_key_id="x", aws_secret_access_key="x", region_name="eu-west-1")
    return session.client(service, endpoint_url=loopback.url, config=Config(proxies={}))  # type: ignore[call-overload] # the name is a variable


def test_loopback_cognito_works_with_boto3(loopback: LoopbackCognito) -> None:
    cognito = client_of(loopback, "cognito-idp")
    users = cognito.list_users(UserPoolId="eu-west-1_Bench0000", Limit=60)["Users"]
    devices = cognito.admin_list_devices(UserPoolId="eu-west-1_Bench0000", Username=users[0]["Username"])["Devices"]
    pool = cognito.describe_user_pool(UserPoolId="eu-west-1_Bench0000")["UserPool"]
    assert len(users) == 60
    assert [device["DeviceLastAuthenticatedDate"].year for device in devices]
    assert pool["EstimatedNumberOfUsers"] == 70
    assert client_of(loopback, "sts").get_caller_identity()["Account"] == "123456789012"


def test_loopback_cognito_responds_after_latency_and_counts(loopback: LoopbackCognito) -> None:
    cognito = client_of(loopback, "cognito-idp")
    cognito.describe_user_pool(UserPoolId="eu-west-1_Bench0000")
    loopback.reset()
    started = time.monotonic()
    for _ in range(3):
        cognito.admin_list_devices(UserPoolId="eu-west-1_Bench0000", Username="a")
    assert time.monotonic() - started >= 3 * LATENCY
    statistics = loopback.statistics()
    assert statistics.calls == {"AdminListDevices": 3}
    assert statistics.max_per_second["AdminListDevices"] <= 3


def test_loopback_cognito_rejects_unknown_operation(loopback: LoopbackCognito) -> None:
    cognito = client_of(loopback, "cognito-idp")
    with pytest.raises(cognito.exceptions.ClientError, match="UnknownOperationException"):
        cognito.list_user_pools(MaxResults=10)


def test_child_that_ends_is_not_measured(tmp_path: Path) -> None:
    with (
        Children() as children,
        children.running(
            "the program", ["/bin/sh", "-c", "echo sorry >&2; exit 3"], environment(), tmp_path / "log"
        ) as child,
    ):
        child.wait()
        with pytest.raises(NotMeasured, match="the program ended with exit code 3") as failure:
            _ = child.cpu_seconds
        assert failure.value.detail == "sorry"


def test_cpu_time_of_child_is_measured(tmp_path: Path) -> None:
    with (
        Children() as children,
        children.running(
            "the program", ["/bin/sh", "-c", "while :; do :; done"], environment(), tmp_path / "log"
        ) as child,
    ):
        used = wait_until(
            lambda: child.cpu_seconds if child.cpu_seconds > 0.05 else None,
            alive=child.require_alive,
            every=0.01,
        )
        with child.paused():
            before = child.cpu_seconds
            assert child.cpu_seconds - before < 0.05
        assert children.cpu_seconds() >= used


def test_scrape_without_response_is_not_measured() -> None:
    scraper = Scraper("nobody", 9)
    assert scraper.get("/metrics") is None
    with pytest.raises(NotMeasured, match="nobody did not respond"):
        scraper.metrics()


PAGE = b"""\
# HELP devices Devices.
# TYPE devices gauge
devices{pool="a",status="x"} 3.0
devices{pool="a",status="y"} 4
devices_total 9
up 1
"""


def test_series_counts_one_metric_only() -> None:
    assert (series(PAGE, "devices"), series(PAGE, "up"), series(PAGE, "none")) == (2, 1, 0)
    assert value_of(PAGE, "devices") == 7.0
