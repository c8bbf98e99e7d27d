"""Rendering of the user and device series, which dominate the cost of a scrape.

The series are rendered as text and cached between scrapes. Ages are computed at each scrape. All other lines are
rendered once per publication, and only for the blocks of users that differ from the previous publication.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import add
from threading import Lock
from typing import TypeAlias, TypeVar

from exporter.collect.snapshot import PoolData, PoolView, UserRow
from exporter.config.settings import Detail, PoolSettings
from exporter.metrics.detail_block import Block, label_prefixes, lines, split_into_blocks
from exporter.metrics.detail_specs import DEVICE_METRICS, USER_METRICS, shows
from exporter.metrics.detail_text import Family, Lines, Text
from exporter.metrics.failure_isolation import FailureIsolator
from exporter.metrics.series_limit import fair_shares, users_within
from exporter.metrics.spec import DetailMetric
from exporter.model import Device

T = TypeVar("T")

AnyMetric: TypeAlias = DetailMetric[UserRow] | DetailMetric[Device]


@dataclass(frozen=True, slots=True)
class Metrics:
    """Metrics of users and metrics of devices."""

    user: tuple[DetailMetric[UserRow], ...] = USER_METRICS
    device: tuple[DetailMetric[Device], ...] = DEVICE_METRICS

    def of(self, settings: PoolSettings, broken: Collection[str] = ()) -> Metrics:
        """Return the metrics that these pool settings enable, without the broken ones."""
        return Metrics(
            tuple(one for one in self.user if shows(settings, one.spec) and one.spec.name not in broken),
            tuple(one for one in self.device if shows(settings, one.spec) and one.spec.name not in broken),
        )

    def __iter__(self) -> Iterator[AnyMetric]:
        yield from self.user
        yield from self.device


@dataclass(slots=True, eq=False)
class Publication:
    """Published data of one pool, split into blocks."""

    settings: PoolSettings
    data: PoolData
    blocks: tuple[Block, ...]

    def demand(self, metrics: Metrics) -> int:
        """Return the number of series of all users of the pool, including those beyond the series limit."""
        return sum(metric.series(self.data.detail_counts) for metric in metrics)


@dataclass(frozen=True, slots=True)
class CacheKey:
    """Cache key of a `DetailPart`. Publications are compared by identity."""

    limit: int
    pools: tuple[str, ...]
    publications: tuple[Publication, ...]


@dataclass(frozen=True, slots=True)
class DetailPart:
    """User and device series of one scrape."""

    families: tuple[Family, ...]
    dropped: Mapping[str, int]
    """Number of series dropped by the series limit, by pool id, including pools with 0."""


class DetailSeries:
    """Renderer of user and device series. Thread-safe."""

    def __init__(self, guard: FailureIsolator, metrics: Metrics | None = None, *, compact: bool = False) -> None:
        """`compact`: compress lines as soon as they are rendered, because most clients request gzip."""
        self._guard = guard
        self._compact = compact
        self._metrics = metrics or Metrics()
        self._publications: dict[str, Publication] = {}
        self._kept: tuple[CacheKey, DetailPart] | None = None
        self._lock = Lock()

    def prepare(self, views: Sequence[PoolView], limit: int) -> DetailPart:
        """Return the series of these views, at most `limit` in total."""
        with self._lock:
            self._publications = {
                view.settings.id: self._publication(view.settings, view.data)
                for view in views
                if view.data is not None and view.settings.detail is not Detail.POOL
            }
            question = CacheKey(limit, tuple(view.settings.id for view in views), tuple(self._publications.values()))
            if self._kept is None or self._kept[0] != question:
                self._kept = None  # free the cached series, which may be large, before the next are rendered
                self._kept = question, self._part(question)
            return self._kept[1]

    def _publication(self, settings: PoolSettings, data: PoolData) -> Publication:
        previous = self._publications.get(settings.id)
        if previous is None or not _shown_alike(previous.settings, settings):
            return Publication(settings, data, split_into_blocks(data.rows))
        if previous.data is data:
            return previous
        if (previous.data.rows, previous.data.detail_counts) == (data.rows, data.detail_counts):
            previous.data = data  # the next call then only compares identities
            return previous
        return Publication(settings, data, split_into_blocks(data.rows, previous.blocks))

    def _count(self, publication: Publication) -> set[str]:
        """Count the series of each user in blocks not counted yet; return the names of the metrics that raised."""
        fresh = [block for block in publication.blocks if block.costs is None]
        if not fresh:
            return set()
        costs = [[0] * len(block.rows) for block in fresh]
        counted = self._run(_counting(self._metrics.of(publication.settings), fresh))
        for counts in counted.values():
            for cost, more in zip(costs, counts or (), strict=counts is not None):
                cost[:] = map(add, cost, more)
        for block, cost in zip(fresh, costs, strict=True):
            block.costs = tuple(cost)
        return _names_without(counted)

    def _part(self, question: CacheKey) -> DetailPart:
        broken: set[str] = set()
        for publication in self._publications.values():
            broken |= self._count(publication)
        demands = {
            name: publication.demand(self._metrics.of(publication.settings, broken))
            for name, publication in self._publications.items()
        }
        shares = fair_shares(demands, question.limit)
        shown: list[Block] = []
        dropped = dict.fromkeys(question.pools, 0)
        for name, publication in self._publications.items():
            blocks, kept = _within(publication.blocks, shares[name])
            dropped[name] = demands[name] - kept
            broken |= self._write(publication.settings, blocks, broken)
            shown += blocks
        if broken:
            # The next scrape starts from scratch and computes the failed metrics again.
            self._publications = {}
        families = ((metric.spec, _texts(metric.spec.name, shown)) for metric in self._metrics)
        return DetailPart(
            tuple(Family(spec, texts) for spec, texts in families if texts and spec.name not in broken), dropped
        )

    def _write(self, settings: PoolSettings, blocks: Sequence[Block], broken: set[str]) -> set[str]:
        """Render the lines of blocks not rendered yet; return the names of the metrics that raised."""
        fresh = [block for block in blocks if block.texts is None]
        if not fresh:
            return set()
        written = self._run(_writing(self._metrics.of(settings, broken), settings, fresh, compact=self._compact))
        for place, block in enumerate(fresh):
            block.texts = {
                name: text
                for name, texts in written.items()
                if texts is not None and (text := texts[place]) is not None
            }
        return _names_without(written)

    def _run(self, jobs: Mapping[str, Callable[[], list[T]]]) -> dict[str, list[T] | None]:
        return {name: self._guard.run(name, job) for name, job in jobs.items()}


def _names_without(results: Mapping[str, list[T] | None]) -> set[str]:
    return {name for name, result in results.items() if result is None}


def _shown_alike(one: PoolSettings, other: PoolSettings) -> bool:
    """Return True if two settings of a pool render the same text for the same users."""
    return (one.detail, one.device_age_series, one.device_attributes) == (
        other.detail,
        other.device_age_series,
        other.device_attributes,
    )


def _counting(metrics: Metrics, blocks: Sequence[Block]) -> dict[str, Callable[[], list[list[int]]]]:
    """Return, by metric name, a function that counts the series of each user in each block."""
    return {
        **{metric.spec.name: partial(_user_counts, metric, blocks) for metric in metrics.user},
        **{metric.spec.name: partial(_device_counts, metric, blocks) for metric in metrics.device},
    }


def _user_counts(metric: DetailMetric[UserRow], blocks: Sequence[Block]) -> list[list[int]]:
    return [[int(metric.value(row) is not None) for row in block.rows] for block in blocks]


def _device_counts(metric: DetailMetric[Device], blocks: Sequence[Block]) -> list[list[int]]:
    return [[sum(metric.value(device) is not None for device in row.devices) for row in block.rows] for block in blocks]


def _writing(
    metrics: Metrics, settings: PoolSettings, blocks: Sequence[Block], *, compact: bool
) -> dict[str, Callable[[], list[Text | None]]]:
    """Return, by metric name, a function that renders the lines of each block."""
    heads = [label_prefixes(block.rows, settings.id) for block in blocks]
    users, devices = [head.users for head in heads], [head.devices for head in heads]
    write = partial(_all_lines, settings=settings, compact=compact)
    return {
        **{metric.spec.name: partial(write, metric, users) for metric in metrics.user},
        **{metric.spec.name: partial(write, metric, devices) for metric in metrics.device},
    }


def _all_lines(
    metric: DetailMetric[T], blocks: Sequence[Sequence[tuple[str, T]]], *, settings: PoolSettings, compact: bool
) -> list[Text | None]:
    return [_made(lines(metric, things, settings), compact=compact) for things in blocks]


def _made(text: Text | None, *, compact: bool) -> Text | None:
    if compact and isinstance(text, Lines):
        text.packed()
    return text


def _within(blocks: Sequence[Block], share: int) -> tuple[list[Block], int]:
    """Return the blocks that fit within the share, and their number of series.

    The last block is cut after the last user whose series all fit.
    """
    shown: list[Block] = []
    kept = 0
    for block in blocks:
        costs = block.costs or ()
        series = sum(costs)
        if kept + series > share:
            fitting = users_within(costs, share - kept)
            kept += sum(costs[:fitting])
            return ([*shown, Block(block.rows[:fitting])] if fitting else shown), kept
        kept += series
        shown.append(block)
    return shown, kept


def _texts(name: str, blocks: Iterable[Block]) -> list[Text]:
    """Return the lines of one metric from all blocks that have any."""
    return [text for block in blocks if block.texts and (text := block.texts.get(name)) is not None]
