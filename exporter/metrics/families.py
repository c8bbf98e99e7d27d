"""Conversion of snapshots to prometheus_client families, except those of users and devices, and their isolation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from threading import Lock
from typing import TypeVar

import structlog
from prometheus_client.metrics_core import Metric

from exporter.collect.snapshot import PoolView
from exporter.metrics.pool_specs import POOL_METRICS
from exporter.metrics.spec import PoolMetric, Spec, StateMetric
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


def state_families(states: Callable[[], Iterable[T]], metrics: Iterable[StateMetric[T]]) -> Iterator[LazyFamily]:
    """Yield the families of the states, which are read when a family is computed."""
    for metric in metrics:
        yield metric.spec.name, partial(_of_states, metric, states)


def _of_states(metric: StateMetric[T], states: Callable[[], Iterable[T]]) -> Metric:
    family = _empty_family(metric.spec)
    for state in states():
        value = metric.value(state)
        if value is not None:
            family.add_sample(metric.spec.name, _labels(metric.spec, metric.labels(state)), value)
    return family


def _empty_family(spec: Spec) -> Metric:
    """Return a family without samples."""
    return Metric(spec.family, spec.help, spec.type.value)


def _labels(spec: Spec, values: Sequence[str]) -> dict[str, str]:
    """Return the label values by label name.

    Raises `ValueError` if the number of values differs from the number of labels in the catalog.
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
                log.error("cannot compute metric; omitting it from the page", metric=metric, exc_info=error)
            return None
        with self._lock:
            self._failing.discard(metric)
        return result
