"""Build hook that adds the commit to wheel and sdist, if BUILD_REVISION is set."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TARGET = "exporter/revision"
"""File that `exporter/buildinfo.py` reads."""


class BuildRevision(BuildHookInterface[Any]):
    """Hatchling hook that adds a file with the revision. An sdist, and a wheel built from one, already have it."""

    _written: TemporaryDirectory[str] | None = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file, except in an editable installation, whose commit may change."""
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
        # Used even if the file exists, because it determines the position in the archive.
        build_data["force_include"][str(file)] = TARGET

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:  # noqa: ARG002 - hatchling's signature
        """Remove the temporary file."""
        if self._written is not None:
            self._written.cleanup()
