"""Blocks of users of one pool, whose rendered series are cached until one of the users changes."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from operator import attrgetter
from typing import TypeVar

from exporter.collect.snapshot import UserRow
from exporter.config.settings import PoolSettings
from exporter.metrics.detail_text import Lines, Text, ages
from exporter.metrics.spec import DetailMetric, ValueFormat
from exporter.metrics.text import escaped, seconds
from exporter.model import Device

T = TypeVar("T")

_order = attrgetter("order")

USERS_PER_BLOCK = 11
"""Approximate number of users per block. A change of one user rerenders its block; each block adds overhead."""


@dataclass(slots=True)
class Block:
    """Consecutive users of one pool in hash order."""

    rows: tuple[UserRow, ...]
    costs: tuple[int, ...] | None = None
    """Number of series of each user; None until counted."""
    texts: dict[str, Text] | None = None
    """Lines by metric name, without metrics that have no lines; None until rendered."""


@dataclass(frozen=True, slots=True)
class LabelPrefixes:
    """Label prefixes of the series of a block, escaped once for all metrics."""

    users: tuple[tuple[str, UserRow], ...]
    devices: tuple[tuple[str, Device], ...]


def split_into_blocks(rows: tuple[UserRow, ...], known: Sequence[Block] = ()) -> tuple[Block, ...]:
    """Split rows, sorted in hash order, into blocks. Known blocks whose users did not change are reused.

    The first users of the known blocks remain the block boundaries, so that adding or removing a user changes only
    one block. If the rows are fewer than a quarter of the known blocks' nominal capacity, all blocks are created
    from scratch.
    """
    if len(rows) < len(known) * USERS_PER_BLOCK // 4:
        return split_into_blocks(rows)
    blocks: list[Block] = []
    start = 0
    for block, following in zip_longest(known, known[1:]):
        end = start + len(block.rows)
        # Tuples compare their elements by identity first, so that comparing unchanged rows is cheap.
        if rows[start:end] == block.rows:
            blocks.append(block)
        else:
            border = len(rows) if following is None else _place(rows, following.rows[0], start)
            blocks += _fresh(rows[start:border])
            end = border
        start = end
    return (*blocks, *_fresh(rows[start:]))


def _place(rows: tuple[UserRow, ...], row: UserRow, start: int) -> int:
    return bisect_left(rows, row.order, lo=start, key=_order)


def _fresh(rows: tuple[UserRow, ...]) -> Iterator[Block]:
    """Yield new blocks: one with all rows, or blocks of USERS_PER_BLOCK if there are more than twice as many rows."""
    size = USERS_PER_BLOCK if len(rows) > USERS_PER_BLOCK * 2 else max(1, len(rows))
    for start in range(0, len(rows), size):
        yield Block(rows[start : start + size])


def label_prefixes(rows: Iterable[UserRow], pool_id: str) -> LabelPrefixes:
    """Return the label prefixes shared by all series of each user and each device."""
    pool = f'user_pool_id="{escaped(pool_id)}"'
    users = tuple((f'{pool},user="{escaped(row.label)}"', row) for row in rows)
    devices = tuple(
        (f'{head},device_key="{escaped(device.key)}"', device) for head, row in users for device in row.devices
    )
    return LabelPrefixes(users, devices)


def lines(metric: DetailMetric[T], things: Sequence[tuple[str, T]], settings: PoolSettings) -> Text | None:
    """Return the lines of one metric for users or devices, given with their label prefixes; None without series."""
    series = [
        (f"{metric.spec.name}{{{head}{_further_labels(metric, thing, settings)}}} ", value)
        for head, thing in things
        if (value := metric.value(thing)) is not None
    ]
    if not series:
        return None
    if metric.reading is ValueFormat.AGE:
        return ages(series)
    shown = seconds if metric.reading is ValueFormat.MOMENT else str
    return Lines("".join([f"{head}{shown(value)}\n" for head, value in series]).encode())


def _further_labels(metric: DetailMetric[T], thing: T, settings: PoolSettings) -> str:
    if metric.further_labels is None:
        return ""
    return "".join(
        [f',{label}="{escaped(value)}"' for label, value in metric.further_labels(thing, settings.device_attributes)]
    )
