"""Standard output that is closed or takes nothing: what the commands say of it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.cli import main
from tests.tools import required_tool

RAW = "defaults: {identity: raw}\npools:\n  - id: eu-west-1_AbCdEfGhI\n"


def ended(directory: Path, redirection: str, *arguments: str) -> tuple[int, str]:
    """Run the program with a redirection of the shell; return its exit code and standard error."""
    (directory / "config.yaml").write_text(RAW, encoding="utf-8")
    command = [required_tool("sh"), "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-m", "exporter"]
    done = subprocess.run([*command, *arguments], cwd=directory, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.fixture
def in_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "config.yaml").write_text(RAW, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("in_directory")
@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["report"], "the devices"),
        (["plan"], "the forecast"),
        (["iam-policy"], "the policy"),
        (["identify", "alice"], "the labels"),
    ],
    ids=" ".join,
)
def test_command_with_closed_stdout_is_rejected(
    arguments: list[str], wanted: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"standard output is closed, expected somewhere to print {wanted}\n"


def test_process_without_stdout_reports_it(tmp_path: Path) -> None:
    said = "standard output is closed, expected somewhere to print the labels\n"
    assert ended(tmp_path, ">&-", "identify", "alice") == (2, said)


def test_command_with_an_exit_code_needs_no_stdout(tmp_path: Path) -> None:
    assert ended(tmp_path, ">&-", "check-config", "config.yaml") == (0, "")


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full to write to")
@pytest.mark.usefixtures("in_directory")
@pytest.mark.parametrize(
    "arguments", [["--version"], ["check-config", "config.yaml"], ["identify", "alice"], ["iam-policy"]], ids=" ".join
)
def test_full_stdout_is_reported_and_exits_with_1(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with FULL.open("w", buffering=1, encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(arguments) == 1
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            full.close()
    assert capsys.readouterr().err == "standard output cannot be written: No space left on device\n"


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full to write to")
def test_process_with_full_stdout_fails(tmp_path: Path) -> None:
    said = "standard output cannot be written: No space left on device\n"
    assert ended(tmp_path, "> /dev/full", "--version") == (1, said)
