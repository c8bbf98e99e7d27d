"""Text rendering of prometheus_client families, with the library's output at a fraction of its cost.

At every scrape, the library checks each character of each name for characters that only newer formats allow.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from prometheus_client.metrics_core import Metric
from prometheus_client.samples import Sample
from prometheus_client.utils import floatToGoString

from exporter.metrics.text import escaped

_CLASSIC_NAMES = {"counter": "_total", "info": "_info"}
"""Suffixes that the classic format adds to the OpenMetrics name of a family, by type."""

_CLASSIC_TYPES = {"info": "gauge", "stateset": "gauge", "gaugehistogram": "histogram", "unknown": "untyped"}

_GAUGES_OF_THEIR_OWN = ("_gcount", "_gsum")
"""Suffixes of samples that the classic format exposes as separate gauges after the family."""


def family_text(family: Metric, names: Collection[str] | None, *, openmetrics: bool) -> bytes:
    """Return the family with the samples in `names`, or all if None; empty if there are no samples.

    `_created` samples are always omitted.
    """
    samples = [
        sample
        for sample in family.samples
        if not sample.name.endswith("_created") and (names is None or sample.name in names)
    ]
    if not samples:
        return b""
    parts = _openmetrics(family, samples) if openmetrics else _classic(family, samples)
    return "".join(parts).encode()


def _openmetrics(family: Metric, samples: Iterable[Sample]) -> Iterator[str]:
    yield _head(family.name, escaped(family.documentation), family.type)
    yield from map(_line, samples)


def _classic(family: Metric, samples: Sequence[Sample]) -> Iterator[str]:
    meaning = family.documentation.replace("\\", r"\\").replace("\n", r"\n")
    apart = {family.name + suffix for suffix in _GAUGES_OF_THEIR_OWN}
    name = family.name + _CLASSIC_NAMES.get(family.type, "")
    yield _head(name, meaning, _CLASSIC_TYPES.get(family.type, family.type))
    yield from (_line(sample) for sample in samples if sample.name not in apart)
    for gauge in sorted({sample.name for sample in samples} & apart):
        yield _head(gauge, meaning, "gauge")
        yield from (_line(sample) for sample in samples if sample.name == gauge)


def _head(name: str, meaning: str, kind: str) -> str:
    return f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n"


def _line(sample: Sample) -> str:
    labels = ",".join([f'{label}="{escaped(value)}"' for label, value in sorted(sample.labels.items())])
    shown = f"{{{labels}}}" if labels else ""
    return f"{sample.name}{shown} {floatToGoString(sample.value)}\n"  # type: ignore[no-untyped-call] # ships without annotations
