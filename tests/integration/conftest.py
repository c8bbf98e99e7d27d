"""Fixtures for tests of the whole exporter."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.emulator import Emulator
from tests.harness import Log, captured_log
from tests.integration.command_line import CommandLine


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


@pytest.fixture
def log() -> Iterator[Log]:
    with captured_log() as lines:
        yield lines


@pytest.fixture
def run(
    tmp_path: Path,
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    capfdbinary: pytest.CaptureFixture[bytes],
    log: Log,  # noqa: ARG001 - puts logging back
) -> CommandLine:
    return CommandLine(tmp_path, emulator.url, monkeypatch, capfdbinary)
