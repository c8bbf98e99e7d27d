"""Conversion of snapshots to prometheus_client families, except those of users and devices, and their isolation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from threading import Lock
from typing import TypeVar

import structlog
from prometheus_client.metrics_core import Metric

from exporter.collect.snapshot import PoolView
from exporter.metrics.pool_specs import POOL_METRICS
from exporter.metrics.self_specs import RATE_LIMIT_METRICS, RULE_METRICS, SERIES_DROPPED, DropReason
from exporter.metrics.spec import PoolMetric, RateLimitMetric, RateLimitView, RuleMetric, RuleView, Spec
from exporter.metrics.text import clean

T = TypeVar("T")

log = structlog.stdlib.get_logger(__name__)

LazyFamily = tuple[str, Callable[[], Metric]]
"""Name of a metric and a function that computes its samples and may raise."""


def pool_families(
    views: Sequence[PoolView], now_ms: int, metrics: Iterable[PoolMetric] = POOL_METRICS
) -> Iterator[LazyFamily]:
    """Yield the families of the pools, computed from the same views at the same time."""
    for metric in metrics:
        yield metric.spec.name, partial(_of_pools, metric, views, now_ms)


def _of_pools(metric: PoolMetric, views: Sequence[PoolView], now_ms: int) -> Metric:
    spec = metric.spec
    family = _empty_family(spec)
    for view in views:
        for sample in metric.samples(view, now_ms):
            labels = _labels(spec, (view.settings.id, *sample.labels))
            if sample.le is not None:
                labels["le"] = sample.le
            family.add_sample(spec.name + sample.suffix, labels, sample.value)
    return family


def rate_limit_families(
    rate_limits: Callable[[], Sequence[RateLimitView]], metrics: Iterable[RateLimitMetric] = RATE_LIMIT_METRICS
) -> Iterator[LazyFamily]:
    """Yield the families of the rate limiters. The state is read when a family is computed."""
    for metric in metrics:
        yield metric.spec.name, partial(_of_rate_limits, metric, rate_limits)


def _of_rate_limits(metric: RateLimitMetric, rate_limits: Callable[[], Sequence[RateLimitView]]) -> Metric:
    family = _empty_family(metric.spec)
    for rate_limit in rate_limits():
        value = metric.value(rate_limit)
        if value is not None:
            labels = (rate_limit.target.account_id, rate_limit.target.region, rate_limit.category)
            family.add_sample(metric.spec.name, _labels(metric.spec, labels), value)
    return family


def rule_families(
    rules: Callable[[], Sequence[RuleView]], metrics: Iterable[RuleMetric] = RULE_METRICS
) -> Iterator[LazyFamily]:
    """Yield the families of the discovery rules. The state is read when a family is computed."""
    for metric in metrics:
        yield metric.spec.name, partial(_of_rules, metric, rules)


def _of_rules(metric: RuleMetric, rules: Callable[[], Sequence[RuleView]]) -> Metric:
    family = _empty_family(metric.spec)
    for rule in rules():
        value = metric.value(rule)
        if value is not None:
            family.add_sample(metric.spec.name, _labels(metric.spec, (rule.rule, rule.region)), value)
    return family


def dropped_family(dropped: Mapping[str, int]) -> LazyFamily:
    """Return the family that counts the series dropped by the series limit, by pool."""
    return SERIES_DROPPED.name, partial(_dropped, dropped)


def _dropped(dropped: Mapping[str, int]) -> Metric:
    family = _empty_family(SERIES_DROPPED)
    for pool_id, series in dropped.items():
        labels = _labels(SERIES_DROPPED, (pool_id, DropReason.SERIES_LIMIT.value))
        family.add_sample(SERIES_DROPPED.name, labels, series)
    return family


def _empty_family(spec: Spec) -> Metric:
    """Return a family without samples."""
    return Metric(spec.family, spec.help, spec.type.value)


def _labels(spec: Spec, values: Sequence[str]) -> dict[str, str]:
    """Return the label values by label name.

    Raises `ValueError` if the number of values differs from the number of labels in the catalogue.
    """
    return {label: clean(value) for label, value in zip(spec.labels, values, strict=True)}


class FailureIsolator:
    """Runner of the functions that compute metrics.

    Each failure is counted. Only the first of consecutive failures of a metric is logged.
    """

    def __init__(self, count_failure: Callable[[str], None]) -> None:
        self._count_failure = count_failure
        self._failing: set[str] = set()
        self._lock = Lock()

    def run(self, metric: str, compute: Callable[[], T]) -> T | None:
        """Return the result of `compute`, or None if it raised and the metric must be omitted."""
        try:
            result = compute()
        except Exception as error:  # a failure of one metric must not affect the others
            with self._lock:
                is_first = metric not in self._failing
                self._failing.add(metric)
            self._count_failure(metric)
            if is_first:
                log.error("metric omitted", metric=metric, exc_info=error)
            return None
        with self._lock:
            self._failing.discard(metric)
        return result
