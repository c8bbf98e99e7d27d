"""Every metric there is, as data: the page, `docs/metrics.md` and the tests all derive from here.

To add a metric, add one record to the module that fits: `pool_metrics` for a pool as a whole,
`detail_metrics` for each user or device, `own_metrics` for what the exporter counts about itself.
"""

from __future__ import annotations

from collections.abc import Iterable

from exporter.metrics.detail_specs import DEVICE_METRICS, USER_METRICS
from exporter.metrics.pool_specs import POOL_METRICS
from exporter.metrics.self_specs import BUDGET_METRICS, OWN_METRICS, RULE_METRICS, SERIES_DROPPED
from exporter.metrics.spec import Spec

CATALOGUE: tuple[Spec, ...] = (
    *(metric.spec for metric in POOL_METRICS),
    *(metric.spec for metric in USER_METRICS),
    *(metric.spec for metric in DEVICE_METRICS),
    *(metric.spec for metric in OWN_METRICS),
    *(metric.spec for metric in BUDGET_METRICS),
    *(metric.spec for metric in RULE_METRICS),
    SERIES_DROPPED,
)
"""What the exporter promises; `process_*` and `python_info` come from prometheus_client on top."""


def sample_names(wanted: Iterable[str]) -> frozenset[str]:
    """The sample names meant by `?name[]=`: the name of a histogram stands for all of its samples."""
    asked = frozenset(wanted)
    whole = (spec.sample_names for spec in CATALOGUE if {spec.name, spec.family} & asked)
    return asked.union(*whole)
