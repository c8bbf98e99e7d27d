"""`report` as a program: what it prints, and how it ends."""

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
from tests.integration.command_line import CommandLine, Ended
from tests.tools import required_tool

COMMANDS_PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
DAY_MS = 86_400_000
Report = Callable[..., Ended]
HOSTILE = (*PUNCTUATION, "-rf", "o'brien", "'; touch owned; '", "file:///etc/hosts", "=1+1", "\x1b[2J")


@pytest.fixture
def report(run: CommandLine) -> Report:
    return lambda text, *flags: run(text, "report", *flags)


def raw(emulator: Emulator, *pools: Any, **defaults: Any) -> str:
    return config(emulator.url, *pools, identity="raw", **defaults)


def test_every_device_of_every_pool_is_printed_as_it_is(emulator: Emulator, report: Report) -> None:
    mix = DeviceMix(unauthenticated_share=0.2, undated_share=0.1, unknown_share=0.1)
    pool_ids = [emulator.seed_pool("one", users=150, federated_share=0.1, devices=mix)]
    pool_ids.append(emulator.seed_pool("two", users=HOSTILE))
    ended = report(raw(emulator, *pool_ids), "--format=json")
    assert (ended.code, ended.err) == (0, "")
    expected = {
        (pool_id, user, device.key): (device.remembered.value, device.date_source.value)
        for pool_id in pool_ids
        for user, devices in emulator.truth(pool_id).users.items()
        for device in devices
    }
    assert {
        (row["user_pool_id"], row["user"], row["device_key"]): (row["remembered_status"], row["date_source"])
        for row in ended.rows
    } == expected
    assert len(ended.rows) == len(expected)


def test_users_are_fingerprints_where_the_configuration_says_so(
    emulator: Emulator, report: Report, tmp_path: Path
) -> None:
    pool_id = emulator.seed_pool("one", users=["alice"], devices=DeviceMix(per_user={1: 1.0}))
    key_file = identity_key(tmp_path)
    identity = HmacIdentity(read_key(Path(key_file)))
    text = config(emulator.url, pool_id, identity_key_file=key_file)
    assert [row["user"] for row in report(text, "--format=json").rows] == [identity.of(pool_id, "alice").hex()]
    assert [row["user"] for row in report(text, "--format=json", "--identity=raw").rows] == ["alice"]


def test_a_fingerprint_without_a_key_is_wrong_usage(emulator: Emulator, report: Report) -> None:
    ended = report(config(emulator.url, "eu-west-1_AbCdEfGhI"))
    assert (ended.code, ended.out) == (2, "")
    assert "no key for identity hmac" in ended.err
    assert "--identity raw" in ended.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--pool=eu-west-1_Unknown"], "not in the configuration, expected one of eu-west-1_AbCdEfGhI"),
        (["--older-than=soon"], "expected one such as 90d"),
        (["--top=0"], "--top"),
        (["--commands=forget", "--format=csv"], "expected one of them"),
        (["--commands=forget", "--identity=hmac"], "needs user names"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_asked(
    flags: list[str], said: str, emulator: Emulator, report: Report
) -> None:
    ended = report(raw(emulator, "eu-west-1_AbCdEfGhI"), *flags)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert emulator.requests() == ()


def test_devices_are_chosen_by_age_and_pool_and_sorted_on_request(emulator: Emulator, report: Report) -> None:
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


def test_every_run_asks_aws_anew(emulator: Emulator, report: Report, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("one", users=20)
    text = raw(emulator, pool_id, state=str(tmp_path / "state.db"))
    for _ in range(2):
        emulator.clear_requests()
        assert report(text).code == 0
        assert Counter(request.operation for request in emulator.requests())["AdminListDevices"] == 20
    assert not (tmp_path / "state.db").exists()


def test_what_could_not_be_read_is_told_and_the_rest_is_printed(emulator: Emulator, report: Report) -> None:
    ids = [emulator.seed_pool(name, users=10) for name in ("good", "denied")]
    off = emulator.seed_pool("off", users=10, tracking=Tracking.OFF)
    emulator.faults.rules = (Rule(Fault.DENIED, "AdminListDevices", ids[1]),)
    ended = report(raw(emulator, *ids, off, "eu-west-1_NoSuchOne"), "--format=json")
    assert ended.code == 1
    assert {row["user_pool_id"] for row in ended.rows} == {ids[0]}
    assert sorted(ended.err.splitlines()) == sorted(
        [
            f"{ids[1]}: not every user was read: denied; check-config --aws says what is missing",
            "eu-west-1_NoSuchOne: not every user was read: there is no such pool",
            f"{off}: the pool does not track devices",
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
"""The AWS CLI about a device that is gone."""


def run_by_a_shell(script: str, directory: Path) -> list[list[str]]:
    """The words of each call of `aws` when a real shell runs the lines."""
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


def carried_out(script: str, directory: Path, emulator: Emulator) -> int:
    """Do what the lines say; how many there were."""
    calls = run_by_a_shell(script, directory)
    for service, operation, *flags, document in calls:
        assert service == "cognito-idp"
        assert flags == ["--region", "eu-west-1", "--endpoint-url", emulator.url, "--cli-input-json"]
        emulator.call(OPERATIONS[operation], json.loads(document))
    return len(calls)


@pytest.mark.parametrize("change", ["forget", "unremember"])
def test_commands_change_nothing_by_themselves_and_exactly_those_devices_when_they_are_run(
    change: str, emulator: Emulator, report: Report, tmp_path: Path
) -> None:
    pool_id = emulator.seed_pool("hostile", users=HOSTILE, devices=DeviceMix(per_user={2: 1.0}))
    before = emulator.truth(pool_id)
    old = {row["device_key"] for row in report(raw(emulator, pool_id), "--format=json", "--older-than=30d").rows}
    remembered = {device.key for device in before.devices if device.remembered is RememberedStatus.REMEMBERED}
    ended = report(raw(emulator, pool_id), f"--commands={change}", "--older-than=30d")
    assert ended.code == 0
    assert emulator.truth(pool_id) == before
    wanted = old if change == "forget" else old & remembered
    assert carried_out(ended.out, tmp_path, emulator) == len(wanted) > 5
    after = emulator.truth(pool_id)
    if change == "forget":
        assert {device.key for device in after.devices} == {device.key for device in before.devices} - wanted
    else:
        still = {device.key for device in after.devices if device.remembered is RememberedStatus.REMEMBERED}
        assert still == remembered - wanted


def by_role(emulator: Emulator, account_id: str, users: int) -> dict[str, Any]:
    """The entry of a pool in another account."""
    pool_id = emulator.seed_pool(f"of {account_id}", account_id=account_id, users=users)
    return pool(pool_id, role_arn=f"arn:aws:iam::{account_id}:role/reader")


def parts_of(script: str) -> dict[str, list[str]]:
    """The pools of the commands after each comment."""
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
def test_commands_say_whose_pool_they_are_about(emulator: Emulator, report: Report, flags: tuple[str, ...]) -> None:
    own = emulator.seed_pool("own", users=20)
    others = [by_role(emulator, account_id, users=20) for account_id in ("210987654321", "345678901234")]
    script = report(raw(emulator, own, *others), "--commands=forget", *flags).out
    found = parts_of(script)
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
    """How docs/commands.md has a shell run the lines."""
    (words,) = re.findall(r"^\$ (sh .*)forget\.sh(?: 2> .*)?$", COMMANDS_PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    shell, *options = words.split()
    return [required_tool(shell), *options, str(script)]


def test_the_documented_way_goes_on_after_a_device_that_is_gone(
    emulator: Emulator, report: Report, tmp_path: Path
) -> None:
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
