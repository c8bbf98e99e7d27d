"""`check-config --aws` over real HTTP and boto3: which permission is missing where."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest

from exporter.emulator import Emulator, Fault, Rule
from exporter.model import Tracking
from tests.harness import ACCOUNT, config, pool
from tests.integration.command_line import CommandLine, Ended

ROLE = "arn:aws:iam::210987654321:role/reader"


def checked(text: str, run: CommandLine) -> Ended:
    run.file.write_text(text, encoding="utf-8")
    return run.run("check-config", str(run.file), "--aws")


def arn(pool_id: str, account: str = ACCOUNT) -> str:
    return f"arn:aws:cognito-idp:eu-west-1:{account}:userpool/{pool_id}"


def test_pools_that_can_be_read_take_three_calls_each(emulator: Emulator, run: CommandLine) -> None:
    pool_ids = [emulator.seed_pool(name, users=100) for name in ("one", "two")]
    ended = checked(config(emulator.url, *pool_ids), run)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"{run.file}: OK (2 pools)\nAWS: OK (2 of 2 pools can be read)\n"
    asked = Counter(request.operation for request in emulator.requests() if request.pool_id is not None)
    assert asked == {"DescribeUserPool": 2, "ListUsers": 2, "AdminListDevices": 2}


def test_all_pools_are_tried_and_every_finding_is_told(emulator: Emulator, run: CommandLine) -> None:
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
    ended = checked(config(emulator.url, *entries), run)
    assert ended.code == 1
    assert ended.out == f"{run.file}: OK (5 pools)\n"
    assert ended.err.splitlines() == [
        f"{no_devices}: cognito-idp:AdminListDevices is not allowed on {arn(no_devices)}",
        f"{nothing}: cognito-idp:DescribeUserPool is not allowed on {arn(nothing)}",
        f"{nothing}: cognito-idp:ListUsersInGroup is not allowed on {arn(nothing)}",
        f"{nothing}: cognito-idp:AdminListDevices is not allowed on {arn(nothing)}",
        f"{off}: device tracking is off: nothing will be read from this pool until it is switched on",
        f"eu-west-1_NoSuchOne: there is no such pool in Region eu-west-1 of account {ACCOUNT}",
    ]


def test_tracking_off_alone_is_no_failure(emulator: Emulator, run: CommandLine) -> None:
    ended = checked(config(emulator.url, emulator.seed_pool("off", users=5, tracking=Tracking.OFF)), run)
    assert ended.code == 0
    assert "device tracking is off" in ended.err


def test_a_pool_of_another_region_is_not_found(emulator: Emulator, run: CommandLine) -> None:
    elsewhere = emulator.seed_pool("elsewhere", "us-east-1", users=5).replace("us-east-1", "eu-west-1")
    ended = checked(config(emulator.url, elsewhere), run)
    assert (ended.code, ended.err) == (
        1,
        f"{elsewhere}: there is no such pool in Region eu-west-1 of account {ACCOUNT}\n",
    )


def test_a_share_of_a_quota_needs_one_permission_more(emulator: Emulator, run: CommandLine) -> None:
    pool_ids = [emulator.seed_pool(name, users=5) for name in ("one", "two")]
    emulator.faults.rules = (Rule(Fault.DENIED, "GetProvisionedLimit"),)
    assert checked(config(emulator.url, *pool_ids), run).code == 0
    ended = checked(config(emulator.url, *pool_ids, rate={"UserResourceRead": "20%"}), run)
    assert (ended.code, ended.err) == (1, f"{pool_ids[0]}: cognito-idp:GetProvisionedLimit is not allowed on *\n")


def test_absent_credentials_are_told_once_for_all_pools(
    emulator: Emulator, run: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool_ids = [emulator.seed_pool(name, users=5) for name in ("one", "two")]
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    ended = checked(config(emulator.url, *pool_ids), run)
    assert ended.code == 1
    (line,) = ended.err.splitlines()
    assert line.startswith(f"{', '.join(pool_ids)}: no credentials that AWS accepts (NoCredentialsError)")
    assert emulator.requests() == ()


def test_a_role_is_assumed_and_a_refused_one_is_told(emulator: Emulator, run: CommandLine) -> None:
    theirs = emulator.seed_pool("theirs", users=5, account_id="210987654321")
    text = config(emulator.url, pool(theirs, role_arn=ROLE, external_id="a-secret"))
    assert checked(text, run).code == 0
    emulator.faults.rules = (Rule(Fault.DENIED, "AssumeRole"),)
    ended = checked(text, run)
    assert ended.code == 1
    assert ended.err.startswith(f"{theirs}: sts:AssumeRole is refused on {ROLE} (AccessDenied")
    assert "a-secret" not in ended.err


def test_a_missing_permission_in_another_account_is_named_with_that_account(
    emulator: Emulator, run: CommandLine
) -> None:
    theirs = emulator.seed_pool("theirs", users=5, account_id="210987654321")
    emulator.faults.rules = (Rule(Fault.DENIED, "ListUsers"),)
    ended = checked(config(emulator.url, pool(theirs, role_arn=ROLE)), run)
    assert ended.err == f"{theirs}: cognito-idp:ListUsers is not allowed on {arn(theirs, '210987654321')}\n"


def test_an_endpoint_that_nobody_serves_is_told(emulator: Emulator, run: CommandLine) -> None:
    url = emulator.url
    emulator.close()
    ended = checked(config(url, "eu-west-1_AbCdEfGhI"), run)
    assert ended.code == 1
    assert ended.err.startswith("eu-west-1_AbCdEfGhI: could not be tried: DescribeUserPool: ")


def test_a_wrong_configuration_is_told_before_aws_is_asked(emulator: Emulator, run: CommandLine) -> None:
    ended = checked(config(emulator.url, "nonsense"), run)
    assert ended.code == 2
    assert emulator.requests() == ()


def test_without_the_flag_nothing_is_asked(emulator: Emulator, run: CommandLine) -> None:
    run.file.write_text(config(emulator.url, "eu-west-1_AbCdEfGhI"), encoding="utf-8")
    assert run.run("check-config", str(run.file)).code == 0
    assert emulator.requests() == ()
    assert os.environ["AWS_ACCESS_KEY_ID"] == ACCOUNT
