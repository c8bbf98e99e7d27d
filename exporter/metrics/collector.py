"""Conversion of snapshots to prometheus_client metric families, except those of users and devices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from prometheus_client.metrics_core import Metric

from exporter.collect.snapshot import PoolView
from exporter.metrics.pool_specs import POOL_METRICS
from exporter.metrics.self_specs import RATE_LIMIT_METRICS, RULE_METRICS, SERIES_DROPPED, DropReason
from exporter.metrics.spec import PoolMetric, RateLimitMetric, RateLimitView, RuleMetric, RuleView, Spec
from exporter.metrics.text import clean

Family = tuple[str, Callable[[], Metric]]
"""Name of a metric and a function that computes its samples and may raise."""


def pool_families(
    views: Sequence[PoolView], now_ms: int, metrics: Iterable[PoolMetric] = POOL_METRICS
) -> Iterator[Family]:
    """Yield the families of the pools, computed from the same views at the same time."""
    for metric in metrics:
        yield metric.spec.name, partial(_of_pools, metric, views, now_ms)


def _of_pools(metric: PoolMetric, views: Sequence[PoolView], now_ms: int) -> Metric:
    spec = metric.spec
    family = family_of(spec)
    for view in views:
        for sample in metric.samples(view, now_ms):
            labels = labelled(spec, (view.settings.id, *sample.labels))
            if sample.le is not None:
                labels["le"] = sample.le
            family.add_sample(spec.name + sample.suffix, labels, sample.value)
    return family


def rate_limit_families(
    budgets: Callable[[], Sequence[RateLimitView]], metrics: Iterable[RateLimitMetric] = RATE_LIMIT_METRICS
) -> Iterator[Family]:
    """Yield the families of the rate limiters. The state is read when a family is computed."""
    for metric in metrics:
        yield metric.spec.name, partial(_rate_limit_families, metric, budgets)


def _rate_limit_families(metric: RateLimitMetric, budgets: Callable[[], Sequence[RateLimitView]]) -> Metric:
    family = family_of(metric.spec)
    for budget in budgets():
        value = metric.value(budget)
        if value is not None:
            labels = (budget.target.account_id, budget.target.region, budget.category)
            family.add_sample(metric.spec.name, labelled(metric.spec, labels), value)
    return family


def rule_families(
    rules: Callable[[], Sequence[RuleView]], metrics: Iterable[RuleMetric] = RULE_METRICS
) -> Iterator[Family]:
    """Yield the families of the discovery rules. The state is read when a family is computed."""
    for metric in metrics:
        yield metric.spec.name, partial(_of_rules, metric, rules)


def _of_rules(metric: RuleMetric, rules: Callable[[], Sequence[RuleView]]) -> Metric:
    family = family_of(metric.spec)
    for rule in rules():
        value = metric.value(rule)
        if value is not None:
            family.add_sample(metric.spec.name, labelled(metric.spec, (rule.rule, rule.region)), value)
    return family


def dropped_family(dropped: Mapping[str, int]) -> Family:
    """Return the family that counts the series dropped by the series limit, by pool."""
    return SERIES_DROPPED.name, partial(_dropped, dropped)


def _dropped(dropped: Mapping[str, int]) -> Metric:
    family = family_of(SERIES_DROPPED)
    for pool_id, series in dropped.items():
        labels = labelled(SERIES_DROPPED, (pool_id, DropReason.SERIES_LIMIT.value))
        family.add_sample(SERIES_DROPPED.name, labels, series)
    return family


def family_of(spec: Spec) -> Metric:
    """Return a family without samples."""
    return Metric(spec.family, spec.help, spec.kind.value)


def labelled(spec: Spec, values: Sequence[str]) -> dict[str, str]:
    """Return the label values by label name.

    Raises `ValueError` if the number of values differs from the number of labels in the catalogue.
    """
    return {label: clean(value) for label, value in zip(spec.labels, values, strict=True)}
