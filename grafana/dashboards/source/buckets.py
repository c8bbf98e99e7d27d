"""Display names of histogram buckets.

Queries never select a bound. Transformations rename the series of a bucket, for each way in which Prometheus may write
its bound. A bound that is not recognized keeps its number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal

from grafana_foundation_sdk.models import dashboard as model

from exporter.metrics.pool_specs import AGE_BOUNDS, DAY, DEVICES_PER_USER_BOUNDS, HOUR
from grafana.dashboards.source.theme import AGE_COLORS, colored

_OVERFLOW = r"\+?Inf"


def spellings(bound: int) -> str:
    """Return a pattern that matches every spelling of a bound: 2592000, 2592000.0 and 2.592e+06."""
    mantissa, _, exponent = f"{Decimal(bound).normalize():e}".partition("e")
    scientific = rf"{re.escape(mantissa)}e\+?0?{int(exponent)}"
    return rf"{bound}(?:\.0)?|{scientific}"


def ages_by_bound() -> list[model.DataTransformerConfig]:
    """Return the renaming of age buckets to their upper bounds, for an axis."""
    return _renamed(AGE_BOUNDS, [*map(_duration, AGE_BOUNDS), "longer"])


def ages_by_span() -> list[model.DataTransformerConfig]:
    """Return the renaming of age buckets to their ranges."""
    return _renamed(AGE_BOUNDS, _age_spans())


def age_colors() -> list[model.DashboardFieldConfigSourceOverrides]:
    """Return the colors of the buckets of `ages_by_span`."""
    return colored(dict(zip(_age_spans(), AGE_COLORS, strict=True)))


def devices_per_user() -> list[model.DataTransformerConfig]:
    """Return the renaming of the buckets of devices per user to their ranges."""
    bounds = DEVICES_PER_USER_BOUNDS
    return _renamed(bounds, [*_count_spans(bounds), f"over {bounds[-1]}"])


def _renamed(bounds: Sequence[int], names: Sequence[str]) -> list[model.DataTransformerConfig]:
    patterns = (*map(spellings, bounds), _OVERFLOW)
    return [
        model.DataTransformerConfig("renameByRegex", options={"regex": f"/^(?:{pattern})$/", "renamePattern": name})
        for pattern, name in zip(patterns, names, strict=True)
    ]


def _age_spans() -> list[str]:
    first, *others = AGE_BOUNDS
    spans = [f"up to {_duration(first)}"]
    for lower, upper in zip(AGE_BOUNDS, others, strict=False):
        spans.append(f"{_duration(lower)} to {_duration(upper)}")
    return [*spans, f"over {_duration(AGE_BOUNDS[-1])}"]


def _duration(seconds: int) -> str:
    return f"{seconds // DAY} d" if seconds >= DAY else f"{seconds // HOUR} h"


def _count_spans(bounds: Sequence[int]) -> Iterator[str]:
    lower = -1
    for bound in bounds:
        yield str(bound) if bound == lower + 1 else f"{lower + 1} to {bound}"
        lower = bound
