"""Standard output that is closed or takes nothing: what the commands say of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools import required_tool

RAW = "defaults: {identity: raw}\npools:\n  - id: eu-west-1_AbCdEfGhI\n"


def ended(directory: Path, redirection: str, *arguments: str) -> tuple[int, str]:
    """The exit code of the program, whose output goes where the shell is told, and what it says beside it."""
    (directory / "config.yaml").write_text(RAW, encoding="utf-8")
    command = [required_tool("sh"), "-c", f'exec "$@" {redirection}', "sh", sys.executable, "-m", "exporter"]
    done = subprocess.run([*command, *arguments], cwd=directory, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


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
def test_a_command_that_only_prints_refuses_a_closed_standard_output(
    tmp_path: Path, arguments: list[str], wanted: str
) -> None:
    said = f"standard output is closed, expected somewhere to print {wanted}\n"
    assert ended(tmp_path, ">&-", *arguments) == (2, said)


def test_a_command_whose_exit_code_is_the_answer_needs_no_standard_output(tmp_path: Path) -> None:
    assert ended(tmp_path, ">&-", "check-config", "config.yaml") == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full to write to")
@pytest.mark.parametrize(
    "arguments", [["--version"], ["check-config", "config.yaml"], ["identify", "alice"], ["iam-policy"]], ids=" ".join
)
def test_an_output_that_is_full_is_named_and_is_a_failure(tmp_path: Path, arguments: list[str]) -> None:
    said = "standard output cannot be written: No space left on device\n"
    assert ended(tmp_path, "> /dev/full", *arguments) == (1, said)
