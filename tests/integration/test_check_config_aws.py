"""`check-config --aws` over HTTP and boto3."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest

from exporter.emulator import Emulator, Fault, Rule
from exporter.model import Tracking
from tests.harness import ACCOUNT, config, pool
from tests.integration.command_line import CommandLine, Result

ROLE = "arn:aws:iam::210987654321:role/reader"


def checked(text: str, run: CommandLine) -> Result:
    run.file.write_text(text, encoding="utf-8")
    return run.run("check-config", str(run.file), "--aws")


def arn(pool_id: str, account: str = ACCOUNT) -> str:
    return f"arn:aws:cognito-idp:eu-west-1:{account}:userpool/{pool_id}"


def test_readable_pools_take_three_calls_each(emulator: Emulator, run: CommandLine) -> None:
    pool_ids = [emulator.seed_pool(name, users=100) for name in ("one", "two")]
    result = checked(config(emulator.url, *pool_ids), run)
    assert (result.code, result.err) == (0, "")
    assert result.out == f"{run.file}: OK (2 pools)\nAWS: OK (2 of 2 pools can be read)\n"
    sent = Counter(request.operation for request in emulator.requests() if request.pool_id is not None)
    assert sent == {"DescribeUserPool": 2, "ListUsers": 2, "AdminListDevices": 2}


def test_every_pool_is_checked_and_every_finding_printed(emulator: Emulator, run: CommandLine) -> None:
    names = ("good", "no devices", "nothing", "off")
    good, no_devices, nothing = (emulator.seed_pool(name, users=5) for name in names[:3])
    off = emulator.seed_pool(names[3], users=5, tracking=Tracking.OFF)
    emulator.faults.rules = (
        Rule(Fault.DENIED, "AdminListDevices", no_devices),
        Rule(Fault.DENIED, pool_id=nothing),
    )
    entries: list[dict[str, Any] | str] = [
        good,
        no_devices,
        pool(nothing, users={"groups": ["staff"]}),
        off,
        "eu-west-1_NoSuchOne",
    ]
    result = checked(config(emulator.url, *entries), run)
    assert result.code == 1
    assert result.out == f"{run.file}: OK (5 pools)\n"
    assert result.err.splitlines() == [
        f"{no_devices}: cognito-idp:AdminListDevices is not allowed on {arn(no_devices)}",
        f"{nothing}: cognito-idp:DescribeUserPool is not allowed on {arn(nothing)}",
        f"{nothing}: cognito-idp:ListUsersInGroup is not allowed on {arn(nothing)}",
        f"{nothing}: cognito-idp:AdminListDevices is not allowed on {arn(nothing)}",
        f"{off}: device tracking is off; no user is read until it is enabled",
        f"eu-west-1_NoSuchOne: user pool does not exist in Region eu-west-1 of account {ACCOUNT}",
    ]


def test_tracking_off_alone_exits_0(emulator: Emulator, run: CommandLine) -> None:
    result = checked(config(emulator.url, emulator.seed_pool("off", users=5, tracking=Tracking.OFF)), run)
    assert result.code == 0
    assert "device tracking is off" in result.err


def test_pool_of_another_region_is_not_found(emulator: Emulator, run: CommandLine) -> None:
    elsewhere = emulator.seed_pool("elsewhere", "us-east-1", users=5).replace("us-east-1", "eu-west-1")
    result = checked(config(emulator.url, elsewhere), run)
    assert (result.code, result.err) == (
        1,
        f"{elsewhere}: user pool does not exist in Region eu-west-1 of account {ACCOUNT}\n",
    )


def test_share_of_a_quota_needs_another_permission(emulator: Emulator, run: CommandLine) -> None:
    pool_ids = [emulator.seed_pool(name, users=5) for name in ("one", "two")]
    emulator.faults.rules = (Rule(Fault.DENIED, "GetProvisionedLimit"),)
    assert checked(config(emulator.url, *pool_ids), run).code == 0
    result = checked(config(emulator.url, *pool_ids, rate={"UserResourceRead": "20%"}), run)
    assert (result.code, result.err) == (1, f"{pool_ids[0]}: cognito-idp:GetProvisionedLimit is not allowed on *\n")


def test_missing_credentials_are_reported_once(
    emulator: Emulator, run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool_ids = [emulator.seed_pool(name, users=5) for name in ("one", "two")]
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    result = checked(config(emulator.url, *pool_ids), run)
    assert result.code == 1
    (line,) = result.err.splitlines()
    assert line.startswith(f"{', '.join(pool_ids)}: no valid AWS credentials (NoCredentialsError)")
    assert emulator.requests() == ()


def test_role_is_assumed_and_a_denied_one_is_reported(emulator: Emulator, run: CommandLine) -> None:
    theirs = emulator.seed_pool("theirs", users=5, account_id="210987654321")
    text = config(emulator.url, pool(theirs, role_arn=ROLE, external_id="a-secret"))
    assert checked(text, run).code == 0
    emulator.faults.rules = (Rule(Fault.DENIED, "AssumeRole"),)
    result = checked(text, run)
    assert result.code == 1
    assert result.err.startswith(f"{theirs}: sts:AssumeRole on {ROLE} denied (AccessDenied")
    assert "a-secret" not in result.err


def test_missing_permission_names_the_account_of_the_role(emulator: Emulator, run: CommandLine) -> None:
    theirs = emulator.seed_pool("theirs", users=5, account_id="210987654321")
    emulator.faults.rules = (Rule(Fault.DENIED, "ListUsers"),)
    result = checked(config(emulator.url, pool(theirs, role_arn=ROLE)), run)
    assert result.err == f"{theirs}: cognito-idp:ListUsers is not allowed on {arn(theirs, '210987654321')}\n"


def test_unreachable_endpoint_is_reported(emulator: Emulator, run: CommandLine) -> None:
    url = emulator.url
    emulator.close()
    result = checked(config(url, "eu-west-1_AbCdEfGhI"), run)
    assert result.code == 1
    assert result.err.startswith("eu-west-1_AbCdEfGhI: check failed: DescribeUserPool: ")


def test_invalid_configuration_sends_no_request(emulator: Emulator, run: CommandLine) -> None:
    result = checked(config(emulator.url, "nonsense"), run)
    assert result.code == 2
    assert emulator.requests() == ()


def test_check_config_without_aws_sends_no_request(emulator: Emulator, run: CommandLine) -> None:
    run.file.write_text(config(emulator.url, "eu-west-1_AbCdEfGhI"), encoding="utf-8")
    assert run.run("check-config", str(run.file)).code == 0
    assert emulator.requests() == ()
    assert os.environ["AWS_ACCESS_KEY_ID"] == ACCOUNT
