"""Command line in the process of the tests: each start of the program takes a second."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from exporter.cli import main
from tests.harness import environment


@dataclass(frozen=True, slots=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Parse the output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


class CommandLine:
    """Runner of commands, with the AWS endpoint of a test."""

    def __init__(
        self, directory: Path, url: str, monkeypatch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[bytes]
    ) -> None:
        self.file = directory / "config.yaml"
        self._capture = capture
        kept = environment(url)
        for name in os.environ.keys() - kept.keys():
            monkeypatch.delenv(name)
        for name, value in kept.items():
            monkeypatch.setenv(name, value)

    def __call__(self, text: str, command: str, *flags: str) -> Result:
        """Run a command with the configuration in `text`."""
        self.file.write_text(text, encoding="utf-8")
        return self.run(command, f"--config.file={self.file}", *flags)

    def run(self, *arguments: str) -> Result:
        """Run the program with these arguments."""
        self._capture.readouterr()
        code = main(arguments)
        out, err = self._capture.readouterr()
        return Result(code, out.decode(), err.decode())
