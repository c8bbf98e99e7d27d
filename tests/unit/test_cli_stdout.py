"""Commands with a closed or full standard output."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.cli import main
from tests.tools import required_tool

RAW = "defaults: {identity: raw}\npools:\n  - id: eu-west-1_AbCdEfGhI\n"


def run(directory: Path, redirection: str, *arguments: str) -> tuple[int, str]:
    """Run the program with a shell redirection, and return the exit code and standard error."""
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
    ("arguments", "content"),
    [
        (["report"], "the devices"),
        (["plan"], "the forecast"),
        (["iam-policy"], "the policy"),
        (["identify", "alice"], "the labels"),
    ],
    ids=" ".join,
)
def test_printing_command_rejects_a_closed_stdout(
    arguments: list[str], content: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"standard output is closed; cannot print {content}\n"


def test_process_without_stdout_exits_2(tmp_path: Path) -> None:
    message = "standard output is closed; cannot print the labels\n"
    assert run(tmp_path, ">&-", "identify", "alice") == (2, message)


def test_check_config_does_not_need_stdout(tmp_path: Path) -> None:
    assert run(tmp_path, ">&-", "check-config", "config.yaml") == (0, "")


FULL = Path("/dev/full")


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full to write to")
@pytest.mark.usefixtures("in_directory")
@pytest.mark.parametrize(
    "arguments", [["--version"], ["check-config", "config.yaml"], ["identify", "alice"], ["iam-policy"]], ids=" ".join
)
def test_full_stdout_is_reported_and_exits_1(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with FULL.open("w", buffering=1, encoding="utf-8") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert main(arguments) == 1
        monkeypatch.undo()
        with contextlib.suppress(OSError):
            full.close()
    assert capsys.readouterr().err == "cannot write to standard output: No space left on device\n"


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full to write to")
def test_process_with_full_stdout_exits_1(tmp_path: Path) -> None:
    message = "cannot write to standard output: No space left on device\n"
    assert run(tmp_path, "> /dev/full", "--version") == (1, message)
