"""Writes the rule files."""

from __future__ import annotations

from pathlib import Path

from grafana.prometheus.alerts import Alerts
from grafana.prometheus.managed import managed_rules
from grafana.prometheus.render import as_yaml, rules
from grafana.prometheus.values import THRESHOLDS, TIMING

_HERE = Path(__file__).parent

RULES = _HERE / "cognito-device-exporter.rules.yaml"
"""For `rule_files` of Prometheus."""

MANAGED_RULES = _HERE.parent / "provisioning" / "alerting" / "cognito-device-exporter.yaml"
"""For the provisioning folder of Grafana."""


def documents() -> dict[Path, str]:
    """Each generated file, as it should be."""
    return {RULES: as_yaml(rules()), MANAGED_RULES: as_yaml(managed_rules(Alerts(THRESHOLDS, TIMING)))}


def main() -> None:
    """Write every file."""
    for path, text in documents().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
