"""Access to the committed dashboards for tests."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.grafana.promql import substitute

FOLDER = Path(__file__).resolve().parents[2] / "grafana" / "dashboards"
NAMES = ("overview.json", "pool.json", "stale-devices.json", "exporter.json")

VARIABLE_VALUES: Mapping[str, str] = MappingProxyType(
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
"""Value of each variable in tests. All of them select everything."""

_FUNCTION = re.compile(r"^(?P<name>query_result|label_values)\((?P<expr>.+?)(?:, (?P<label>\w+))?\)$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """Query of a panel or a variable."""

    dashboard: str
    panel: str
    ref_id: str
    expr: str

    @property
    def promql(self) -> str:
        """Expression with the variables substituted."""
        return substitute(self.expr, VARIABLE_VALUES)

    def __str__(self) -> str:
        return f"{self.dashboard}/{self.panel}/{self.ref_id}"


def load(name: str) -> dict[str, Any]:
    """Load a committed dashboard."""
    dashboard: dict[str, Any] = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return dashboard


def panels(dashboard: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the panels of a dashboard without its rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def variables(dashboard: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the variables of a dashboard."""
    found: list[dict[str, Any]] = dashboard["templating"]["list"]
    return found


def queries() -> list[PanelQuery]:
    """Return the queries of all panels and variables."""
    return list(_queries())


def _queries() -> Iterator[PanelQuery]:
    for name in NAMES:
        dashboard = load(name)
        for panel in panels(dashboard):
            for target in panel["targets"]:
                yield PanelQuery(name, panel["title"], target["refId"], target["expr"])
        for variable in variables(dashboard):
            if variable["type"] == "query":
                match = _FUNCTION.match(variable["query"])
                if match is None:
                    raise ValueError(f"{name}: {variable['query']} is not a variable query")
                yield PanelQuery(name, "variables", variable["name"], match["expr"])
