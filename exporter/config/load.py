"""Loading of a configuration file, with every error reported at once."""

from __future__ import annotations

from pathlib import Path

from exporter.config.crosscheck import crosscheck, required_files
from exporter.config.resolve import resolve_limits, resolve_pool, resolve_rule
from exporter.config.settings import Settings
from exporter.config.validation import validate
from exporter.config.yaml_document import read_document
from exporter.errors import ConfigError
from exporter.files import NotRegular, read_regular

MAX_BYTES = 1 << 20
"""Maximum size of a configuration file, and of every file that a web configuration names."""


class UnreadableFile(Exception):
    """A file cannot be read; the text has the reason and what was expected."""


def read_file(path: Path) -> bytes:
    """Read a file of at most `MAX_BYTES`.

    Raises `UnreadableFile`.
    """
    try:
        content, _ = read_regular(path, MAX_BYTES + 1)
    except NotRegular as error:
        raise UnreadableFile(str(error)) from None
    except OSError as error:
        raise UnreadableFile(f"cannot be read, expected a readable file (found: {error.strerror})") from None
    if len(content) > MAX_BYTES:
        raise UnreadableFile("too large, expected at most 1 MiB")
    return content


def read_text(path: Path) -> str:
    """Read a configuration file.

    Raises `ConfigError`.
    """
    try:
        content = read_file(path)
        return content.decode()
    except UnreadableFile as error:
        raise ConfigError([f"{path}: {error}"]) from None
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}:{line}: not text, expected UTF-8"]) from None


def load_settings(path: Path) -> Settings:
    """Load a configuration file.

    Raises `ConfigError` with every error, each as `FILE:LINE: KEY: problem, expected … (found …)`.
    """
    return parse_settings(read_text(path), str(path))


def parse_settings(text: str, file: str) -> Settings:
    """Parse the text of a configuration file; `file` is its name in errors, and the base of relative paths.

    Raises `ConfigError` as `load_settings` does.
    """
    document = read_document(text, file)
    valid = validate(document)
    base = Path(file).parent
    state_path = None if valid.state.path is None else base / valid.state.path
    problems = [*document.problems, *valid.problems, *crosscheck(valid, state_path, Path(file))]
    if problems:
        raise ConfigError(document.report(problems), files=required_files(valid, state_path, base))
    return Settings(
        pools=tuple(resolve_pool(pool, base) for pool in valid.pools),
        discovery=tuple(resolve_rule(rule, base) for rule in valid.rules),
        limits=resolve_limits(valid.limits),
        state_path=state_path,
    )
