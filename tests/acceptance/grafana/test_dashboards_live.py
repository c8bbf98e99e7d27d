"""Every query of the dashboards, asked of a real Prometheus that scraped the demo."""

from __future__ import annotations

import pytest

from tests.acceptance.grafana.conftest import Prometheus
from tests.grafana.boards import Asked, queries

pytestmark = pytest.mark.xdist_group("prometheus")

NOTHING_FAILED = "only what occurred is shown, and in the demo nothing fails"

RIGHTLY_EMPTY = {
    "exporter.json/Failures by reason per $interval/A": NOTHING_FAILED,
    "exporter.json/Failures by reason per $interval/B": NOTHING_FAILED,
    "exporter.json/Failed calls by reason per $interval/A": NOTHING_FAILED,
    "exporter.json/Faults of the exporter per $interval/A": NOTHING_FAILED,
    "exporter.json/Faults of the exporter per $interval/B": NOTHING_FAILED,
    "exporter.json/Faults of the exporter per $interval/C": NOTHING_FAILED,
}
"""Queries that return nothing for the demo, and why that is right."""


@pytest.mark.parametrize("asked", queries(), ids=str)
def test_query_returns_data(prometheus: Prometheus, asked: Asked) -> None:
    series = prometheus.range(asked.promql)

    if str(asked) in RIGHTLY_EMPTY:
        assert series == [], f"{asked} returns data: take it off the list"
    else:
        assert series, f"{asked} returns nothing: {asked.promql}"


def test_the_list_of_empty_queries_names_queries_that_exist() -> None:
    assert set(RIGHTLY_EMPTY) <= {str(asked) for asked in queries()}
