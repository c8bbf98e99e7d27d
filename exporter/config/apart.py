"""The state file and the files of the web configuration, which a configuration file does not know, are apart."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from exporter.config.settings import Settings
from exporter.errors import ConfigError
from exporter.files import same_file


def require_state_apart(settings: Settings, file: Path, web_files: Iterable[Path]) -> None:
    """Check that the state file is none of the files that protect the pages: it would take the place of that file.

    Raises `ConfigError` about the configuration file.
    """
    state = settings.state_path
    if state is not None and any(same_file(state, other) for other in web_files):
        raise ConfigError([f"{file}: state.path: a file of the web configuration, expected a file of its own"])
