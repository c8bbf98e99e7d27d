"""The whole page: one snapshot, one moment, in the format and coding the client asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from exporter.clock import Clock
from exporter.collect.snapshot import PoolView
from exporter.metrics.catalogue import sample_names
from exporter.metrics.collector import Family, budget_families, dropped_family, pool_families
from exporter.metrics.compression import compress
from exporter.metrics.detail_series import DetailPart, DetailSeries, Metrics, family_text
from exporter.metrics.guard import Guard
from exporter.metrics.negotiation import Format, accepts_gzip, text_format
from exporter.metrics.own import OwnMetrics
from exporter.metrics.own_metrics import SERIES_DROPPED
from exporter.metrics.pool_metrics import POOL_METRICS
from exporter.metrics.single_flight import SingleFlight
from exporter.metrics.spec import BudgetView, PoolMetric

_EOF = b"# EOF\n"

_Names = frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Page:
    """An answer to a scrape."""

    body: bytes
    content_type: str
    gzipped: bool


class _One:
    """A registry of one family that is collected already."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        return (self._family,)


class Exposition:
    """Renders pages; safe to call from many threads, who share a page when they ask at the same time.

    `views` is called once per page, `series_limit` and `budgets` give the values in force now.
    """

    def __init__(
        self,
        views: Callable[[], Sequence[PoolView]],
        own: OwnMetrics,
        clock: Clock,
        *,
        series_limit: Callable[[], int],
        budgets: Callable[[], Sequence[BudgetView]],
        pool_metrics: Sequence[PoolMetric] = POOL_METRICS,
        detail_metrics: Metrics | None = None,
    ) -> None:
        self._views = views
        self._own = own
        self._clock = clock
        self._series_limit = series_limit
        self._budgets = budgets
        self._pool_metrics = pool_metrics
        self._guard = Guard(own.metric_failed)
        self._details = DetailSeries(self._guard, detail_metrics)
        # Registered nowhere: prometheus_client's own global registry stays out of this program.
        nowhere = CollectorRegistry()
        self._process = (
            ("process", ProcessCollector(registry=nowhere)),
            ("python_info", PlatformCollector(registry=nowhere)),
        )
        self._plain = SingleFlight[tuple[Format, _Names], bytes]()
        self._gzipped = SingleFlight[tuple[Format, _Names], bytes]()

    def page(self, *, accept: str | None, accept_encoding: str | None, names: Sequence[str] = ()) -> Page:
        """The page for these request headers; `names`, from `?name[]=`, restrict it to some metrics."""
        started = self._clock.monotonic()
        style = text_format(accept)
        gzipped = accepts_gzip(accept_encoding)
        key = (style, sample_names(names) if names else None)
        body = self._gzipped.run(key, lambda: compress(self._text(*key))) if gzipped else self._text(*key)
        self._own.scraped(self._clock.monotonic() - started)
        return Page(body, style.value, gzipped)

    def _text(self, style: Format, names: _Names) -> bytes:
        return self._plain.run((style, names), partial(self._render, style, names))

    def _render(self, style: Format, names: _Names) -> bytes:
        views = self._views()
        now_ms = int(self._clock.wall() * 1000)
        pools = self._families(pool_families(views, now_ms, self._pool_metrics), style, names)
        prepare = partial(self._details.prepare, views, self._series_limit())
        details = self._guard.run(SERIES_DROPPED.name, prepare) or DetailPart((), {})
        detail_texts = [
            text
            for spec, texts in details.families
            if (names is None or spec.name in names)
            and (text := self._guard.run(spec.name, partial(family_text, spec, texts, now_ms))) is not None
        ]
        live = (dropped_family(details.dropped), *budget_families(self._budgets))
        live_texts = self._families(live, style, names)
        # After everything that can fail, so that a failure is counted on the page that lacks the metric.
        own_texts = self._families(self._own_families(), style, names)
        return b"".join([*pools, *live_texts, *own_texts, *detail_texts, _EOF if style.is_openmetrics else b""])

    def _families(self, families: Iterable[Family], style: Format, names: _Names) -> list[bytes]:
        return [
            text
            for name, compute in families
            if (text := self._guard.run(name, lambda compute=compute: _family_bytes(compute(), style, names)))  # type: ignore[misc] # mypy cannot infer a lambda's default
        ]

    def _own_families(self) -> Iterator[Family]:
        for name, collector in self._own.collectors:
            yield name, partial(_only, collector.collect)
        for name, process in self._process:
            for family in self._guard.run(name, lambda process=process: tuple(process.collect())) or ():  # type: ignore[misc] # as above
                yield family.name, partial(_same, family)


def _only(collect: Callable[[], Iterable[Metric]]) -> Metric:
    (family,) = collect()
    return family


def _same(family: Metric) -> Metric:
    return family


def _family_bytes(family: Metric, style: Format, names: _Names) -> bytes:
    """The family with the samples asked for and without creation times; nothing when none is left."""
    kept = [
        sample
        for sample in family.samples
        if not sample.name.endswith("_created") and (names is None or sample.name in names)
    ]
    if not kept:
        return b""
    shown = Metric(family.name, family.documentation, family.type)
    shown.samples = kept
    if style.is_openmetrics:
        return bytes(generate_openmetrics(_One(shown))).removesuffix(_EOF)  # type: ignore[no-untyped-call] # ships without annotations
    return generate_latest(_One(shown))
