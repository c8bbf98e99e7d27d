"""Dashboards, recording rules and alerts on a Prometheus that scraped the demo.

One module, so that all tests share one demo and one Prometheus in one worker.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests

from tests.acceptance.grafana.conftest import Prometheus
from tests.fakes import eventually
from tests.grafana.dashboards import PanelQuery, queries
from tests.grafana.test_alerting import PROMETHEUS_ALERTS, RULES, expression, limit
from tests.grafana.test_rules import ALERTS, DOCUMENTS, RECORDING_RULES, promql_in

# Dashboards

NOTHING_FAILED = "only what occurred is shown, and in the demo nothing fails"

RIGHTLY_EMPTY = {
    "exporter.json/Failures by reason per $interval/A": NOTHING_FAILED,
    "exporter.json/Failures by reason per $interval/B": NOTHING_FAILED,
    "exporter.json/Failed calls by reason per $interval/A": NOTHING_FAILED,
    "exporter.json/Errors of the exporter per $interval/A": NOTHING_FAILED,
    "exporter.json/Errors of the exporter per $interval/B": NOTHING_FAILED,
    "exporter.json/Errors of the exporter per $interval/C": NOTHING_FAILED,
}
"""Queries that return nothing for the demo, and the reason."""


@pytest.mark.parametrize("query", queries(), ids=str)
def test_query_returns_data(prometheus: Prometheus, query: PanelQuery) -> None:
    series = prometheus.range(query.promql)

    if str(query) in RIGHTLY_EMPTY:
        # The demo deletes users, and a user deleted between listing and reading is not found.
        unexpected = [one for one in series if one["metric"].get("reason") != "not_found"]
        assert unexpected == [], f"{query} returns data: take it off the list"
    else:
        assert series, f"{query} returns nothing: {query.promql}"


def test_listed_empty_queries_exist() -> None:
    assert set(RIGHTLY_EMPTY) <= {str(query) for query in queries()}


# Recording rules, alerts and the queries of documents

A_DAY = "the demo has not run for a day"
WELL = "nothing of the kind is wrong in the demo"
NO_RULES = "the demo has no rules of discovery"

EMPTY_RECORDS = {
    "cognito_user_pool:devices:max1h_offset1d": A_DAY,
    "cognito_user_pool:devices:delta1d": A_DAY,
    "cognito_user_pool:devices:growth1d": A_DAY,
}

ACTIVE_ALERTS = {"CognitoDeviceMfaBypassStale"}
"""Alerts that fire in the demo; the conditions of all others are absent."""

EMPTY_IN_DOCUMENTS = {
    "cognito_user_pool:devices:growth1d": A_DAY,
    "cognito_user_pool:users:sum - cognito_user_pool:users:sum offset 1d": A_DAY,
    "sum by (user_pool_id, reason) (increase(cognito_exporter_sweep_failures_total[3h])) > 0": WELL,
    "sum by (user_pool_id, reason) (increase(cognito_exporter_user_read_failures_total[3h])) > 0": WELL,
    "sum by (aws_account_id, aws_region, operation) "
    '(increase(cognito_exporter_aws_request_failures_total{reason="denied"}[1h])) > 0': WELL,
    'cognito_user_pool_state{state="missing"} == 1': WELL,
    "sum by (user_pool_id, reason) (cognito_exporter_series_dropped) > 0": WELL,
    "cognito_exporter_identity_exposed == 1": WELL,
    "sum by (rule, aws_region, reason) (increase(cognito_exporter_discovery_failures_total[1h])) > 0": NO_RULES,
    "time() - cognito_exporter_discovery_last_success_timestamp_seconds": NO_RULES,
    "up == 0": WELL,
    'increase(cognito_exporter_http_requests_total{code="401"}[5m]) > 10': WELL,
}


def test_recording_rule_has_data(prometheus: Prometheus) -> None:
    wanted = {record["record"] for record in RECORDING_RULES} - EMPTY_RECORDS.keys()
    assert eventually(lambda: all(prometheus.instant(name) for name in wanted), within=15), sorted(
        name for name in wanted if not prometheus.instant(name)
    )


@pytest.mark.parametrize(("record", "reason"), EMPTY_RECORDS.items())
def test_recording_rule_listed_as_empty_is_empty(record: str, reason: str, prometheus: Prometheus) -> None:
    assert prometheus.instant(record) == [], f"no longer true: {reason}"


def test_rules_are_evaluated_without_error(prometheus: Prometheus) -> None:
    groups = requests.get(f"{prometheus.url}/api/v1/rules", timeout=10).json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(RECORDING_RULES) + len(ALERTS)
    assert {rule["name"]: rule["lastError"] for rule in rules if rule["health"] != "ok"} == {}


def test_active_alerts_are_those_of_the_demo(prometheus: Prometheus) -> None:
    def active() -> set[str]:
        return {alert["alert"] for alert in ALERTS if prometheus.instant(alert["expr"])}

    assert eventually(lambda: active() == ACTIVE_ALERTS, within=15), active()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_documented_promql_returns_data_unless_listed(document: Path, prometheus: Prometheus) -> None:
    empty = {expr for expr in promql_in(document) if not prometheus.range(expr)}
    assert empty <= EMPTY_IN_DOCUMENTS.keys()


@pytest.mark.parametrize("expr", EMPTY_IN_DOCUMENTS)
def test_listed_promql_is_in_a_document(expr: str) -> None:
    assert any(expr in promql_in(document) for document in DOCUMENTS)


# Grafana-managed alerts

EMPTY = {
    "CognitoDeviceSuddenGrowth": "the demo has not run for a day",
    "CognitoDeviceExporterAbsent": "the exporter of the demo is there",
}


@pytest.mark.parametrize("name", sorted(RULES.keys() - EMPTY.keys()))
def test_grafana_alert_query_returns_data(name: str, prometheus: Prometheus) -> None:
    assert prometheus.instant(expression(RULES[name]))


@pytest.mark.parametrize(("name", "reason"), EMPTY.items())
def test_grafana_alert_query_listed_as_empty_is_empty(name: str, reason: str, prometheus: Prometheus) -> None:
    assert prometheus.instant(expression(RULES[name])) == [], f"no longer true: {reason}"


@pytest.mark.parametrize("name", RULES)
def test_grafana_rule_matches_the_prometheus_rule(name: str, prometheus: Prometheus) -> None:
    def agree() -> bool:
        managed = prometheus.instant(f"({expression(RULES[name])}) > {limit(RULES[name])}")
        return _values(managed) == _values(prometheus.instant(PROMETHEUS_ALERTS[name]["expr"]))

    assert eventually(agree, within=15)


def _values(series: list[dict[str, Any]]) -> dict[frozenset[tuple[str, str]], float]:
    return {frozenset(one["metric"].items()): float(one["value"][1]) for one in series}
