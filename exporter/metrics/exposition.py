"""The whole page: one snapshot, one moment, in the format and coding the client asks for."""

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
from exporter.metrics.collector import Family, budget_families, dropped_family, pool_families, rule_families
from exporter.metrics.compression import IN_PIECES, Packed, compress, member, pack
from exporter.metrics.detail_series import DetailPart, DetailSeries, Metrics
from exporter.metrics.detail_text import Family as DetailFamily
from exporter.metrics.failure_isolation import Guard
from exporter.metrics.family_text import family_text
from exporter.metrics.negotiation import Format, accepts_gzip, text_format
from exporter.metrics.pool_specs import POOL_METRICS
from exporter.metrics.self_metrics import OwnMetrics
from exporter.metrics.self_specs import SERIES_DROPPED
from exporter.metrics.single_flight import SingleFlight
from exporter.metrics.spec import BudgetView, PoolMetric, RuleView

T = TypeVar("T")

_EOF = b"# EOF\n"

_Names = frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Page:
    """An answer to a scrape."""

    body: bytes
    content_type: str
    gzipped: bool


@dataclass(frozen=True, slots=True)
class _Coding(Generic[T]):
    """How the parts of a page are written, and become the page."""

    text: Callable[[bytes], T]
    family: Callable[[DetailFamily, int], list[T]]
    page: Callable[[list[T]], bytes]


_PLAIN: _Coding[bytes] = _Coding(bytes, DetailFamily.plain, b"".join)
_IN_PIECES: _Coding[Packed] = _Coding(pack, DetailFamily.packed, member)


class Exposition:
    """Renders pages; safe to call from many threads, who share a page when they ask at the same time.

    `views` is called once per page, `series_limit`, `budgets` and `rules` give the values in force now.
    """

    def __init__(  # noqa: PLR0913 - the values in force each come from another source
        self,
        views: Callable[[], Sequence[PoolView]],
        own: OwnMetrics,
        clock: Clock,
        *,
        series_limit: Callable[[], int],
        budgets: Callable[[], Sequence[BudgetView]],
        rules: Callable[[], Sequence[RuleView]] = tuple,
        edition: Callable[[], int] = int,
        pool_metrics: Sequence[PoolMetric] = POOL_METRICS,
        detail_metrics: Metrics | None = None,
        in_pieces: bool = IN_PIECES,
    ) -> None:
        """`in_pieces`: compress only what is new; otherwise every page as a whole.

        `edition` is another number whenever other pools or limits are in force: no page is shared beyond that.
        """
        self._views = views
        self._own = own
        self._clock = clock
        self._series_limit = series_limit
        self._budgets = budgets
        self._rules = rules
        self._edition = edition
        self._pool_metrics = pool_metrics
        self._guard = Guard(own.metric_failed)
        self._details = DetailSeries(self._guard, detail_metrics, compact=in_pieces)
        # Registered nowhere: prometheus_client's own global registry stays out of this program.
        nowhere = CollectorRegistry()
        self._process = (
            ("process", ProcessCollector(registry=nowhere)),
            ("python_info", PlatformCollector(registry=nowhere)),
        )
        self._in_pieces = in_pieces
        self._flights = SingleFlight[tuple[int, Format, _Names, bool], bytes]()
        self._rendering = Lock()

    def page(self, *, accept: str | None, accept_encoding: str | None, names: Sequence[str] = ()) -> Page:
        """The page for these request headers; `names`, from `?name[]=`, restrict it to some metrics."""
        started = self._clock.monotonic()
        style = text_format(accept)
        gzipped = accepts_gzip(accept_encoding)
        asked = (style, sample_names(names) if names else None, gzipped)
        body = self._flights.run((self._edition(), *asked), partial(self._body, *asked))
        self._own.scraped(self._clock.monotonic() - started)
        return Page(body, style.value, gzipped)

    def _body(self, style: Format, names: _Names, gzipped: bool) -> bytes:  # noqa: FBT001 - the parts of a key
        # One after the other: several at once are not done sooner, and each takes its page twice while it is made.
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
        live = (dropped_family(details.dropped), *budget_families(self._budgets), *rule_families(self._rules))
        live_texts = self._families(live, style, names)
        # After everything that can fail, so that a failure is counted on the page that lacks the metric.
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
            for family in self._guard.run(name, lambda process=process: tuple(process.collect())) or ():  # type: ignore[misc] # as above
                yield family.name, partial(_same, family)


def _live_text(compute: Callable[[], Metric], style: Format, names: _Names) -> bytes:
    return family_text(compute(), names, openmetrics=style.is_openmetrics)


def _only(collect: Callable[[], Iterable[Metric]]) -> Metric:
    (family,) = collect()
    return family


def _same(family: Metric) -> Metric:
    return family
