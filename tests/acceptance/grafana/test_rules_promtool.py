"""Rules under promtool: valid, and firing exactly when expected."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import yaml

from grafana.prometheus.__main__ import RULES
from tests.grafana.test_dashboards_deployment import ROOT, mounts, prometheus_configuration

SCENARIOS = sorted((RULES.parent / "tests").glob("*.test.yaml"))
COUNTED = {"CognitoDeviceSweepFailing", "CognitoDeviceThrottled"}
"""Alerts on counters, which are reset when the exporter restarts."""


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def scenarios() -> dict[str, list[dict[str, Any]]]:
    """Return the test groups by alert."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in SCENARIOS:
        found[path.name.partition(".")[0]] += yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]
    return found


def alerts() -> list[str]:
    rules = (rule for group in yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"] for rule in group["rules"])
    return [rule["alert"] for rule in rules if "alert" in rule]


def test_promtool_accepts_the_rules(promtool: str) -> None:
    done = run(promtool, "check", "rules", "--lint=all", "--lint-fatal", RULES)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_accepts_its_configuration(promtool: str, tmp_path: Path) -> None:
    configuration = prometheus_configuration()
    rules = {target: ROOT / local for local, target in mounts("prometheus") if local.startswith("./")}
    configuration["rule_files"] = [str(path) for path in rules.values()]
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml.safe_dump(configuration), encoding="utf-8")

    done = run(promtool, "check", "config", path)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.name)
def test_alerts_fire_exactly_when_expected(promtool: str, path: Path) -> None:
    done = run(promtool, "test", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("alert", alerts())
def test_alert_has_firing_and_silent_scenarios(alert: str) -> None:
    groups = scenarios()[alert]
    checks = [[check["exp_alerts"] for check in group["alert_rule_test"]] for group in groups]
    assert any(any(group) for group in checks)
    assert any(not any(group) for group in checks)
    assert {check["alertname"] for group in groups for check in group["alert_rule_test"]} == {alert}


@pytest.mark.parametrize("alert", alerts())
def test_alert_has_a_scenario_with_a_missed_scrape(alert: str) -> None:
    values = [series["values"] for group in scenarios()[alert] for series in group["input_series"]]
    assert any(re.search("stale [_1]", value) for value in values)


@pytest.mark.parametrize("alert", sorted(COUNTED))
def test_counter_alert_has_scenarios_with_a_counter_reset(alert: str) -> None:
    fired, quiet = (
        [
            group
            for group in scenarios()[alert]
            if any(check["exp_alerts"] for check in group["alert_rule_test"]) is kind
        ]
        for kind in (True, False)
    )
    for groups in (fired, quiet):
        values = [
            series["values"] for group in groups for series in group["input_series"] if "_total{" in series["series"]
        ]
        assert any(_starts_anew(value) for value in values)


def _starts_anew(values: str) -> bool:
    """Return whether a series has a counter reset."""
    parts = [part for part in values.split() if part not in {"stale", "_"}]
    starts = [float(part.partition("x")[0].partition("+")[0]) for part in parts]
    rises = ["+" in part for part in parts]
    return any(
        later < earlier or (later == earlier and rising)
        for (earlier, rising), later in zip(zip(starts, rises, strict=True), starts[1:], strict=False)
    )
