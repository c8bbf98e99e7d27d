"""The rules in a real Prometheus that has scraped the demo: they answer, or it is said why not."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from tests.acceptance.grafana.conftest import Prometheus
from tests.fakes import eventually
from tests.grafana.test_rules import ALERTS, DOCUMENTS, RECORDS, promql_in

pytestmark = pytest.mark.xdist_group("prometheus")

A_DAY = "the demo has not run for a day"
WELL = "nothing of the kind is wrong in the demo"
NO_RULES = "the demo has no rules of discovery"

EMPTY_RECORDS = {
    "cognito_user_pool:devices:max1h_offset1d": A_DAY,
    "cognito_user_pool:devices:delta1d": A_DAY,
    "cognito_user_pool:devices:growth1d": A_DAY,
}

ACTIVE_ALERTS = {"CognitoDeviceMfaBypassStale"}
"""What the demo is there to show; the others have nothing to fire for: nothing of their kind is wrong."""

EMPTY_IN_DOCUMENTS = {
    "cognito_user_pool:devices:growth1d": A_DAY,
    "cognito_user_pool:users:sum - cognito_user_pool:users:sum offset 1d": A_DAY,
    "sum by (user_pool_id, reason) (increase(cognito_exporter_sweep_failures_total[3h])) > 0": WELL,
    "sum by (user_pool_id, reason) (increase(cognito_exporter_user_read_failures_total[3h])) > 0": WELL,
    "sum by (aws_account_id, aws_region, operation) "
    '(increase(cognito_exporter_aws_request_failures_total{error="denied"}[1h])) > 0': WELL,
    'cognito_user_pool_state{state="missing"} == 1': WELL,
    "sum by (user_pool_id, reason) (cognito_exporter_series_dropped) > 0": WELL,
    "cognito_exporter_identity_exposed == 1": WELL,
    "sum by (rule, aws_region, reason) (increase(cognito_exporter_discovery_failures_total[1h])) > 0": NO_RULES,
    "time() - cognito_exporter_discovery_last_success_timestamp_seconds": NO_RULES,
    "up == 0": WELL,
}


def test_every_record_has_data(prometheus: Prometheus) -> None:
    wanted = {record["record"] for record in RECORDS} - EMPTY_RECORDS.keys()
    assert eventually(lambda: all(prometheus.instant(name) for name in wanted), within=15), sorted(
        name for name in wanted if not prometheus.instant(name)
    )


@pytest.mark.parametrize(("record", "reason"), EMPTY_RECORDS.items())
def test_a_record_without_data_has_none_indeed(record: str, reason: str, prometheus: Prometheus) -> None:
    assert prometheus.instant(record) == [], f"no longer true: {reason}"


def test_every_rule_is_evaluated_without_error(prometheus: Prometheus) -> None:
    groups = requests.get(f"{prometheus.url}/api/v1/rules", timeout=10).json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) == len(RECORDS) + len(ALERTS)
    assert {rule["name"]: rule["lastError"] for rule in rules if rule["health"] != "ok"} == {}


def test_of_all_alerts_those_are_active_that_the_demo_shows(prometheus: Prometheus) -> None:
    def active() -> set[str]:
        return {alert["alert"] for alert in ALERTS if prometheus.instant(alert["expr"])}

    assert eventually(lambda: active() == ACTIVE_ALERTS, within=15), active()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_promql_in_a_document_answers_or_it_is_said_why_not(document: Path, prometheus: Prometheus) -> None:
    empty = {expr for expr in promql_in(document) if not prometheus.range(expr)}
    assert empty <= EMPTY_IN_DOCUMENTS.keys()


@pytest.mark.parametrize("expr", EMPTY_IN_DOCUMENTS)
def test_what_is_excused_from_answering_stands_in_a_document(expr: str) -> None:
    assert any(expr in promql_in(document) for document in DOCUMENTS)
