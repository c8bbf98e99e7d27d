"""The committed dashboards as tests read them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.grafana.promql import substituted

FOLDER = Path(__file__).resolve().parents[2] / "grafana" / "dashboards"
NAMES = ("overview.json", "pool.json", "stale-devices.json", "exporter.json")

VALUES: Mapping[str, str] = MappingProxyType(
    {
        "pool": ".+",
        "threshold": "90d",
        "interval": "20s",
        "rows": "100",
        "status": ".+",
        "job": ".+",
        "instance": ".+",
        "__rate_interval": "20s",
    }
)
"""What stands for each variable in a test, all of them choosing everything."""

_FUNCTION = re.compile(r"^(?P<name>query_result|label_values)\((?P<expr>.+?)(?:, (?P<label>\w+))?\)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Asked:
    """One query of one panel."""

    board: str
    panel: str
    ref_id: str
    expr: str

    @property
    def promql(self) -> str:
        """The expression as Prometheus gets it."""
        return substituted(self.expr, VALUES)

    def __str__(self) -> str:
        return f"{self.board}/{self.panel}/{self.ref_id}"


def load(name: str) -> dict[str, Any]:
    """A dashboard as it is committed."""
    board: dict[str, Any] = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return board


def panels(board: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The panels of a dashboard but its rows."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def variables(board: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The variables of a dashboard."""
    found: list[dict[str, Any]] = board["templating"]["list"]
    return found


def queries() -> list[Asked]:
    """Every query of every panel, and what the variables ask."""
    return list(_queries())


def _queries() -> Iterator[Asked]:
    for name in NAMES:
        board = load(name)
        for panel in panels(board):
            for target in panel["targets"]:
                yield Asked(name, panel["title"], target["refId"], target["expr"])
        for variable in variables(board):
            if variable["type"] == "query":
                match = _FUNCTION.match(variable["query"])
                if match is None:
                    raise ValueError(f"{name}: {variable['query']} is no query of a variable")
                yield Asked(name, "variables", variable["name"], match["expr"])
