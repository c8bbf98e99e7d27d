"""How devices are written, whatever the names of their users."""

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

from exporter.commands.report.formats import COLUMNS, Change, Commands, Csv, JsonLines, Table
from exporter.commands.report.rows import DeviceFilter, Row, age_seconds, moment
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


def test_json_has_every_column_and_dates_as_moments() -> None:
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


def test_json_has_attributes_where_the_configuration_asks_for_them() -> None:
    of = device(attributes=(("device_name", "Firefox"),))
    assert "attributes" not in json.loads(JsonLines().line(row(of=of)))
    line = JsonLines().line(row(of=of, device_attributes=("device_name",)))
    assert json.loads(line)["attributes"] == {"device_name": "Firefox"}


@pytest.mark.parametrize("name", NAMES)
def test_json_is_one_line_of_ascii_and_gives_the_name_back(name: str) -> None:
    line = JsonLines().line(row(name))
    assert line.isascii()
    assert line.count("\n") == 1
    assert json.loads(line)["user"] == name


@pytest.mark.parametrize("name", NAMES)
def test_csv_gives_the_name_back_but_for_the_guard_of_formulas(name: str) -> None:
    text = Csv().head() + Csv().line(row(name))
    (found,) = csv.DictReader(io.StringIO(text, newline=""))
    assert tuple(found) == COLUMNS
    assert found["user"] in {name, f"'{name}"}
    assert not found["user"].startswith(("=", "+", "-", "@", "\t", "\r"))


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_no_field_of_csv_is_a_formula(start: str) -> None:
    (found,) = csv.DictReader(io.StringIO(Csv().head() + Csv().line(row(f"{start}1+1")), newline=""))
    assert found["user"] == f"'{start}1+1"


def test_csv_leaves_empty_what_cognito_does_not_give() -> None:
    (found,) = csv.DictReader(io.StringIO(Csv().head() + Csv().line(row(of=device("k", None)))))
    assert (found["date_source"], found["age_seconds"], found["last_authentication"]) == ("none", "", "")


@pytest.mark.parametrize("name", NAMES)
def test_a_table_keeps_every_device_on_a_line_that_a_terminal_only_shows(name: str) -> None:
    line = Table([POOL_ID]).line(row(name))
    assert line.endswith("\n")
    assert line[:-1].isprintable()


def test_the_columns_of_a_table_stand_under_their_names() -> None:
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
def test_a_table_shows_an_age_in_its_largest_unit(seconds: int, shown: str) -> None:
    line = Table([POOL_ID]).line(row(of=device("k", NOW_MS - seconds * 1000)))
    assert line.split()[0] == shown


def test_a_device_without_a_date_has_no_age() -> None:
    assert Table([POOL_ID]).line(row(of=device("k", None))).split()[:2] == ["-", "-"]


def words(change: Change, name: str, **changes: Any) -> list[str]:
    """What a shell makes of a command."""
    line = Commands(change).line(row(name, **changes))
    assert line.isascii()
    assert line.count("\n") == 1
    assert line[:-1].isprintable()
    return shlex.split(line)


@pytest.mark.parametrize("name", NAMES)
def test_a_command_names_the_user_and_does_nothing_else(name: str) -> None:
    *command, document = words(Change.FORGET, name)
    assert command == ["aws", "cognito-idp", "admin-forget-device", "--region", "eu-west-1", "--cli-input-json"]
    assert json.loads(document) == {"UserPoolId": POOL_ID, "Username": name, "DeviceKey": "eu-west-1_key"}


def test_a_device_is_made_not_remembered() -> None:
    *command, document = words(Change.UNREMEMBER, "alice")
    assert command[2] == "admin-update-device-status"
    assert json.loads(document) == {
        "UserPoolId": POOL_ID,
        "Username": "alice",
        "DeviceKey": "eu-west-1_key",
        "DeviceRememberedStatus": "not_remembered",
    }


def test_a_command_goes_where_the_configuration_goes() -> None:
    target = TargetSettings("eu-west-1", endpoint_url="https://vpce.example/?a=$(id)&b")
    command = words(Change.FORGET, "alice", target=target)
    assert command[3:7] == ["--region", "eu-west-1", "--endpoint-url", "https://vpce.example/?a=$(id)&b"]


def test_a_part_says_whose_pool_it_is_and_by_which_role_it_is_read() -> None:
    role = "arn:aws:iam::210987654321:role/devices/reader+x@y"
    by_role = row(target=TargetSettings("us-east-2", role_arn=role, external_id="s3cret"))
    part = Commands(Change.FORGET).part
    assert part(replace(by_role, account_id="210987654321")) == (
        f"# account 210987654321, Region us-east-2, role {role}\n"
    )
    assert part(replace(row(), account_id="123456789012")) == "# account 123456789012, Region eu-west-1\n"
    assert part(row()) == "# account unknown, Region eu-west-1\n"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_breaks_out_of_the_comment(name: str, tmp_path: Path) -> None:
    hostile = f"{name}\n\r\x0b\x0c\x85\u2028touch owned; $(touch owned)`touch owned`\\"
    target = TargetSettings(hostile, role_arn=hostile)
    part = Commands(Change.FORGET).part(replace(row(target=target), account_id=hostile))
    assert part.isascii()
    assert part[:-1].isprintable()
    assert part.endswith("\n")
    assert shlex.split(part, comments=True) == []
    done = subprocess.run(
        [required_tool("sh"), "-eu"],
        input=f"{part}echo done\n",
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("done\n", "")
    assert list(tmp_path.iterdir()) == []


def test_what_shows_devices_has_no_parts() -> None:
    assert {form.part(replace(row(), account_id="1")) for form in (Table([POOL_ID]), Csv(), JsonLines())} == {""}


def test_only_what_would_change_something_is_a_command() -> None:
    statuses = {status: device(remembered=status) for status in RememberedStatus}
    assert all(map(Commands(Change.FORGET).wants, statuses.values()))
    wanted = {status for status, of in statuses.items() if Commands(Change.UNREMEMBER).wants(of)}
    assert wanted == {RememberedStatus.REMEMBERED, RememberedStatus.UNKNOWN}


def test_older_than_is_strict_and_leaves_out_what_has_no_date() -> None:
    wanted = DeviceFilter(NOW_MS, older_than_ms=1000)
    ages = {1000: False, 1001: True}
    assert {age: wanted.wants(device("k", NOW_MS - age)) for age in ages} == ages
    assert not wanted.wants(device("k", None))
    assert wanted.wants(device("k", None, created_ms=0))
    assert DeviceFilter(NOW_MS).wants(device("k", None))


def test_an_age_is_never_negative() -> None:
    assert age_seconds(device("k", NOW_MS + 5000), NOW_MS) == 0


def test_moments_reach_from_the_first_year_to_the_last() -> None:
    assert moment(-62_135_596_800_000) == "0001-01-01T00:00:00.000Z"
    assert moment(253_402_300_799_999) == "9999-12-31T23:59:59.999Z"


def test_the_longest_idle_come_first_and_devices_without_a_date_last() -> None:
    devices = [device("new", NOW_MS), device("none", None), device("old", 0), device("b", 5), device("a", 5)]
    rows = sorted((row(of=of) for of in devices), key=lambda one: one.oldest_first)
    assert [one.device.key for one in rows] == ["old", "a", "b", "new", "none"]
    assert replace(rows[0], user="zoe").oldest_first > rows[0].oldest_first
