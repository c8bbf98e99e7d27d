"""Formats of a report, with hostile user names."""

from __future__ import annotations

import csv
import io
import json
import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from exporter.commands.report.formats import (
    COLUMNS,
    Change,
    Commands,
    Csv,
    DeviceFilter,
    JsonLines,
    Row,
    Table,
    age_seconds,
    rfc3339,
)
from exporter.config.settings import TargetSettings
from exporter.model import Device, RememberedStatus
from tests.hostile_names import PUNCTUATION
from tests.tools import required_tool
from tests.unit.collect.listed_pools import POOL_ID, device, settings

NOW_MS = 1_700_000_000_000
HOUR = 3600
NAMES = (
    *PUNCTUATION,
    "-rf",
    "--endpoint-url=http://example.com",
    "o'brien",
    "'; touch owned; '",
    "file:///etc/passwd",
    "=cmd|' /C calc'!A0",
    "\x1b[2J\x1b[31mred",
    "null\x00byte",
    "lone \udce4 surrogate",
)


def row(user: str = "alice", of: Device | None = None, **changes: Any) -> Row:
    of = of or device("eu-west-1_key", NOW_MS - 90 * 1000)
    return Row(settings(**changes), user, user, of, age_seconds(of, NOW_MS))


def test_json_has_every_column_and_rfc3339_dates() -> None:
    of = device("k", NOW_MS - 1500, created_ms=NOW_MS - 86_400_000, status="valid")
    assert json.loads(JsonLines().line(row("alice", of))) == {
        "user_pool_id": POOL_ID,
        "user": "alice",
        "device_key": "k",
        "remembered_status": "remembered",
        "status": "valid",
        "date_source": "authenticated",
        "age_seconds": 1.5,
        "last_authentication": "2023-11-14T22:13:18.500Z",
        "created": "2023-11-13T22:13:20.000Z",
        "last_modified": None,
    }


def test_json_has_attributes_if_configured() -> None:
    of = device(attributes=(("device_name", "Firefox"),))
    assert "attributes" not in json.loads(JsonLines().line(row(of=of)))
    line = JsonLines().line(row(of=of, device_attributes=("device_name",)))
    assert json.loads(line)["attributes"] == {"device_name": "Firefox"}


@pytest.mark.parametrize("name", NAMES)
def test_json_is_one_ascii_line_and_preserves_the_name(name: str) -> None:
    line = JsonLines().line(row(name))
    assert line.isascii()
    assert line.count("\n") == 1
    assert json.loads(line)["user"] == name


@pytest.mark.parametrize("name", NAMES)
def test_csv_preserves_the_name_except_formulas(name: str) -> None:
    text = Csv().head() + Csv().line(row(name))
    (found,) = csv.DictReader(io.StringIO(text, newline=""))
    assert tuple(found) == COLUMNS
    assert found["user"] in {name, f"'{name}"}
    assert not found["user"].startswith(("=", "+", "-", "@", "\t", "\r"))


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_csv_field_is_never_a_formula(start: str) -> None:
    (found,) = csv.DictReader(io.StringIO(Csv().head() + Csv().line(row(f"{start}1+1")), newline=""))
    assert found["user"] == f"'{start}1+1"


def test_csv_field_is_empty_without_a_value() -> None:
    (found,) = csv.DictReader(io.StringIO(Csv().head() + Csv().line(row(of=device("k", None)))))
    assert (found["date_source"], found["age_seconds"], found["last_authentication"]) == ("none", "", "")


@pytest.mark.parametrize("name", NAMES)
def test_table_line_is_printable(name: str) -> None:
    line = Table([POOL_ID]).line(row(name))
    assert line.endswith("\n")
    assert line[:-1].isprintable()


def test_table_columns_are_aligned() -> None:
    table = Table([POOL_ID, "eu-central-1_AbCdEfGhI"])
    head, line = table.head(), table.line(row("alice", device("eu-west-1_key", NOW_MS - 86_400_000 * 31)))
    assert head.index("USER\n") == line.index("alice\n")
    assert head.index("DEVICE") == line.index("eu-west-1_key")
    assert head.index("LAST ACTIVE") == line.index("2023-10-14T22:13:20Z")
    assert line.startswith("   31d  ")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (59, "59s"), (60, "1m"), (2 * HOUR, "2h"), (47 * HOUR, "1d"), (400 * 86400, "400d")],
)
def test_table_shows_an_age_in_its_largest_unit(seconds: int, shown: str) -> None:
    line = Table([POOL_ID]).line(row(of=device("k", NOW_MS - seconds * 1000)))
    assert line.split()[0] == shown


def test_device_without_a_date_has_no_age() -> None:
    assert Table([POOL_ID]).line(row(of=device("k", None))).split()[:2] == ["-", "-"]


def words(change: Change, name: str, **changes: Any) -> list[str]:
    """Return the words of a command as a shell splits them."""
    line = Commands(change).line(row(name, **changes))
    assert line.isascii()
    assert line.count("\n") == 1
    assert line[:-1].isprintable()
    return shlex.split(line)


@pytest.mark.parametrize("name", NAMES)
def test_forget_command_has_one_json_argument(name: str) -> None:
    *command, document = words(Change.FORGET, name)
    assert command == ["aws", "cognito-idp", "admin-forget-device", "--region", "eu-west-1", "--cli-input-json"]
    assert json.loads(document) == {"UserPoolId": POOL_ID, "Username": name, "DeviceKey": "eu-west-1_key"}


def test_unremember_command_sets_the_status() -> None:
    *command, document = words(Change.UNREMEMBER, "alice")
    assert command[2] == "admin-update-device-status"
    assert json.loads(document) == {
        "UserPoolId": POOL_ID,
        "Username": "alice",
        "DeviceKey": "eu-west-1_key",
        "DeviceRememberedStatus": "not_remembered",
    }


def test_command_has_the_configured_region_and_endpoint() -> None:
    target = TargetSettings("eu-west-1", endpoint_url="https://vpce.example/?a=$(id)&b")
    command = words(Change.FORGET, "alice", target=target)
    assert command[3:7] == ["--region", "eu-west-1", "--endpoint-url", "https://vpce.example/?a=$(id)&b"]


def test_section_names_account_region_and_role() -> None:
    role = "arn:aws:iam::210987654321:role/devices/reader+x@y"
    by_role = row(target=TargetSettings("us-east-2", role_arn=role, external_id="s3cret"))
    section = Commands(Change.FORGET).section
    assert section(replace(by_role, account_id="210987654321")) == (
        f"# account 210987654321, Region us-east-2, role {role}\n"
    )
    assert section(replace(row(), account_id="123456789012")) == "# account 123456789012, Region eu-west-1\n"
    assert section(row()) == "# account unknown, Region eu-west-1\n"


@pytest.mark.parametrize("name", NAMES)
def test_section_comment_cannot_be_escaped(name: str, tmp_path: Path) -> None:
    hostile = f"{name}\n\r\x0b\x0c\x85\u2028touch owned; $(touch owned)`touch owned`\\"
    target = TargetSettings(hostile, role_arn=hostile)
    section = Commands(Change.FORGET).section(replace(row(target=target), account_id=hostile))
    assert section.isascii()
    assert section[:-1].isprintable()
    assert section.endswith("\n")
    assert shlex.split(section, comments=True) == []
    done = subprocess.run(
        [required_tool("sh"), "-eu"],
        input=f"{section}echo done\n",
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("done\n", "")
    assert list(tmp_path.iterdir()) == []


def test_device_formats_have_one_section() -> None:
    assert {formatter.section(row()) for formatter in (Table([POOL_ID]), Csv(), JsonLines())} == {""}


def test_device_filter_can_skip_not_remembered_devices() -> None:
    statuses = {status: device(remembered=status) for status in RememberedStatus}
    assert all(map(DeviceFilter(NOW_MS).selects, statuses.values()))
    device_filter = DeviceFilter(NOW_MS, skip_not_remembered=True)
    assert {status for status, of in statuses.items() if device_filter.selects(of)} == {
        RememberedStatus.REMEMBERED,
        RememberedStatus.UNKNOWN,
    }


def test_device_filter_by_age_is_strict_and_needs_a_date() -> None:
    device_filter = DeviceFilter(NOW_MS, older_than_ms=1000)
    ages = {1000: False, 1001: True}
    assert {age: device_filter.selects(device("k", NOW_MS - age)) for age in ages} == ages
    assert not device_filter.selects(device("k", None))
    assert device_filter.selects(device("k", None, created_ms=0))
    assert DeviceFilter(NOW_MS).selects(device("k", None))


def test_age_is_never_negative() -> None:
    assert age_seconds(device("k", NOW_MS + 5000), NOW_MS) == 0


def test_rfc3339_covers_the_years_1_to_9999() -> None:
    assert rfc3339(-62_135_596_800_000) == "0001-01-01T00:00:00.000Z"
    assert rfc3339(253_402_300_799_999) == "9999-12-31T23:59:59.999Z"


def test_rows_sort_longest_idle_first_undated_last() -> None:
    devices = [device("new", NOW_MS), device("none", None), device("old", 0), device("b", 5), device("a", 5)]
    rows = sorted((row(of=of) for of in devices), key=lambda one: one.oldest_first)
    assert [one.device.key for one in rows] == ["old", "a", "b", "new", "none"]
    assert replace(rows[0], user="zoe").oldest_first > rows[0].oldest_first
