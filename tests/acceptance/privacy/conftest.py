"""What tests of privacy share with those of the whole exporter."""

from __future__ import annotations

from tests.integration.conftest import emulator, log, run

__all__ = ["emulator", "log", "run"]
