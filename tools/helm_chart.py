"""Generator of parts of the Helm chart: the table of values, and the copies of rules and dashboards."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
CHART = ROOT / "deploy" / "helm" / "cognito-device-exporter"
README = CHART / "README.md"
VALUES = CHART / "values.yaml"
RULES = ROOT / "grafana" / "prometheus" / "cognito-device-exporter.rules.yaml"
DASHBOARDS = ROOT / "grafana" / "dashboards"

_BEGIN = "<!-- values: written by `make docs` -->\n"
_END = "<!-- end of values -->\n"
_SECTION = "# @section "
_DESCRIPTION = "# -- "
_KEY = re.compile(r"( *)([A-Za-z][A-Za-z0-9]*):")


@dataclass(frozen=True, slots=True)
class Value:
    """Row of the table: key in the syntax of `--set`, default and description."""

    key: str
    default: Any
    description: str


@dataclass(slots=True)
class Section:
    """Section of the values with its own table."""

    title: str
    values: list[Value] = field(default_factory=list)


def documents() -> dict[Path, bytes]:
    """Return the content of each generated file of the chart."""
    return {README: insert_values_tables(README.read_text(encoding="utf-8")).encode(), **copies()}


def copies() -> dict[Path, bytes]:
    """Return the copies of rules and dashboards. A chart cannot read files outside itself."""
    return {
        CHART / "files" / RULES.name: RULES.read_bytes(),
        **{CHART / "files" / "dashboards" / path.name: path.read_bytes() for path in DASHBOARDS.glob("*.json")},
    }


def insert_values_tables(readme: str) -> str:
    """Insert the tables of values between the markers of the README.

    Raise `ValueError` if a marker is missing.
    """
    before, begin, rest = readme.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError("README.md has no markers for the tables of values")
    tables = "\n".join(_table(section) for section in sections(VALUES.read_text(encoding="utf-8")))
    return f"{before}{begin}\n{tables}\n{end}{after}"


def sections(text: str) -> list[Section]:
    """Parse the comments in a values file.

    Raise `ValueError` for a description that precedes no key. A description outside a section is an error too.
    """
    defaults = yaml.safe_load(text)
    found: list[Section] = []
    path: list[tuple[int, str]] = []
    described: list[str] = []
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith(_SECTION):
            found.append(Section(stripped.removeprefix(_SECTION)))
        elif stripped.startswith(_DESCRIPTION):
            described = [stripped.removeprefix(_DESCRIPTION)]
        elif stripped.startswith("# ") and described:
            described.append(stripped.removeprefix("# "))
        elif key := _KEY.match(line):
            path = [*((depth, name) for depth, name in path if depth < len(key[1])), (len(key[1]), key[2])]
            if described:
                names = [name for _, name in path]
                found[-1].values.append(Value(".".join(names), _at(defaults, names), " ".join(described)))
                described = []
        elif described:
            raise ValueError(f"description without a key: {' '.join(described)}")
    return found


def leaves(values: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of all values that are not mappings, and of empty mappings."""
    if isinstance(values, dict) and values:
        for key, value in values.items():
            yield from leaves(value, f"{path}.{key}" if path else key)
    else:
        yield path


def _at(values: Any, names: list[str]) -> Any:
    for name in names:
        values = values[name]
    return values


def _table(section: Section) -> str:
    rows = (f"| `{value.key}` | {_code(value.default)} | {_cell(value.description)} |" for value in section.values)
    return "\n".join((f"### {section.title}", "", "| key | default | meaning |", "|---|---|---|", *rows, ""))


def _code(default: Any) -> str:
    return f"`{json.dumps(default, ensure_ascii=False)}`"


def _cell(description: str) -> str:
    return description.replace("|", r"\|")


def main() -> None:
    """Write every document."""
    for path, content in documents().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    main()
