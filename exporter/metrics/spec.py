"""Data types of metric definitions, from which `/metrics`, its documentation and its tests are derived."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeVar

from exporter.collect.snapshot import DetailCounts, PoolView

T = TypeVar("T")


class MetricType(StrEnum):
    """Metric type, as named in the text formats."""

    GAUGE = "gauge"
    COUNTER = "counter"
    HISTOGRAM = "histogram"
    GAUGE_HISTOGRAM = "gaugehistogram"


SUFFIXES: dict[MetricType, tuple[str, ...]] = {
    MetricType.GAUGE: ("",),
    MetricType.COUNTER: ("",),
    MetricType.HISTOGRAM: ("_bucket", "_sum", "_count"),
    MetricType.GAUGE_HISTOGRAM: ("_bucket", "_gsum", "_gcount"),
}
"""Suffixes that samples append to the metric name. The name of a counter already ends with `_total`."""


class ShardAggregation(StrEnum):
    """Aggregation of the values of several shards to the value of the deployment."""

    SUM = "sum"
    MAX = "max"
    MIN = "min"
    EACH = "each"
    """No aggregation: every series belongs to one shard."""


SHARD_AGGREGATION_HELP = {
    ShardAggregation.SUM: "Over shards: sum.",
    ShardAggregation.MAX: "Over shards: max.",
    ShardAggregation.MIN: "Over shards: min.",
    ShardAggregation.EACH: "Over shards: not aggregated, each shard exposes its own series.",
}

SWEPT_HELP = "Collected from AWS by background sweeps, not during the scrape."


class DocSection(StrEnum):
    """Headings of the documentation, in order."""

    POOL = "User pools"
    USER = "Users"
    DEVICE = "Devices"
    SWEEP = "Exporter: sweeps"
    DISCOVERY = "Exporter: discovery"
    AWS = "Exporter: AWS requests"
    SELF = "Exporter: process"


@dataclass(frozen=True, slots=True)
class Spec:
    """Public definition of a metric."""

    name: str
    description: str
    """Complete sentences. Quotes and backslashes are not allowed: the two text formats escape them differently."""
    shard_aggregation: ShardAggregation
    section: DocSection
    labels: tuple[str, ...] = ()
    type: MetricType = MetricType.GAUGE

    @property
    def help(self) -> str:
        """HELP text: the description, the origin of the value and the aggregation over shards."""
        origin = (SWEPT_HELP,) if self.section in {DocSection.POOL, DocSection.USER, DocSection.DEVICE} else ()
        return " ".join((self.description, *origin, SHARD_AGGREGATION_HELP[self.shard_aggregation]))

    @property
    def family(self) -> str:
        """Name of the metric family in prometheus_client."""
        return self.name.removesuffix("_total") if self.type is MetricType.COUNTER else self.name

    @property
    def sample_names(self) -> frozenset[str]:
        """Names of the metric's samples."""
        return frozenset(self.name + suffix for suffix in SUFFIXES[self.type])


@dataclass(frozen=True, slots=True)
class Sample:
    """Value of one pool; `labels` are the values of the metric's labels after `user_pool_id`."""

    value: float
    labels: tuple[str, ...] = ()
    suffix: str = ""
    le: str | None = None
    """Inclusive upper bound of a histogram bucket."""


@dataclass(frozen=True, slots=True)
class PoolMetric:
    """Metric of a pool: a pure function of the pool's view and the current time in milliseconds."""

    spec: Spec
    samples: Callable[[PoolView, int], Iterable[Sample]]


class ValueFormat(StrEnum):
    """Format of the value of a detail series."""

    NUMBER = "number"
    TIMESTAMP = "timestamp"
    """The value is in milliseconds since the epoch and rendered in seconds."""
    AGE = "age"
    """The value is in milliseconds since the epoch and rendered as the seconds passed since then."""


@dataclass(frozen=True, slots=True)
class DetailMetric(Generic[T]):
    """Metric of each user or each device. There is no series if `value` returns None."""

    spec: Spec
    value_format: ValueFormat
    value: Callable[[T], int | None]
    series_count: Callable[[DetailCounts], int]
    """Returns the number of series of a whole pool."""
    extra_labels: Callable[[T, tuple[str, ...]], tuple[tuple[str, str], ...]] | None = None
    """Returns additional labels, given the user or device and the names of the configured device attributes."""


@dataclass(frozen=True, slots=True)
class StateMetric(Generic[T]):
    """Metric of the current states of a component, read at scrape time. No series if `value` returns None."""

    spec: Spec
    labels: Callable[[T], tuple[str, ...]]
    """Returns the values of the metric's labels."""
    value: Callable[[T], float | None]


@dataclass(frozen=True, slots=True, eq=False)
class SelfMetric:
    """Metric of the exporter that is updated when events occur. Compared by identity, which makes it a cheap key."""

    spec: Spec
    buckets: tuple[float, ...] = field(default=())
    """Upper bounds of a histogram."""
