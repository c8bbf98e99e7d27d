"""Rendering of `/metrics` from one snapshot at one time, in the format and encoding that the client accepts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from threading import Lock
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import Metric

from exporter.clock import Clock
from exporter.collect.snapshot import PoolView
from exporter.metrics.catalogue import sample_names
from exporter.metrics.collector import Family, dropped_family, pool_families, rate_limit_families, rule_families
from exporter.metrics.compression import IN_PIECES, DeflateChunk, compress, deflate, gzip_member
from exporter.metrics.detail_series import DetailPart, DetailSeries, Metrics
from exporter.metrics.detail_text import Family as DetailFamily
from exporter.metrics.failure_isolation import FailureIsolator
from exporter.metrics.family_text import family_text
from exporter.metrics.negotiation import Format, accepts_gzip, text_format
from exporter.metrics.pool_specs import POOL_METRICS
from exporter.metrics.self_metrics import SelfMetrics
from exporter.metrics.self_specs import SERIES_DROPPED
from exporter.metrics.single_flight import SingleFlight
from exporter.metrics.spec import PoolMetric, RateLimitView, RuleView

T = TypeVar("T")

_EOF = b"# EOF\n"

_Names = frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Page:
    """Response to a scrape."""

    body: bytes
    content_type: str
    gzipped: bool


@dataclass(frozen=True, slots=True)
class _Coding(Generic[T]):
    """Functions that encode the parts of a page and join them."""

    text: Callable[[bytes], T]
    family: Callable[[DetailFamily, int], list[T]]
    page: Callable[[list[T]], bytes]


_PLAIN: _Coding[bytes] = _Coding(bytes, DetailFamily.plain, b"".join)
_IN_PIECES: _Coding[DeflateChunk] = _Coding(deflate, DetailFamily.packed, gzip_member)


class Exposition:
    """Renderer of `/metrics`. Thread-safe; concurrent requests for the same page share one rendering.

    `views` is called once per rendering. `series_limit`, `budgets` and `rules` return the current values.
    """

    def __init__(  # noqa: PLR0913 - each current value has its own source
        self,
        views: Callable[[], Sequence[PoolView]],
        own: SelfMetrics,
        clock: Clock,
        *,
        series_limit: Callable[[], int],
        budgets: Callable[[], Sequence[RateLimitView]],
        rules: Callable[[], Sequence[RuleView]] = tuple,
        generation: Callable[[], int] = int,
        pool_metrics: Sequence[PoolMetric] = POOL_METRICS,
        detail_metrics: Metrics | None = None,
        in_pieces: bool = IN_PIECES,
    ) -> None:
        """`in_pieces`: compress only new parts of a page; if False, compress each page as a whole.

        `generation` returns a different number after each change of the active pools or limits. Requests before and
        after a change do not share a page.
        """
        self._views = views
        self._own = own
        self._clock = clock
        self._series_limit = series_limit
        self._rate_limiters = budgets
        self._rules = rules
        self._edition = generation
        self._pool_metrics = pool_metrics
        self._guard = FailureIsolator(own.metric_failed)
        self._details = DetailSeries(self._guard, detail_metrics, compact=in_pieces)
        # A separate registry, because the exporter does not use the global registry of prometheus_client.
        nowhere = CollectorRegistry()
        self._process = (
            ("process", ProcessCollector(registry=nowhere)),
            ("python_info", PlatformCollector(registry=nowhere)),
        )
        self._in_pieces = in_pieces
        self._flights = SingleFlight[tuple[int, Format, _Names, bool], bytes]()
        self._rendering = Lock()

    def page(self, *, accept: str | None, accept_encoding: str | None, names: Sequence[str] = ()) -> Page:
        """Return the page for these request headers, restricted to `names` (from `?name[]=`) if given."""
        started = self._clock.monotonic()
        style = text_format(accept)
        gzipped = accepts_gzip(accept_encoding)
        asked = (style, sample_names(names) if names else None, gzipped)
        body = self._flights.run((self._edition(), *asked), partial(self._body, *asked))
        self._own.scraped(self._clock.monotonic() - started)
        return Page(body, style.value, gzipped)

    def _body(self, style: Format, names: _Names, gzipped: bool) -> bytes:  # noqa: FBT001 - the arguments are the parts of a cache key
        # One rendering at a time: concurrent ones finish no sooner, and each needs memory for its page twice.
        with self._rendering:
            if gzipped and self._in_pieces:
                return self._render(_IN_PIECES, style, names)
            page = self._render(_PLAIN, style, names)
            return compress(page) if gzipped else page

    def _render(self, coding: _Coding[T], style: Format, names: _Names) -> bytes:
        views = self._views()
        now_ms = int(self._clock.wall() * 1000)
        pools = self._families(pool_families(views, now_ms, self._pool_metrics), style, names)
        prepare = partial(self._details.prepare, views, self._series_limit())
        details = self._guard.run(SERIES_DROPPED.name, prepare) or DetailPart((), {})
        families = [family for family in details.families if names is None or family.spec.name in names]
        detail_parts = [
            self._guard.run(family.spec.name, partial(coding.family, family, now_ms)) or [] for family in families
        ]
        live = (dropped_family(details.dropped), *rate_limit_families(self._rate_limiters), *rule_families(self._rules))
        live_texts = self._families(live, style, names)
        # Rendered last, so that a metric that failed is already counted on the page from which it is missing.
        own_texts = self._families(self._own_families(), style, names)
        beginning = coding.text(b"".join([*pools, *live_texts, *own_texts]))
        end = coding.text(_EOF if style.is_openmetrics else b"")
        return coding.page([beginning, *chain.from_iterable(detail_parts), end])

    def _families(self, families: Iterable[Family], style: Format, names: _Names) -> list[bytes]:
        texts = (self._guard.run(name, partial(_live_text, compute, style, names)) for name, compute in families)
        return [text for text in texts if text]

    def _own_families(self) -> Iterator[Family]:
        for name, collector in self._own.collectors:
            yield name, partial(_only, collector.collect)
        for name, process in self._process:
            for family in self._guard.run(name, lambda process=process: tuple(process.collect())) or ():  # type: ignore[misc] # mypy cannot infer a lambda with a default
                yield family.name, partial(_same, family)


def _live_text(compute: Callable[[], Metric], style: Format, names: _Names) -> bytes:
    return family_text(compute(), names, openmetrics=style.is_openmetrics)


def _only(collect: Callable[[], Iterable[Metric]]) -> Metric:
    (family,) = collect()
    return family


def _same(family: Metric) -> Metric:
    return family
