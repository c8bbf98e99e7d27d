"""Writes into wheel and sdist which commit they were built from, where the builder says so in BUILD_REVISION."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TARGET = "exporter/revision"
"""What `exporter/buildinfo.py` reads."""


class BuildRevision(BuildHookInterface[Any]):
    """Adds a file with the revision to what is built; an sdist has it already, and so does what is built from that."""

    _written: TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Put the file in, unless this installs in place: tomorrow the checkout may stand at another commit."""
        if version == "editable":
            return
        file = Path(self.root, TARGET)
        if not file.exists():
            revision = os.environ.get("BUILD_REVISION", "")
            if not revision:
                return
            self._written = TemporaryDirectory()
            file = Path(self._written.name, "revision")
            file.write_text(f"{revision}\n", encoding="utf-8")
        # Always in this way, because it decides on the place in the archive.
        build_data["force_include"][str(file)] = TARGET

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - hatchling's signature
        """Remove the copy that was packed."""
        if self._written is not None:
            self._written.cleanup()
