"""The commands that look once, over a configuration with rules."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exporter.emulator import Emulator, Fault, Rule
from tests.harness import ACCOUNT, config
from tests.integration.command_line import CommandLine, Ended

REGIONS = ("eu-west-1", "us-west-2")


@pytest.fixture
def pools(emulator: Emulator) -> list[str]:
    """Two pools that the rule finds, in two Regions; and one that it does not."""
    found = [emulator.seed_pool("prod-shop", region, account_id=ACCOUNT, users=4) for region in REGIONS]
    other = emulator.seed_pool("test-shop", account_id=ACCOUNT, users=4)
    for pool_id in (*found, other):
        emulator.tag(pool_id, team="identity")
    return found


def text(emulator: Emulator, **settings: Any) -> str:
    entry = {"regions": list(REGIONS), "name": "^prod-", "tags": {"team": "identity"}, **settings}
    return config(emulator.url, discovery=[entry])


def checked(emulator: Emulator, run: CommandLine, **settings: Any) -> Ended:
    run.file.write_text(text(emulator, **settings), encoding="utf-8")
    return run.run("check-config", "--aws", str(run.file))


def test_plan_forecasts_what_the_rules_find(emulator: Emulator, run: CommandLine, pools: list[str]) -> None:
    ended = run(text(emulator), "plan", "--format=json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    assert {pool["user_pool_id"] for pool in found["pools"]} == set(pools)
    assert "Looks of discovery are not counted: 2 every 10m." in found["assumptions"][-1]


def test_report_reads_what_the_rules_find(emulator: Emulator, run: CommandLine, pools: list[str]) -> None:
    ended = run(text(emulator), "report", "--format=json", "--identity=raw")
    assert (ended.code, {row["user_pool_id"] for row in ended.rows}) == (0, set(pools))


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_a_report_of_rules_that_find_nothing(emulator: Emulator, run: CommandLine, form: str) -> None:
    assert run(text(emulator, name="^nothing-"), "report", f"--format={form}").code == 0


@pytest.mark.parametrize("command", ["check", "plan", "report"])
@pytest.mark.usefixtures("pools")
def test_a_rule_that_finds_nothing_is_told_and_is_no_failure(
    emulator: Emulator, run: CommandLine, command: str
) -> None:
    nothing = text(emulator, name="^nothing-")
    ended = checked(emulator, run, name="^nothing-") if command == "check" else run(nothing, command)
    assert (ended.code, ended.err) == (0, "discovery[0]: no pool in its Regions fits\n")


def test_a_check_tries_what_the_rules_find(emulator: Emulator, run: CommandLine, pools: list[str]) -> None:
    ended = checked(emulator, run)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"{run.file}: OK (1 rule)\nAWS: OK ({len(pools)} of {len(pools)} pools can be read)\n"


@pytest.mark.parametrize(
    ("operation", "told"),
    [
        ("ListUserPools", "cognito-idp:ListUserPools is not allowed on *"),
        (
            "ListTagsForResource",
            "cognito-idp:ListTagsForResource is not allowed on arn:aws:cognito-idp:eu-west-1:*:userpool/*",
        ),
    ],
)
@pytest.mark.parametrize("command", ["check", "plan", "report"])
@pytest.mark.usefixtures("pools")
def test_a_permission_that_a_rule_lacks_is_told(
    emulator: Emulator, run: CommandLine, operation: str, told: str, command: str
) -> None:
    emulator.faults.rules = (Rule(Fault.DENIED, operation=operation),)
    flags = ["--identity=raw"] if command == "report" else []
    ended = checked(emulator, run) if command == "check" else run(text(emulator), command, *flags)
    assert ended.code == 1
    assert f"discovery[0] in eu-west-1: {told}" in ended.err.splitlines()


def test_identify_names_the_pool_that_a_rule_may_find(emulator: Emulator, run: CommandLine, pools: list[str]) -> None:
    raw = text(emulator, identity="raw", detail="user")
    plain = run(raw, "identify", "ann")
    assert (plain.code, plain.out) == (0, "")
    assert "--pool" in plain.err
    named = run(raw, "identify", "--pool", pools[0], "ann")
    assert (named.code, named.out) == (0, f"{pools[0]} ann\n")
    assert run(raw, "identify", "--pool", "eu-north-1_Nowhere", "ann").code == 2
