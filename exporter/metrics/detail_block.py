"""The series of some users of one pool as text, made once and kept while these users stay the same."""

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
from exporter.metrics.spec import DetailMetric, Reading
from exporter.metrics.text import escaped, seconds
from exporter.model import Device

T = TypeVar("T")

_order = attrgetter("order")

USERS_PER_BLOCK = 11
"""About how many users share a block: few, as a changed user costs all of them; not one, as each block costs too."""


@dataclass(slots=True)
class Block:
    """Users of one pool that stand beside each other in the order of hashes."""

    rows: tuple[UserRow, ...]
    costs: tuple[int, ...] | None = None
    """The number of series of each user; None until counted."""
    texts: dict[str, Text] | None = None
    """The lines by the name of the metric, of those that have any; None until written."""


@dataclass(frozen=True, slots=True)
class Heads:
    """The labels of a block's series, escaped once for all metrics."""

    users: tuple[tuple[str, UserRow], ...]
    devices: tuple[tuple[str, Device], ...]


def cut(rows: tuple[UserRow, ...], known: Sequence[Block] = ()) -> tuple[Block, ...]:
    """The rows, which are in the order of hashes, as blocks: where nothing changed, the known ones.

    The first users of the known blocks stay the borders, so that a user who comes or goes changes only the block in
    which it stands. When the blocks have become too small for that, all are made anew.
    """
    if len(rows) < len(known) * USERS_PER_BLOCK // 4:
        return cut(rows)
    blocks: list[Block] = []
    start = 0
    for block, following in zip_longest(known, known[1:]):
        end = start + len(block.rows)
        # Comparing rows starts with their identity, so that what did not change costs next to nothing.
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
    """The rows as one block, or as several when they are many."""
    size = USERS_PER_BLOCK if len(rows) > USERS_PER_BLOCK * 2 else max(1, len(rows))
    for start in range(0, len(rows), size):
        yield Block(rows[start : start + size])


def heads_of(rows: Iterable[UserRow], pool_id: str) -> Heads:
    """The labels that every series of a user or a device starts with."""
    pool = f'user_pool_id="{escaped(pool_id)}"'
    users = tuple((f'{pool},user="{escaped(row.label)}"', row) for row in rows)
    devices = tuple(
        (f'{head},device_key="{escaped(device.key)}"', device) for head, row in users for device in row.devices
    )
    return Heads(users, devices)


def lines(metric: DetailMetric[T], things: Sequence[tuple[str, T]], settings: PoolSettings) -> Text | None:
    """The lines of one metric for the users or devices given with their labels; None when there are none."""
    series = [
        (f"{metric.spec.name}{{{head}{_further_labels(metric, thing, settings)}}} ", value)
        for head, thing in things
        if (value := metric.value(thing)) is not None
    ]
    if not series:
        return None
    if metric.reading is Reading.AGE:
        return ages(series)
    shown = seconds if metric.reading is Reading.MOMENT else str
    return Lines("".join([f"{head}{shown(value)}\n" for head, value in series]).encode())


def _further_labels(metric: DetailMetric[T], thing: T, settings: PoolSettings) -> str:
    if metric.further_labels is None:
        return ""
    return "".join(
        [f',{label}="{escaped(value)}"' for label, value in metric.further_labels(thing, settings.device_attributes)]
    )
