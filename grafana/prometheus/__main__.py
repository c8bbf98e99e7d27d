"""Command that writes the rule files."""

from __future__ import annotations

from pathlib import Path

from grafana.prometheus.alerts import Alerts
from grafana.prometheus.grafana_alerting import provisioning_file
from grafana.prometheus.render import as_yaml, rule_file
from grafana.prometheus.thresholds import THRESHOLDS, TIMING

_HERE = Path(__file__).parent

RULES = _HERE / "cognito-device-exporter.rules.yaml"
"""File for `rule_files` of Prometheus."""

GRAFANA_ALERTS = _HERE.parent / "provisioning" / "alerting" / "cognito-device-exporter.yaml"
"""File for Grafana's provisioning folder."""


def documents() -> dict[Path, str]:
    """Return the content of each generated file."""
    return {RULES: as_yaml(rule_file()), GRAFANA_ALERTS: as_yaml(provisioning_file(Alerts(THRESHOLDS, TIMING)))}


def main() -> None:
    """Write every file."""
    for path, text in documents().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
