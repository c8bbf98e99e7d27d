"""Fixtures of the fault tests."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from exporter.emulator import Emulator
from tests.acceptance.faults.rows import SEED, Row
from tests.harness import Log, captured_log


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(seed=Random(SEED).randrange(1 << 30)) as running:
        yield running


@pytest.fixture
def log() -> Iterator[Log]:
    with captured_log() as lines:
        yield lines


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Iterator[Row]:
    found = Row(request.node.name)
    yield found
    found.write()
