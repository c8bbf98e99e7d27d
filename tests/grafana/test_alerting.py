"""Grafana-managed alerts: what Grafana's schema wants, and the same alerts as those of Prometheus."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from grafana.prometheus.__main__ import MANAGED_RULES
from grafana.prometheus.managed import DATASOURCE_UID
from tests.grafana.promql import catalogue_vocabulary, unknown_names
from tests.grafana.test_rules import ALERTS, ROOT

SCHEMA = ROOT / "tests" / "data" / "grafana" / "alerting.jsonschema.json"
DATASOURCES = ROOT / "grafana" / "provisioning" / "datasources"

(GROUP,) = yaml.safe_load(MANAGED_RULES.read_text(encoding="utf-8"))["groups"]
RULES: dict[str, dict[str, Any]] = {rule["title"]: rule for rule in GROUP["rules"]}
OF_PROMETHEUS = {alert["alert"]: alert for alert in ALERTS}


def expression(rule: dict[str, Any]) -> str:
    return str(rule["data"][0]["model"]["expr"])


def limit(rule: dict[str, Any]) -> float:
    return float(rule["data"][1]["model"]["conditions"][0]["evaluator"]["params"][0])


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(SCHEMA.read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_rule_is_what_grafana_wants(rule: dict[str, Any], schema: dict[str, Any]) -> None:
    """The schema is that of Grafana's API: there the group's fields stand on each rule, and waits are numbers."""
    as_of_api = {
        **{key: value for key, value in rule.items() if key != "keepFiringFor"},
        "folderUID": GROUP["folder"],
        "orgID": GROUP["orgId"],
        "ruleGroup": GROUP["name"],
    }
    validator = Draft7Validator({"$ref": "#/definitions/Rule", "definitions": schema["definitions"]})
    assert [error.message for error in validator.iter_errors(as_of_api)] == []
    assert rule["condition"] in {question["refId"] for question in rule["data"]}


def test_the_rules_ask_the_data_source_that_is_provisioned() -> None:
    files = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in DATASOURCES.glob("*.y*ml")]
    assert {source["uid"] for file in files for source in file["datasources"]} == {DATASOURCE_UID}


def test_every_alert_on_devices_is_there_and_whether_the_exporter_is() -> None:
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
def test_a_rule_says_the_same_as_that_of_prometheus(name: str) -> None:
    managed, original = RULES[name], OF_PROMETHEUS[name]
    assert managed["labels"] == original["labels"]
    assert managed.get("for") == original.get("for")
    assert managed.get("keepFiringFor") == original.get("keep_firing_for")
    assert managed["annotations"].keys() == original["annotations"].keys()
    for key, text in managed["annotations"].items():
        assert text.replace("$values.A.Value", "$value") == original["annotations"][key]
        assert "$value " not in text


@pytest.mark.parametrize("name", RULES)
def test_a_query_names_nothing_but_what_the_exporter_serves(name: str) -> None:
    assert unknown_names(expression(RULES[name]), catalogue_vocabulary()) == []
