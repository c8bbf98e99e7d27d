"""The lines of the live families, against the library that they stand in for."""

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
from exporter.metrics.collector import dropped_family, pool_families, rate_limit_families
from exporter.metrics.family_text import family_text
from exporter.metrics.self_metrics import SelfMetrics
from exporter.observers import Target
from tests.unit.metrics.builders import NOW_MS, POOL, Budget, device, user, view

TARGET = Target("123456789012", "eu-west-1")


@dataclass(frozen=True)
class One:
    """A registry of one family."""

    family: Metric

    def collect(self) -> Iterable[Metric]:
        return (self.family,)


def _of_the_library(family: Metric, *, openmetrics: bool) -> bytes:
    shown = Metric(family.name, family.documentation, family.type)
    shown.samples = [sample for sample in family.samples if not sample.name.endswith("_created")]
    if openmetrics:
        return bytes(generate_openmetrics(One(shown))).removesuffix(b"# EOF\n")  # type: ignore[no-untyped-call] # ships without annotations
    return generate_latest(One(shown))


def _own_families() -> Iterable[Metric]:
    own = SelfMetrics(version='1"\\\n')
    own.pool_added(POOL)
    own.target_added(TARGET)
    own.scraped(0.3)
    own.rate_limit_waited(TARGET, "UserResourceRead", 12345678.5)
    own.configuration_loaded(successful=True, now=NOW_MS / 1000)
    for _, collector in own.collectors:
        yield from collector.collect()


def _families() -> list[Metric]:
    nowhere = CollectorRegistry()
    views: Sequence[PoolView] = [
        view(user("a", device("k"), device("l", 400.25))),
        view(pool_id='p"\\\n', known=False),
        view(user("b"), pool_id="naïve 日本語"),
    ]
    live = (*pool_families(views, NOW_MS), dropped_family({POOL: 7}), *rate_limit_families(lambda: [Budget(TARGET)]))
    return [
        *(compute() for _, compute in live),
        *_own_families(),
        *ProcessCollector(registry=nowhere).collect(),
        *PlatformCollector(registry=nowhere).collect(),
    ]


FAMILIES = {family.name: family for family in _families()}


@pytest.mark.parametrize("openmetrics", [False, True])
@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.samples])
def test_every_family_of_the_page_is_written_as_the_library_writes_it(name: str, openmetrics: bool) -> None:
    family = FAMILIES[name]
    assert family_text(family, None, openmetrics=openmetrics) == _of_the_library(family, openmetrics=openmetrics)


HELP = st.text(st.characters(codec="utf-8"))


@given(HELP, HELP, st.floats(), st.booleans())
def test_any_text_and_number_is_written_as_the_library_writes_it(
    meaning: str, label: str, value: float, openmetrics: bool
) -> None:
    families: list[Metric] = [
        GaugeMetricFamily("name", meaning, labels=("z", "a")),
        CounterMetricFamily("name", meaning, labels=("z", "a")),
        UnknownMetricFamily("name", meaning, labels=("z", "a")),
    ]
    for family in families:
        family.add_metric((label, "x"), value)  # type: ignore[attr-defined] # all three have it
    families += [
        InfoMetricFamily("name", meaning, value={"label": label}),
        StateSetMetricFamily("name", meaning, value={label: True}),
    ]
    for family in families:
        ours = family_text(family, None, openmetrics=openmetrics)
        assert ours == _of_the_library(family, openmetrics=openmetrics)


def test_names_restrict_the_samples() -> None:
    family = FAMILIES["cognito_user_pool_devices_per_user"]
    shown = family_text(family, {"cognito_user_pool_devices_per_user_gsum"}, openmetrics=True).decode()
    assert [line for line in shown.splitlines() if "_bucket" in line or "_gcount" in line] == []
    assert "cognito_user_pool_devices_per_user_gsum{" in shown
    assert family_text(family, {"other"}, openmetrics=False) == b""
