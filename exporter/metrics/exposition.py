"""Rendering of `/metrics` from one snapshot at one time, in the format and encoding that the client accepts."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any, Generic, TypeVar

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import Metric

from exporter.aws.api import RateLimiterState
from exporter.clock import Clock
from exporter.collect.snapshot import PoolView, RuleState
from exporter.metrics.catalog import sample_names
from exporter.metrics.compression import SUPPORTS_CHUNKS, DeflateChunk, compress, deflate, gzip_member
from exporter.metrics.detail_series import DetailPart, DetailSeries
from exporter.metrics.detail_specs import DETAIL_METRICS
from exporter.metrics.detail_text import DetailFamily
from exporter.metrics.families import FailureIsolator, LazyFamily, pool_families, state_families
from exporter.metrics.negotiation import TextFormat, accepts_gzip, negotiate_format
from exporter.metrics.pool_specs import POOL_METRICS
from exporter.metrics.self_metrics import SelfMetrics
from exporter.metrics.self_specs import RATE_LIMIT_METRICS, RULE_METRICS, SERIES_DROPPED
from exporter.metrics.spec import DetailMetric, PoolMetric
from exporter.metrics.text import family_text

K = TypeVar("K", bound=Hashable)
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
class _Encoding(Generic[T]):
    """Functions that encode the parts of a page and join them."""

    text: Callable[[bytes], T]
    family: Callable[[DetailFamily, int], list[T]]
    join: Callable[[list[T]], bytes]


_PLAIN: _Encoding[bytes] = _Encoding(bytes, DetailFamily.plain, b"".join)
_CHUNKED: _Encoding[DeflateChunk] = _Encoding(deflate, DetailFamily.compressed, gzip_member)


class Exposition:
    """Renderer of `/metrics`. Thread-safe; concurrent requests for the same page share one rendering.

    `views` is called once per rendering. `series_limit`, `rate_limits` and `rules` return the current values.
    """

    def __init__(  # noqa: PLR0913 - each current value has its own source
        self,
        views: Callable[[], Sequence[PoolView]],
        self_metrics: SelfMetrics,
        clock: Clock,
        *,
        series_limit: Callable[[], int],
        rate_limits: Callable[[], Sequence[RateLimiterState]],
        rules: Callable[[], Sequence[RuleState]] = tuple,
        generation: Callable[[], int] = int,
        pool_metrics: Sequence[PoolMetric] = POOL_METRICS,
        detail_metrics: Sequence[DetailMetric[Any]] = DETAIL_METRICS,
        chunked: bool = SUPPORTS_CHUNKS,
    ) -> None:
        """`chunked`: compress only new parts of a page; if False, compress each page as a whole.

        `generation` returns a different number after each change of the active pools or limits. Requests before and
        after a change do not share a page.
        """
        self._views = views
        self._self_metrics = self_metrics
        self._clock = clock
        self._series_limit = series_limit
        self._rate_limits = rate_limits
        self._rules = rules
        self._generation = generation
        self._pool_metrics = pool_metrics
        self._isolator = FailureIsolator(self_metrics.metric_failed)
        self._details = DetailSeries(self._isolator, detail_metrics, precompress=chunked)
        # A separate registry, because the exporter does not use the global registry of prometheus_client.
        unused = CollectorRegistry()
        self._process_collectors = (
            ("process", ProcessCollector(registry=unused)),
            ("python_info", PlatformCollector(registry=unused)),
        )
        self._chunked = chunked
        self._renderings = SingleFlight[tuple[int, TextFormat, _Names, bool], bytes]()
        self._render_lock = Lock()

    def page(self, *, accept: str | None, accept_encoding: str | None, names: Sequence[str] = ()) -> Page:
        """Return the page for these request headers, restricted to `names` (from `?name[]=`) if given."""
        started = self._clock.monotonic()
        text_format = negotiate_format(accept)
        gzipped = accepts_gzip(accept_encoding)
        variant = (text_format, sample_names(names) if names else None, gzipped)
        body = self._renderings.run((self._generation(), *variant), partial(self._body, *variant))
        self._self_metrics.scrape_finished(self._clock.monotonic() - started)
        return Page(body, text_format.value, gzipped)

    def _body(self, text_format: TextFormat, names: _Names, gzipped: bool) -> bytes:  # noqa: FBT001 - the arguments are the parts of a cache key
        # One rendering at a time: concurrent ones finish no sooner, and each needs memory for its page twice.
        with self._render_lock:
            if gzipped and self._chunked:
                return self._render(_CHUNKED, text_format, names)
            page = self._render(_PLAIN, text_format, names)
            return compress(page) if gzipped else page

    def _render(self, encoding: _Encoding[T], text_format: TextFormat, names: _Names) -> bytes:
        views = self._views()
        now_ms = int(self._clock.wall() * 1000)
        pools = self._texts(pool_families(views, now_ms, self._pool_metrics), text_format, names)
        prepare = partial(self._details.prepare, views, self._series_limit())
        details = self._isolator.run(SERIES_DROPPED.spec.name, prepare) or DetailPart((), {})
        detail_parts: list[T] = []
        for family in details.families:
            if names is None or family.spec.name in names:
                render = partial(encoding.family, family, now_ms)
                detail_parts += self._isolator.run(family.spec.name, render) or []
        states = (
            *state_families(details.dropped.items, (SERIES_DROPPED,)),
            *state_families(self._rate_limits, RATE_LIMIT_METRICS),
            *state_families(self._rules, RULE_METRICS),
        )
        state_texts = self._texts(states, text_format, names)
        # Rendered last, so that a metric that failed is already counted on the page from which it is missing.
        self_metrics = self._texts(self._self_families(), text_format, names)
        beginning = encoding.text(b"".join([*pools, *state_texts, *self_metrics]))
        end = encoding.text(_EOF if text_format.is_openmetrics else b"")
        return encoding.join([beginning, *detail_parts, end])

    def _texts(self, families: Iterable[LazyFamily], text_format: TextFormat, names: _Names) -> list[bytes]:
        texts: list[bytes] = []
        for name, compute in families:
            render = partial(_family_text, compute, names, openmetrics=text_format.is_openmetrics)
            texts.append(self._isolator.run(name, render) or b"")
        return texts

    def _self_families(self) -> Iterator[LazyFamily]:
        for name, collector in self._self_metrics.collectors:
            yield name, partial(_single, collector.collect)
        for name, process in self._process_collectors:
            for family in self._isolator.run(name, process.collect) or ():
                yield family.name, partial(_identity, family)


def _family_text(compute: Callable[[], Metric], names: _Names, *, openmetrics: bool) -> bytes:
    return family_text(compute(), names, openmetrics=openmetrics)


def _single(collect: Callable[[], Iterable[Metric]]) -> Metric:
    (family,) = collect()
    return family


def _identity(family: Metric) -> Metric:
    return family


class SingleFlight(Generic[K, T]):
    """Concurrent calls with the same key share one computation. Results are not cached."""

    def __init__(self) -> None:
        self._in_flight: dict[K, Future[T]] = {}
        self._lock = Lock()

    def run(self, key: K, compute: Callable[[], T]) -> T:
        """Return the result for the key, computed by this caller or by a concurrent one.

        An exception of `compute` is raised in every caller that waits for the result.
        """
        with self._lock:
            shared = self._in_flight.get(key)
            if shared is None:
                own = self._in_flight[key] = Future[T]()
        if shared is not None:
            return shared.result()
        try:
            own.set_result(compute())
        except BaseException as error:
            own.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._in_flight[key]
        return own.result()
