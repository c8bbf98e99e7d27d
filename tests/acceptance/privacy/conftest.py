"""Fixtures of the privacy tests."""

from __future__ import annotations

from tests.integration.conftest import emulator, log, run

__all__ = ["emulator", "log", "run"]
