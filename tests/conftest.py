"""Fixtures and settings of all tests."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from botocore.loaders import create_loader
from hypothesis import HealthCheck, Phase, settings

# 25 examples keep `make test` short. CI tries 100, the same ones each time, so that no push fails because of another.
# Deadlines are off: how long an example takes depends on the machine.
settings.register_profile("tests", deadline=None, max_examples=100 if os.environ.get("CI") == "true" else 25)
settings.load_profile("tests")

# `make fuzz`.
settings.register_profile(
    "fuzz",
    deadline=None,
    derandomize=False,
    max_examples=int(os.environ.get("FUZZ_EXAMPLES") or 20_000),
    suppress_health_check=[HealthCheck.too_slow],
)

# `make mutants` needs only to know whether a test fails: the same examples each time, and no shrinking.
settings.register_profile(
    "mutants", deadline=None, derandomize=True, max_examples=100, phases=[Phase.explicit, Phase.generate]
)

# jsonschema validates IRIs with this package, which no schema here needs, and which takes seconds to import.
sys.modules["rfc3987_syntax"] = None  # type: ignore[assignment]

# A shell starts what it runs in the background with SIGINT ignored, and so would every program that a test starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _closed_databases() -> Iterator[None]:
    """Fail the test that leaves an SQLite connection open.

    Since Python 3.13 such a connection is a `ResourceWarning`, raised in the test during which it is collected.
    """
    opened: list[tuple[sqlite3.Connection, object]] = []
    connect = sqlite3.connect

    def noted(database: Any, *args: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(database, *args, **options)
        opened.append((connection, database))
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", noted)
        yield
    assert not [database for connection, database in opened if _is_open(connection)], "not closed"


def _is_open(connection: sqlite3.Connection) -> bool:
    try:
        connection.in_transaction  # noqa: B018 - raises once it is closed
    except sqlite3.ProgrammingError:
        return False
    return True


@pytest.fixture(scope="session", autouse=True)
def shared_service_models() -> Iterator[None]:
    """Make all sessions of boto3 share AWS's service models, which take longer to read than most tests to run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.session.create_loader", cache(create_loader))
        yield
