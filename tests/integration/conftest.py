"""What the tests of the whole exporter share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from exporter.emulator import Emulator
from tests.harness import Log, captured_log


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator() as running:
        yield running


@pytest.fixture
def log() -> Iterator[Log]:
    with captured_log() as lines:
        yield lines
