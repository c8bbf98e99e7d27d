"""Comparison of the rendered families with those of prometheus_client."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
    StateSetMetricFamily,
    UnknownMetricFamily,
)
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter.collect.snapshot import PoolView
from exporter.metrics.families import pool_families, state_families
from exporter.metrics.self_metrics import SelfMetrics
from exporter.metrics.self_specs import RATE_LIMIT_METRICS, SERIES_DROPPED
from exporter.metrics.text import family_text, format_seconds
from exporter.observers import Target
from tests.unit.metrics.builders import NOW_MS, POOL, device, rate_limit, user, view

TARGET = Target("123456789012", "eu-west-1")


@dataclass(frozen=True)
class SingleFamilyRegistry:
    """Registry of one family."""

    family: Metric

    def collect(self) -> Iterable[Metric]:
        return (self.family,)


def _library_text(family: Metric, *, openmetrics: bool) -> bytes:
    expected = Metric(family.name, family.documentation, family.type)
    expected.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
    if openmetrics:
        return bytes(generate_openmetrics(SingleFamilyRegistry(expected))).removesuffix(b"# EOF\n")  # type: ignore[no-untyped-call] # ships without annotations
    return generate_latest(SingleFamilyRegistry(expected))


def _self_families() -> Iterable[Metric]:
    self_metrics = SelfMetrics(version='1"\\\n')
    self_metrics.pool_added(POOL)
    self_metrics.target_added(TARGET)
    self_metrics.scrape_finished(0.3)
    self_metrics.rate_limit_waited(TARGET, "UserResourceRead", 12345678.5)
    self_metrics.configuration_loaded(successful=True, now=NOW_MS / 1000)
    for _, collector in self_metrics.collectors:
        yield from collector.collect()


def _families() -> list[Metric]:
    unused = CollectorRegistry()
    views: Sequence[PoolView] = [
        view(user("a", device("k"), device("l", 400.25))),
        view(pool_id='p"\\\n', has_data=False),
        view(user("b"), pool_id="naïve 日本語"),
    ]
    lazy = (
        *pool_families(views, NOW_MS),
        *state_families({POOL: 7}.items, (SERIES_DROPPED,)),
        *state_families(lambda: [rate_limit(TARGET)], RATE_LIMIT_METRICS),
    )
    return [
        *(compute() for _, compute in lazy),
        *_self_families(),
        *ProcessCollector(registry=unused).collect(),
        *PlatformCollector(registry=unused).collect(),
    ]


FAMILIES = {family.name: family for family in _families()}


@pytest.mark.parametrize("openmetrics", [False, True])
@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.samples])
def test_family_of_page_is_rendered_as_by_library(name: str, openmetrics: bool) -> None:
    family = FAMILIES[name]
    assert family_text(family, None, openmetrics=openmetrics) == _library_text(family, openmetrics=openmetrics)


HELP = st.text(st.characters(codec="utf-8"))


@given(HELP, HELP, st.floats(), st.booleans())
def test_any_text_and_number_is_rendered_as_by_library(
    documentation: str, label: str, value: float, openmetrics: bool
) -> None:
    families: list[Metric] = [
        GaugeMetricFamily("name", documentation, labels=("z", "a")),
        CounterMetricFamily("name", documentation, labels=("z", "a")),
        UnknownMetricFamily("name", documentation, labels=("z", "a")),
    ]
    for family in families:
        family.add_metric((label, "x"), value)  # type: ignore[attr-defined] # all three have it
    families += [
        InfoMetricFamily("name", documentation, value={"label": label}),
        StateSetMetricFamily("name", documentation, value={label: True}),
    ]
    for family in families:
        assert family_text(family, None, openmetrics=openmetrics) == _library_text(family, openmetrics=openmetrics)


def test_names_restrict_samples() -> None:
    family = FAMILIES["cognito_user_pool_devices_per_user"]
    text = family_text(family, {"cognito_user_pool_devices_per_user_gsum"}, openmetrics=True).decode()
    assert [line for line in text.splitlines() if "_bucket" in line or "_gcount" in line] == []
    assert "cognito_user_pool_devices_per_user_gsum{" in text
    assert family_text(family, {"other"}, openmetrics=False) == b""


@given(st.integers(-(10**13), 10**13))
def test_format_seconds_is_exact(millis: int) -> None:
    assert float(format_seconds(millis)) == millis / 1000
