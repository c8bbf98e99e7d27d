"""Grafana-managed alerts match Grafana's schema and the Prometheus alerts."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from grafana.prometheus.__main__ import GRAFANA_ALERTS
from grafana.prometheus.grafana_alerting import DATASOURCE_UID
from tests.grafana.promql import catalog_vocabulary, unknown_names
from tests.grafana.test_rules import ALERTS, ROOT

SCHEMA = ROOT / "tests" / "data" / "grafana" / "alerting.jsonschema.json"
DATASOURCES = ROOT / "grafana" / "provisioning" / "datasources"

(GROUP,) = yaml.safe_load(GRAFANA_ALERTS.read_text(encoding="utf-8"))["groups"]
RULES: dict[str, dict[str, Any]] = {rule["title"]: rule for rule in GROUP["rules"]}
PROMETHEUS_ALERTS = {alert["alert"]: alert for alert in ALERTS}


def expression(rule: dict[str, Any]) -> str:
    return str(rule["data"][0]["model"]["expr"])


def limit(rule: dict[str, Any]) -> float:
    return float(rule["data"][1]["model"]["conditions"][0]["evaluator"]["params"][0])


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_grafana_alert_matches_grafana_schema(rule: dict[str, Any], schema: dict[str, Any]) -> None:
    """The schema is that of Grafana's API, where each rule has the fields of its group and durations are numbers."""
    as_of_api = {
        **{key: value for key, value in rule.items() if key != "keepFiringFor"},
        "folderUID": GROUP["folder"],
        "orgID": GROUP["orgId"],
        "ruleGroup": GROUP["name"],
    }
    validator = Draft7Validator({"$ref": "#/definitions/Rule", "definitions": schema["definitions"]})
    assert [error.message for error in validator.iter_errors(as_of_api)] == []
    assert rule["condition"] in {question["refId"] for question in rule["data"]}


def test_grafana_alerts_use_the_provisioned_datasource() -> None:
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in DATASOURCES.glob("*.y*ml")]
    assert {source["uid"] for file in files for source in file["datasources"]} == {DATASOURCE_UID}


def test_grafana_alerts_cover_devices_and_absence() -> None:
    assert RULES.keys() == {
        "CognitoDeviceStaleShareHigh",
        "CognitoDeviceStaleCountHigh",
        "CognitoDeviceMfaBypassStale",
        "CognitoDeviceTooManyPerUser",
        "CognitoDeviceSuddenGrowth",
        "CognitoDeviceExporterAbsent",
    }
    assert len({rule["uid"] for rule in RULES.values()}) == len(RULES)


@pytest.mark.parametrize("name", RULES)
def test_grafana_alert_equals_prometheus_alert(name: str) -> None:
    managed, original = RULES[name], PROMETHEUS_ALERTS[name]
    assert managed["labels"] == original["labels"]
    assert managed.get("for") == original.get("for")
    assert managed.get("keepFiringFor") == original.get("keep_firing_for")
    assert managed["annotations"].keys() == original["annotations"].keys()
    for key, text in managed["annotations"].items():
        assert text.replace("$values.A.Value", "$value") == original["annotations"][key]
        assert "$value " not in text


@pytest.mark.parametrize("name", RULES)
def test_grafana_alert_query_uses_exported_names_only(name: str) -> None:
    assert unknown_names(expression(RULES[name]), catalog_vocabulary()) == []
