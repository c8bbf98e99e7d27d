"""One-off commands with discovery rules."""

from __future__ import annotations

import json
from typing import Any

import pytest

from exporter.emulator import Emulator, Fault, Rule
from tests.harness import ACCOUNT, config
from tests.integration.command_line import CommandLine, Result

REGIONS = ("eu-west-1", "us-west-2")


@pytest.fixture
def pools(emulator: Emulator) -> list[str]:
    """Return two pools that match the rule, in two Regions; a third pool does not match."""
    found = [emulator.seed_pool("prod-shop", region, account_id=ACCOUNT, users=4) for region in REGIONS]
    other = emulator.seed_pool("test-shop", account_id=ACCOUNT, users=4)
    for pool_id in (*found, other):
        emulator.tag(pool_id, team="identity")
    return found


def text(emulator: Emulator, **settings: Any) -> str:
    entry = {"regions": list(REGIONS), "name": "^prod-", "tags": {"team": "identity"}, **settings}
    return config(emulator.url, discovery=[entry])


def checked(emulator: Emulator, run: CommandLine, **settings: Any) -> Result:
    run.file.write_text(text(emulator, **settings), encoding="utf-8")
    return run.run("check-config", "--aws", str(run.file))


def test_plan_forecasts_discovered_pools(emulator: Emulator, run: CommandLine, pools: list[str]) -> None:
    result = run(text(emulator), "plan", "--format=json")
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert {pool["user_pool_id"] for pool in found["pools"]} == set(pools)
    assert "Discovery queries are not included: 2 every 10m." in found["assumptions"][-1]


def test_report_reads_discovered_pools(emulator: Emulator, run: CommandLine, pools: list[str]) -> None:
    result = run(text(emulator), "report", "--format=json", "--identity=raw")
    assert (result.code, {row["user_pool_id"] for row in result.rows}) == (0, set(pools))


@pytest.mark.parametrize("format_", ["table", "csv", "json"])
def test_report_without_a_matching_pool_exits_0(emulator: Emulator, run: CommandLine, format_: str) -> None:
    assert run(text(emulator, name="^nothing-"), "report", f"--format={format_}").code == 0


@pytest.mark.parametrize("command", ["check", "plan", "report"])
@pytest.mark.usefixtures("pools")
def test_rule_without_a_match_is_reported_and_exits_0(emulator: Emulator, run: CommandLine, command: str) -> None:
    nothing = text(emulator, name="^nothing-")
    result = checked(emulator, run, name="^nothing-") if command == "check" else run(nothing, command)
    assert (result.code, result.err) == (0, "discovery[0]: no pool matches\n")


def test_check_includes_discovered_pools(emulator: Emulator, run: CommandLine, pools: list[str]) -> None:
    result = checked(emulator, run)
    assert (result.code, result.err) == (0, "")
    assert result.out == f"{run.file}: OK (1 rule)\nAWS: OK ({len(pools)} of {len(pools)} pools can be read)\n"


@pytest.mark.parametrize(
    ("operation", "message"),
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
def test_missing_permission_of_a_rule_is_reported(
    emulator: Emulator, run: CommandLine, operation: str, message: str, command: str
) -> None:
    emulator.faults.rules = (Rule(Fault.DENIED, operation=operation),)
    flags = ["--identity=raw"] if command == "report" else []
    result = checked(emulator, run) if command == "check" else run(text(emulator), command, *flags)
    assert result.code == 1
    assert f"discovery[0] in eu-west-1: {message}" in result.err.splitlines()


def test_identify_accepts_a_discovered_pool(emulator: Emulator, run: CommandLine, pools: list[str]) -> None:
    raw = text(emulator, identity="raw", detail="user")
    plain = run(raw, "identify", "ann")
    assert (plain.code, plain.out) == (0, "")
    assert "--pool" in plain.err
    named = run(raw, "identify", "--pool", pools[0], "ann")
    assert (named.code, named.out) == (0, f"{pools[0]} ann\n")
    assert run(raw, "identify", "--pool", "eu-north-1_Nowhere", "ann").code == 2
