"""The systemd unit: validity, hardening, and agreement with the program.

Only the files are checked; no service manager runs here.
"""

from __future__ import annotations

import json
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.cli import WRONG_USAGE, cli
from exporter.emulator import Emulator
from tests.harness import config, program
from tests.tools import required_tool

ROOT = Path(__file__).parents[3]
FILES = ROOT / "deploy/systemd"
UNIT = FILES / "cognito-device-exporter.service"
DROP_INS = sorted((FILES / f"{UNIT.name}.d").glob("*.conf"))
DOCS = ROOT / "docs/systemd.md"

OPEN = {
    "DeviceAllow=",
    "IPAddressDeny=",
    "PrivateNetwork=",
    "ProcSubset=",
    "RestrictAddressFamilies=~AF_(INET|INET6)",
    "RestrictAddressFamilies=~AF_UNIX",
    "RootDirectory=/RootImage=",
}
"""Settings that `systemd-analyze security` reports as not hardened."""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([required_tool(command[0]), *command[1:]], capture_output=True, text=True, check=False)


def settings(text: str) -> dict[str, list[str]]:
    """Return the settings of a unit or a drop-in, with their values in order."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, separator, value = line.partition("=")
        if separator and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


@pytest.fixture
def unit() -> dict[str, list[str]]:
    return settings(UNIT.read_text(encoding="utf-8"))


def on_this_machine(directory: Path) -> Path:
    """Return the unit with an existing program, because systemd checks that it is executable."""
    text = UNIT.read_text(encoding="utf-8")
    own, _, _ = settings(text)["ExecStart"][0].partition(" ")
    copy = directory / UNIT.name
    copy.write_text(text.replace(own, sys.executable), encoding="utf-8")
    return copy


def verified(path: Path) -> str:
    done = run("systemd-analyze", "verify", "--man=no", str(path))
    return done.stdout + done.stderr


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    assert verified(on_this_machine(tmp_path)) == ""


@pytest.mark.parametrize("drop_in", DROP_INS, ids=lambda path: path.stem)
def test_systemd_accepts_the_unit_with_each_drop_in(tmp_path: Path, drop_in: Path) -> None:
    path = on_this_machine(tmp_path)
    beside = tmp_path / f"{UNIT.name}.d"
    beside.mkdir()
    (beside / drop_in.name).write_text(drop_in.read_text(encoding="utf-8"), encoding="utf-8")
    assert verified(path) == ""


def test_unknown_systemd_setting_is_detected(tmp_path: Path) -> None:
    path = on_this_machine(tmp_path)
    path.write_text(path.read_text(encoding="utf-8").replace("ProtectHome=", "ProtectHomes="), encoding="utf-8")
    assert "ProtectHomes" in verified(path)


def security(*flags: str) -> str:
    done = run("systemd-analyze", "security", "--offline=true", "--no-pager", *flags, str(UNIT))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_unit_is_hardened_except_where_explained() -> None:
    findings = json.loads(security("--json=short"))
    assert {finding["name"] for finding in findings if finding["exposure"] and not finding["set"]} == OPEN
    text = DOCS.read_text(encoding="utf-8")
    assert [name for name in OPEN if f"`{name.replace('|', ', ')}`" not in text] == []


def test_documented_exposure_matches_systemd() -> None:
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+) (\w+)", security())
    assert level
    assert f'**{level[1]}** of 10 ("{level[2]}")' in DOCS.read_text(encoding="utf-8")


def test_documentation_names_the_files(unit: dict[str, list[str]]) -> None:
    text = DOCS.read_text(encoding="utf-8")
    named = [*FILES.glob("*.*"), *DROP_INS]
    assert [path.name for path in named if path.name not in text] == []
    assert unit["Documentation"][0].endswith("/docs/systemd.md")


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


def test_unit_command_serves_and_stops(unit: dict[str, list[str]], emulator: Emulator, tmp_path: Path) -> None:
    (_, flag) = shlex.split(unit["ExecStart"][0])
    name, _, path = flag.partition("=")
    assert path == "/etc/cognito-device-exporter/config.yaml"
    file = tmp_path / "config.yaml"
    file.write_text(config(emulator.url, emulator.seed_pool("shop", users=2)), encoding="utf-8")
    further = {
        "COGNITO_DEVICE_EXPORTER_WEB_LISTEN_ADDRESS": "127.0.0.1:0",
        "COGNITO_DEVICE_EXPORTER_LOG_FORMAT": "json",
    }
    with program([f"{name}={file}"], tmp_path, emulator.url, **further) as running:
        running.wait_until_listening()
        assert running.end(signal.SIGTERM) == 0


def test_invalid_configuration_is_not_restarted(unit: dict[str, list[str]], tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("pools: []\n", encoding="utf-8")
    with program([f"--config.file={tmp_path / 'config.yaml'}"], tmp_path, "") as running:
        assert running.process.wait(20) == WRONG_USAGE
    assert unit["RestartPreventExitStatus"] == [str(WRONG_USAGE)]


def test_environment_file_variables_are_flags() -> None:
    known = {name for command in (cli, *cli.commands.values()) for option in command.params for name in names(option)}
    text = (FILES / "cognito-device-exporter.default").read_text(encoding="utf-8")
    named = set(re.findall(r"COGNITO_DEVICE_EXPORTER_[A-Z_]+", text))
    assert named
    assert named <= known


def names(option: object) -> list[str]:
    """Return the environment variables of an option."""
    variable = getattr(option, "envvar", None)
    return [variable] if isinstance(variable, str) else list(variable or [])


def test_sysusers_creates_the_user_of_the_drop_in(tmp_path: Path) -> None:
    file = FILES / "cognito-device-exporter.sysusers.conf"
    done = run("systemd-sysusers", "--dry-run", f"--root={tmp_path}", str(file))
    assert done.returncode == 0, done.stderr
    (user,) = settings((UNIT.parent / f"{UNIT.name}.d/static-user.conf").read_text(encoding="utf-8"))["User"]
    assert f"Creating user '{user}'" in done.stdout + done.stderr
