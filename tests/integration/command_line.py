"""The command line in this process, for one-off commands: starting the program takes a second."""

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
class Ended:
    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Return the JSON objects in the lines of the output."""
        return [json.loads(line) for line in self.out.splitlines()]


class CommandLine:
    """Runs commands with a configuration and an AWS endpoint."""

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

    def __call__(self, text: str, command: str, *flags: str) -> Ended:
        """Run a command over the configuration in `text`."""
        self.file.write_text(text, encoding="utf-8")
        return self.run(command, f"--config.file={self.file}", *flags)

    def run(self, *arguments: str) -> Ended:
        """Run the program with these arguments."""
        self._capture.readouterr()
        code = main(arguments)
        out, err = self._capture.readouterr()
        return Ended(code, out.decode(), err.decode())
