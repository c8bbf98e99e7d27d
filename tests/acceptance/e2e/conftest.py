"""Fixtures for tests of the whole exporter."""

from __future__ import annotations

from tests.integration.conftest import emulator, log

__all__ = ["emulator", "log"]
