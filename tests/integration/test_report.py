"""`report`: output and exit codes."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from exporter.emulator import Emulator, Fault, Rule
from exporter.emulator.seed import DeviceMix
from exporter.identity import HmacIdentity, read_key
from exporter.model import RememberedStatus, Tracking
from tests.harness import ACCOUNT, config, identity_key, pool
from tests.hostile_names import PUNCTUATION
from tests.integration.command_line import CommandLine, Result
from tests.tools import required_tool

COMMANDS_PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
DAY_MS = 86_400_000
Report = Callable[..., Result]
HOSTILE = (*PUNCTUATION, "-rf", "o'brien", "'; touch owned; '", "file:///etc/hosts", "=1+1", "\x1b[2J")


@pytest.fixture
def report(run: CommandLine) -> Report:
    return lambda text, *flags: run(text, "report", *flags)


def raw(emulator: Emulator, *pools: Any, **defaults: Any) -> str:
    return config(emulator.url, *pools, identity="raw", **defaults)


def test_every_device_of_every_pool_is_printed(emulator: Emulator, report: Report) -> None:
    mix = DeviceMix(unauthenticated_share=0.2, undated_share=0.1, unknown_share=0.1)
    pool_ids = [emulator.seed_pool("one", users=150, federated_share=0.1, devices=mix)]
    pool_ids.append(emulator.seed_pool("two", users=HOSTILE))
    result = report(raw(emulator, *pool_ids), "--format=json")
    assert (result.code, result.err) == (0, "")
    expected = {
        (pool_id, user, device.key): (device.remembered.value, device.date_source.value)
        for pool_id in pool_ids
        for user, devices in emulator.truth(pool_id).users.items()
        for device in devices
    }
    assert {
        (row["user_pool_id"], row["user"], row["device_key"]): (row["remembered_status"], row["date_source"])
        for row in result.rows
    } == expected
    assert len(result.rows) == len(expected)


def test_users_are_fingerprints_or_names(emulator: Emulator, report: Report, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("one", users=["alice"], devices=DeviceMix(per_user={1: 1.0}))
    key_file = identity_key(tmp_path)
    identity = HmacIdentity(read_key(Path(key_file)))
    text = config(emulator.url, pool_id, identity_key_file=key_file)
    assert [row["user"] for row in report(text, "--format=json").rows] == [identity.of(pool_id, "alice").hex()]
    assert [row["user"] for row in report(text, "--format=json", "--identity=raw").rows] == ["alice"]


def test_fingerprint_without_a_key_exits_2(emulator: Emulator, report: Report) -> None:
    result = report(config(emulator.url, "eu-west-1_AbCdEfGhI"))
    assert (result.code, result.out) == (2, "")
    assert "no key for identity hmac" in result.err
    assert "--identity raw" in result.err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--pool=eu-west-1_Unknown"], "unknown pool, expected one of eu-west-1_AbCdEfGhI"),
        (["--older-than=soon"], "expected one such as 90d"),
        (["--top=0"], "--top"),
        (["--commands=forget", "--format=csv"], "mutually exclusive"),
        (["--commands=forget", "--identity=hmac"], "prints user names"),
    ],
)
def test_wrong_usage_sends_no_request(flags: list[str], message: str, emulator: Emulator, report: Report) -> None:
    result = report(raw(emulator, "eu-west-1_AbCdEfGhI"), *flags)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert emulator.requests() == ()


def test_devices_are_filtered_and_sorted(emulator: Emulator, report: Report) -> None:
    one, two = (emulator.seed_pool(name, users=100) for name in ("one", "two"))
    rows = report(raw(emulator, one, two), "--format=csv", "--older-than=90d", "--sort").out
    found = list(csv.DictReader(io.StringIO(rows, newline="")))
    ages = [float(row["age_seconds"]) for row in found]
    assert ages == sorted(ages, reverse=True)
    assert min(ages) > 90 * 86400
    assert {row["user_pool_id"] for row in found} == {one, two}
    top = report(raw(emulator, one, two), "--format=csv", "--top=3", f"--pool={two}").out
    oldest = [row["device_key"] for row in found if row["user_pool_id"] == two][:3]
    assert [row["device_key"] for row in csv.DictReader(io.StringIO(top))] == oldest


def test_report_does_not_use_the_state_file(emulator: Emulator, report: Report, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("one", users=20)
    text = raw(emulator, pool_id, state=str(tmp_path / "state.db"))
    for _ in range(2):
        emulator.clear_requests()
        assert report(text).code == 0
        assert Counter(request.operation for request in emulator.requests())["AdminListDevices"] == 20
    assert not (tmp_path / "state.db").exists()


def test_incomplete_pools_are_reported_and_the_rest_printed(emulator: Emulator, report: Report) -> None:
    ids = [emulator.seed_pool(name, users=10) for name in ("good", "denied")]
    off = emulator.seed_pool("off", users=10, tracking=Tracking.OFF)
    emulator.faults.rules = (Rule(Fault.DENIED, "AdminListDevices", ids[1]),)
    result = report(raw(emulator, *ids, off, "eu-west-1_NoSuchOne"), "--format=json")
    assert result.code == 1
    assert {row["user_pool_id"] for row in result.rows} == {ids[0]}
    assert sorted(result.err.splitlines()) == sorted(
        [
            f"{ids[1]}: incomplete: denied; run check-config --aws for details",
            "eu-west-1_NoSuchOne: incomplete: user pool does not exist",
            f"{off}: device tracking is off",
        ]
    )


# Commands

STUB = """#!/bin/sh
for word in "$@"; do printf '%s\\0' "$word"; done >> "$CALLS"
printf '\\n\\0' >> "$CALLS"
"""


FAILS_FIRST = """#!/bin/sh
echo called >> "$CALLS"
[ "$(wc -l < "$CALLS")" -gt 1 ] && exit 0
echo ResourceNotFoundException >&2
exit 254
"""
"""AWS CLI whose first call fails because the device does not exist."""


def run_by_a_shell(script: str, directory: Path) -> list[list[str]]:
    """Return the words of each call of `aws` when a shell runs the script."""
    stub, calls = directory / "aws", directory / "calls"
    stub.write_text(STUB)
    stub.chmod(0o755)
    calls.touch()
    path = f"{directory}:{os.environ['PATH']}"
    subprocess.run(
        [required_tool("sh"), "-eu"],
        input=script,
        text=True,
        check=True,
        cwd=directory,
        env={"PATH": path, "CALLS": str(calls)},
    )
    assert not (directory / "owned").exists()
    found: list[list[str]] = [[]]
    for word in calls.read_bytes().decode().split("\0")[:-1]:
        if word == "\n":
            found.append([])
        else:
            found[-1].append(word)
    return found[:-1]


OPERATIONS = {"admin-forget-device": "AdminForgetDevice", "admin-update-device-status": "AdminUpdateDeviceStatus"}


def run_in_emulator(script: str, directory: Path, emulator: Emulator) -> int:
    """Run the commands of the script in the emulator and return their number."""
    calls = run_by_a_shell(script, directory)
    for service, operation, *flags, document in calls:
        assert service == "cognito-idp"
        assert flags == ["--region", "eu-west-1", "--endpoint-url", emulator.url, "--cli-input-json"]
        emulator.call(OPERATIONS[operation], json.loads(document))
    return len(calls)


@pytest.mark.parametrize("change", ["forget", "unremember"])
def test_printed_commands_change_exactly_the_listed_devices(
    change: str, emulator: Emulator, report: Report, tmp_path: Path
) -> None:
    pool_id = emulator.seed_pool("hostile", users=HOSTILE, devices=DeviceMix(per_user={2: 1.0}))
    before = emulator.truth(pool_id)
    old = {row["device_key"] for row in report(raw(emulator, pool_id), "--format=json", "--older-than=30d").rows}
    remembered = {device.key for device in before.devices if device.remembered is RememberedStatus.REMEMBERED}
    result = report(raw(emulator, pool_id), f"--commands={change}", "--older-than=30d")
    assert result.code == 0
    assert emulator.truth(pool_id) == before
    wanted = old if change == "forget" else old & remembered
    assert run_in_emulator(result.out, tmp_path, emulator) == len(wanted) > 5
    after = emulator.truth(pool_id)
    if change == "forget":
        assert {device.key for device in after.devices} == {device.key for device in before.devices} - wanted
    else:
        still = {device.key for device in after.devices if device.remembered is RememberedStatus.REMEMBERED}
        assert still == remembered - wanted


def by_role(emulator: Emulator, account_id: str, users: int) -> dict[str, Any]:
    """Return the entry of a pool in another account."""
    pool_id = emulator.seed_pool(f"of {account_id}", account_id=account_id, users=users)
    return pool(pool_id, role_arn=f"arn:aws:iam::{account_id}:role/reader")


def pools_by_comment(script: str) -> dict[str, list[str]]:
    """Return the pools of the commands after each comment."""
    found: dict[str, list[str]] = {}
    comment = ""
    for line in script.splitlines():
        if line.startswith("#"):
            assert line != comment, "the same comment twice in a row"
            comment = line
        else:
            found.setdefault(comment, []).append(json.loads(shlex.split(line)[-1])["UserPoolId"])
    return found


@pytest.mark.parametrize("flags", [(), ("--sort",)])
def test_commands_have_comments_with_account_and_role(
    emulator: Emulator, report: Report, flags: tuple[str, ...]
) -> None:
    own = emulator.seed_pool("own", users=20)
    others = [by_role(emulator, account_id, users=20) for account_id in ("210987654321", "345678901234")]
    script = report(raw(emulator, own, *others), "--commands=forget", *flags).out
    found = pools_by_comment(script)
    assert {comment: set(pool_ids) for comment, pool_ids in found.items()} == {
        f"# account {ACCOUNT}, Region eu-west-1": {own},
        **{
            f"# account {account_id}, Region eu-west-1, role arn:aws:iam::{account_id}:role/reader": {entry["id"]}
            for account_id, entry in zip(("210987654321", "345678901234"), others, strict=True)
        },
    }
    devices = sum(len(emulator.truth(pool_id).devices) for pool_id in (own, *(entry["id"] for entry in others)))
    assert sum(map(len, found.values())) == devices
    if flags:
        assert script.count("# account") == 3


def documented_run(script: Path) -> list[str]:
    """Return the shell command of docs/commands.md for a script."""
    (words,) = re.findall(r"^\$ (sh .*)forget\.sh(?: 2> .*)?$", COMMANDS_PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    shell, *options = words.split()
    return [required_tool(shell), *options, str(script)]


def test_documented_script_run_continues_after_an_error(emulator: Emulator, report: Report, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("few", users=5, devices=DeviceMix(per_user={1: 1.0}))
    script = tmp_path / "forget.sh"
    script.write_text(report(raw(emulator, pool_id), "--commands=forget").out)
    stub = tmp_path / "aws"
    stub.write_text(FAILS_FIRST)
    stub.chmod(0o755)
    calls = tmp_path / "calls"
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "CALLS": str(calls)}
    done = subprocess.run(documented_run(script), capture_output=True, text=True, check=False, env=env)
    assert len(calls.read_text().splitlines()) == 5
    assert done.stderr == "ResourceNotFoundException\n"
