"""Grafana-managed alerts, evaluated by a real Prometheus that scraped the demo."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.grafana.conftest import Prometheus
from tests.fakes import eventually
from tests.grafana.test_alerting import OF_PROMETHEUS, RULES, expression, limit

pytestmark = pytest.mark.xdist_group("prometheus")

EMPTY = {
    "CognitoDeviceSuddenGrowth": "the demo has not run for a day",
    "CognitoDeviceExporterAbsent": "the exporter of the demo is there",
}


@pytest.mark.parametrize("name", sorted(RULES.keys() - EMPTY.keys()))
def test_a_query_answers(name: str, prometheus: Prometheus) -> None:
    assert prometheus.instant(expression(RULES[name]))


@pytest.mark.parametrize(("name", "reason"), EMPTY.items())
def test_a_query_without_an_answer_has_none_indeed(name: str, reason: str, prometheus: Prometheus) -> None:
    assert prometheus.instant(expression(RULES[name])) == [], f"no longer true: {reason}"


@pytest.mark.parametrize("name", RULES)
def test_a_rule_finds_what_that_of_prometheus_finds(name: str, prometheus: Prometheus) -> None:
    def agree() -> bool:
        managed = prometheus.instant(f"({expression(RULES[name])}) > {limit(RULES[name])}")
        return _values(managed) == _values(prometheus.instant(OF_PROMETHEUS[name]["expr"]))

    assert eventually(agree, within=15)


def _values(series: list[dict[str, Any]]) -> dict[frozenset[tuple[str, str]], float]:
    return {frozenset(one["metric"].items()): float(one["value"][1]) for one in series}
