"""A configuration file → `Settings`, or every fault in it at once."""

from __future__ import annotations

from pathlib import Path

from exporter.config.crosscheck import crosscheck, files_checked
from exporter.config.overlay import PoolOverlay, RuleOverlay
from exporter.config.problems import Problem, dotted
from exporter.config.resolve import resolve_limits, resolve_pool, resolve_rule, resolve_state
from exporter.config.schema import Defaults
from exporter.config.settings import Settings
from exporter.config.validation import Checked, check_document, reported_key
from exporter.config.yaml_document import Document, YamlFault, read_document
from exporter.errors import ConfigError
from exporter.files import NotRegular, read_regular

MAX_BYTES = 1 << 20
"""A larger file is no configuration."""

MAX_FAULTS = 1000
"""More are only counted: a large file of another kind would fill the log."""


def load_settings(path: Path) -> Settings:
    """The settings in a file.

    Raises `ConfigError` with every fault, each as `FILE:LINE: KEY: what is wrong, expected what (found what)`.
    """
    try:
        content, _ = read_regular(path, MAX_BYTES + 1)
    except NotRegular as error:
        raise ConfigError([f"{path}: {error}"]) from None
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read, expected a readable file (found: {error.strerror})"]) from None
    if len(content) > MAX_BYTES:
        raise ConfigError([f"{path}: too large, expected at most 1 MiB"])
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}:{line}: not text, expected UTF-8"]) from None
    return parse_settings(text, str(path))


def parse_settings(text: str, file: str) -> Settings:
    """The settings in a text; `file` is its name in faults, and relative paths start at its directory.

    Raises `ConfigError` as `load_settings` does.
    """
    try:
        document = read_document(text)
    except YamlFault as fault:
        column = "" if fault.column is None else f":{fault.column}"
        raise ConfigError([f"{file}:{fault.line}{column}: {fault}"]) from None
    checked = check_document(document)
    pools, rules = _layered(checked)
    bad = frozenset(reported_key(fault.path) for fault in checked.faults)
    base = Path(file).parent
    state_path = resolve_state(checked.root.state, base) if checked.root else None
    faults = [*document.faults, *checked.faults, *crosscheck(pools, rules, state_path, Path(file), bad)]
    if faults or checked.root is None:
        raise ConfigError(rendered(file, document, faults), files=files_checked(pools, rules, state_path, base))
    return Settings(
        pools=tuple(resolve_pool(pool, base) for pool in pools),
        discovery=tuple(resolve_rule(rule, base) for rule in rules),
        limits=resolve_limits(checked.root.limits),
        state_path=state_path,
    )


def _layered(checked: Checked) -> tuple[list[PoolOverlay], list[RuleOverlay]]:
    if checked.root is None:
        return [], []
    defaults = checked.root.defaults or Defaults()
    return (
        [PoolOverlay(*pair, defaults) for pair in zip(checked.pools, checked.root.pools or (), strict=True)],
        [RuleOverlay(*pair, defaults) for pair in zip(checked.rules, checked.root.discovery or (), strict=True)],
    )


def rendered(file: str, document: Document, faults: list[Problem]) -> list[str]:
    """The faults in the order of the file, so many that people can read them."""
    lines = [(fault.line or document.line(fault.path), fault) for fault in faults]
    lines.sort(key=lambda pair: pair[0])
    shown = [f"{file}:{line}: {_located(fault)}" for line, fault in lines[:MAX_FAULTS]]
    more = len(lines) - len(shown)
    return [*shown, f"{file}: {more} more faults"] if more else shown


def _located(fault: Problem) -> str:
    return f"{dotted(fault.path)}: {fault.text}" if fault.path else fault.text
