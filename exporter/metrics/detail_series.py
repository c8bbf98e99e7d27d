"""Rendering of the user and device series, which dominate the cost of a scrape.

The series are rendered as text and cached between scrapes. Ages are computed at each scrape. All other lines are
rendered once per publication, and only for the blocks of users that differ from the previous publication.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from operator import add
from threading import Lock
from typing import Any, TypeVar

from exporter.collect.snapshot import PoolData, PoolView, UserRow
from exporter.config.settings import Detail, PoolSettings
from exporter.metrics.detail_block import Block, fair_shares, split_into_blocks, take_within
from exporter.metrics.detail_specs import DETAIL_METRICS, is_enabled
from exporter.metrics.detail_text import DetailFamily, LabelPrefixes, Lines, Text, label_prefixes, render_lines
from exporter.metrics.families import FailureIsolator
from exporter.metrics.spec import DetailMetric, DocSection

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Publication:
    """Published data of one pool, split into blocks. Compared by identity."""

    settings: PoolSettings
    data: PoolData
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class CacheKey:
    """Cache key of a `DetailPart`."""

    limit: int
    pools: tuple[str, ...]
    publications: tuple[Publication, ...]


@dataclass(frozen=True, slots=True)
class DetailPart:
    """User and device series of one scrape."""

    families: tuple[DetailFamily, ...]
    dropped: Mapping[str, int]
    """Number of series dropped by the series limit, by pool id, including pools with 0."""


class DetailSeries:
    """Renderer of user and device series. Thread-safe."""

    def __init__(
        self,
        isolator: FailureIsolator,
        metrics: Sequence[DetailMetric[Any]] = DETAIL_METRICS,
        *,
        precompress: bool = False,
    ) -> None:
        """`precompress`: compress lines as soon as they are rendered, because most clients request gzip."""
        self._isolator = isolator
        self._precompress = precompress
        self._metrics = metrics
        self._publications: dict[str, Publication] = {}
        self._cached: tuple[CacheKey, DetailPart] | None = None
        self._lock = Lock()

    def prepare(self, views: Sequence[PoolView], limit: int) -> DetailPart:
        """Return the series of these views, at most `limit` in total."""
        with self._lock:
            self._publications = {
                view.settings.id: self._publication(view.settings, view.data)
                for view in views
                if view.data is not None and view.settings.detail is not Detail.POOL
            }
            key = CacheKey(limit, tuple(view.settings.id for view in views), tuple(self._publications.values()))
            if self._cached is None or self._cached[0] != key:
                self._cached = None  # free the cached series, which may be large, before the next are rendered
                self._cached = key, self._render(key)
            return self._cached[1]

    def _publication(self, settings: PoolSettings, data: PoolData) -> Publication:
        """Return the previous publication of the pool if it still applies, else one that reuses unchanged blocks."""
        previous = self._publications.get(settings.id)
        if previous is None or not _same_rendering(previous.settings, settings):
            return Publication(settings, data, split_into_blocks(data.rows))
        if previous.data is data:
            return previous
        if (previous.data.rows, previous.data.detail_counts) == (data.rows, data.detail_counts):
            previous.data = data  # the next call then only compares identities
            return previous
        return Publication(settings, data, split_into_blocks(data.rows, previous.blocks))

    def _render(self, key: CacheKey) -> DetailPart:
        failed: set[str] = set()
        for publication in key.publications:
            self._count_series(publication, failed)
        demands = {
            publication.settings.id: sum(
                metric.series_count(publication.data.detail_counts)
                for metric in self._enabled(publication.settings, failed)
            )
            for publication in key.publications
        }
        shares = fair_shares(demands, key.limit)
        dropped = dict.fromkeys(key.pools, 0)
        blocks: list[Block] = []
        for publication in key.publications:
            pool_id = publication.settings.id
            taken, series = take_within(publication.blocks, shares[pool_id])
            dropped[pool_id] = demands[pool_id] - series
            self._render_blocks(taken, publication.settings, failed)
            blocks += taken
        if failed:
            # The next scrape starts from scratch and computes the failed metrics again.
            self._publications = {}
        families: list[DetailFamily] = []
        for spec in (metric.spec for metric in self._metrics if metric.spec.name not in failed):
            texts = [text for block in blocks if block.texts and (text := block.texts.get(spec.name)) is not None]
            if texts:
                families.append(DetailFamily(spec, texts))
        return DetailPart(tuple(families), dropped)

    def _count_series(self, publication: Publication, failed: set[str]) -> None:
        """Count the series of each user in blocks not counted yet; add the names of metrics that raised to `failed`."""
        blocks = [block for block in publication.blocks if block.costs is None]
        if not blocks:
            return
        rows = [row for block in blocks for row in block.rows]
        costs = [0] * len(rows)
        for metric in self._enabled(publication.settings):
            counts = self._run(metric, partial(_series_per_user, metric, rows), failed)
            if counts is not None:
                costs = list(map(add, costs, counts))
        remaining = iter(costs)
        for block in blocks:
            block.costs = tuple(islice(remaining, len(block.rows)))

    def _render_blocks(self, blocks: Sequence[Block], settings: PoolSettings, failed: set[str]) -> None:
        """Render the lines of blocks not rendered yet; add the names of metrics that raised to `failed`."""
        blocks = [block for block in blocks if block.texts is None]
        if not blocks:
            return
        prefixes = [label_prefixes(block.rows, settings.id) for block in blocks]
        rendered: list[dict[str, Text]] = [{} for _ in blocks]
        for metric in self._enabled(settings, failed):
            texts = self._run(metric, partial(self._render_metric, metric, prefixes, settings), failed)
            for block_texts, text in zip(rendered, texts or (), strict=texts is not None):
                if text is not None:
                    block_texts[metric.spec.name] = text
        for block, block_texts in zip(blocks, rendered, strict=True):
            block.texts = block_texts

    def _render_metric(
        self, metric: DetailMetric[Any], prefixes: Sequence[LabelPrefixes], settings: PoolSettings
    ) -> list[Text | None]:
        """Return the lines of one metric for each block, given the label prefixes of each block."""
        is_user_metric = metric.spec.section is DocSection.USER
        texts: list[Text | None] = []
        for block in prefixes:
            text = render_lines(metric, block.users if is_user_metric else block.devices, settings)
            if self._precompress and isinstance(text, Lines):
                text.compressed()
            texts.append(text)
        return texts

    def _enabled(self, settings: PoolSettings, failed: Collection[str] = ()) -> list[DetailMetric[Any]]:
        return [
            metric for metric in self._metrics if is_enabled(metric.spec, settings) and metric.spec.name not in failed
        ]

    def _run(self, metric: DetailMetric[Any], compute: Callable[[], T], failed: set[str]) -> T | None:
        result = self._isolator.run(metric.spec.name, compute)
        if result is None:
            failed.add(metric.spec.name)
        return result


def _same_rendering(one: PoolSettings, other: PoolSettings) -> bool:
    """Return True if two settings of a pool render the same text for the same users."""
    return (one.detail, one.device_age_series, one.device_attributes) == (
        other.detail,
        other.device_age_series,
        other.device_attributes,
    )


def _series_per_user(metric: DetailMetric[Any], rows: Sequence[UserRow]) -> list[int]:
    if metric.spec.section is DocSection.USER:
        return [int(metric.value(row) is not None) for row in rows]
    return [sum(metric.value(device) is not None for device in row.devices) for row in rows]
