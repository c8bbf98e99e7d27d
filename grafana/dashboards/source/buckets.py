"""Histogram buckets in words.

Queries never name a bound. Here the series of a bucket are renamed, in each of the ways in which a Prometheus may write
its bound; a bound that is not recognised keeps its number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal

from grafana_foundation_sdk.models import dashboard as model

from exporter.metrics.pool_specs import AGE_BOUNDS, DAY, DEVICES_PER_USER_BOUNDS, HOUR
from grafana.dashboards.source.look import AGE_COLORS, colored

_OVERFLOW = r"\+?Inf"


def spellings(bound: int) -> str:
    """A pattern for a bound: 2592000, 2592000.0 and 2.592e+06 are the same one."""
    mantissa, _, exponent = f"{Decimal(bound).normalize():e}".partition("e")
    scientific = rf"{re.escape(mantissa)}e\+?0?{int(exponent)}"
    return rf"{bound}(?:\.0)?|{scientific}"


def ages_by_bound() -> list[model.DataTransformerConfig]:
    """Buckets of the age histogram called by their upper bounds, for an axis."""
    return _renamed(AGE_BOUNDS, [*map(_duration, AGE_BOUNDS), "longer"])


def ages_by_span() -> list[model.DataTransformerConfig]:
    """Buckets of the age histogram called by what lies in them."""
    return _renamed(AGE_BOUNDS, _age_spans())


def age_colors() -> list[model.DashboardFieldConfigSourceOverrides]:
    """Colours for the buckets of `ages_by_span`."""
    return colored(dict(zip(_age_spans(), AGE_COLORS, strict=True)))


def devices_per_user() -> list[model.DataTransformerConfig]:
    """Buckets of the histogram of devices per user called by what lies in them."""
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
