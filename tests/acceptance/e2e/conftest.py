"""What the tests of the whole exporter share."""

from __future__ import annotations

from tests.integration.conftest import emulator, log

__all__ = ["emulator", "log"]
