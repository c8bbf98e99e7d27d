"""Catalog of all metrics, from which `/metrics`, `docs/metrics.md` and the tests are derived.

To add a metric, add a record to `pool_specs` (metrics of a pool), `detail_specs` (metrics of a user or
device) or `self_specs` (metrics of the exporter itself).
"""

from __future__ import annotations

from collections.abc import Iterable

from exporter.metrics.detail_specs import DEVICE_METRICS, USER_METRICS
from exporter.metrics.pool_specs import POOL_METRICS
from exporter.metrics.self_specs import RATE_LIMIT_METRICS, RULE_METRICS, SELF_METRICS, SERIES_DROPPED
from exporter.metrics.spec import Spec

CATALOG: tuple[Spec, ...] = (
    *(metric.spec for metric in POOL_METRICS),
    *(metric.spec for metric in USER_METRICS),
    *(metric.spec for metric in DEVICE_METRICS),
    *(metric.spec for metric in SELF_METRICS),
    *(metric.spec for metric in RATE_LIMIT_METRICS),
    *(metric.spec for metric in RULE_METRICS),
    SERIES_DROPPED.spec,
)
"""All metrics of the exporter. prometheus_client adds `process_*` and `python_info`."""


def sample_names(wanted: Iterable[str]) -> frozenset[str]:
    """Return the sample names selected by `?name[]=`; the name of a histogram selects all of its samples."""
    asked = frozenset(wanted)
    whole = (spec.sample_names for spec in CATALOG if {spec.name, spec.family} & asked)
    return asked.union(*whole)
