"""The series of some users of one pool as text, made once and kept while these users stay the same."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import TypeAlias, TypeVar

from exporter.collect.snapshot import UserRow
from exporter.config.settings import PoolSettings
from exporter.metrics.spec import DetailMetric, Reading
from exporter.metrics.text import FRACTIONS, escaped, seconds
from exporter.model import Device

T = TypeVar("T")

_order = attrgetter("order")

USERS_PER_BLOCK = 4
"""About how many users share a block: few, as a changed user costs all of them; not one, as joining costs too."""


@dataclass(frozen=True, slots=True)
class Ages:
    """Lines whose values are ages: a template with two places per moment, filled in at scrape time."""

    template: bytes
    moments: array[int]
    latest: int

    def at(self, now_ms: int) -> bytes:
        """The lines as of now; a moment in the future has age 0."""
        moments: Iterable[int] = self.moments
        if self.latest > now_ms:
            moments = [min(moment, now_ms) for moment in moments]
        # One flat tuple for one formatting call: measured at half the cost of formatting line by line.
        return self.template % tuple(
            [piece for moment in moments for piece in ((now_ms - moment) // 1000, FRACTIONS[(now_ms - moment) % 1000])]
        )


Text: TypeAlias = bytes | Ages


@dataclass(slots=True)
class Block:
    """Users of one pool that stand beside each other in the order of hashes."""

    rows: tuple[UserRow, ...]
    costs: tuple[int, ...] | None = None
    """The number of series of each user; None until counted."""
    texts: dict[str, Text] = field(default_factory=dict)
    """The lines by the name of the metric, as far as they are written."""


@dataclass(frozen=True, slots=True)
class Heads:
    """The labels of a block's series, escaped once for all metrics."""

    users: tuple[tuple[str, UserRow], ...]
    devices: tuple[tuple[str, Device], ...]


def block_bits(users: int, previous: int) -> int:
    """How many leading bits of the hash tell blocks apart.

    The previous number stays while blocks are of a fair size: another one would make every block anew.
    """
    if USERS_PER_BLOCK // 2 <= users >> previous <= USERS_PER_BLOCK * 4:
        return previous
    return min(24, max(0, (users // USERS_PER_BLOCK).bit_length() - 1))


def split(rows: tuple[UserRow, ...], bits: int) -> Iterator[tuple[UserRow, ...]]:
    """The rows, which are in the order of hashes, cut where the leading bits change.

    A user who comes or goes changes only the block in which it stands.
    """
    start = 0
    for prefix in range(1, 1 << bits):
        end = bisect_left(rows, (prefix << (32 - bits)).to_bytes(4), lo=start, key=_order)
        if end > start:
            yield rows[start:end]
        start = end
    if start < len(rows):
        yield rows[start:]


def heads_of(rows: Iterable[UserRow], pool_id: str) -> Heads:
    """The labels that every series of a user or a device starts with."""
    pool = f'user_pool_id="{escaped(pool_id)}"'
    users = tuple((f'{pool},user="{escaped(row.label)}"', row) for row in rows)
    devices = tuple(
        (f'{head},device_key="{escaped(device.key)}"', device) for head, row in users for device in row.devices
    )
    return Heads(users, devices)


def lines(metric: DetailMetric[T], things: Sequence[tuple[str, T]], settings: PoolSettings) -> Text:
    """The lines of one metric for the users or devices given with their labels."""
    series = [
        (f"{metric.spec.name}{{{head}{_further_labels(metric, thing, settings)}}} ", value)
        for head, thing in things
        if (value := metric.value(thing)) is not None
    ]
    if metric.reading is Reading.AGE:
        return _ages(series)
    shown = seconds if metric.reading is Reading.MOMENT else str
    return "".join([f"{head}{shown(value)}\n" for head, value in series]).encode()


def _further_labels(metric: DetailMetric[T], thing: T, settings: PoolSettings) -> str:
    if metric.further_labels is None:
        return ""
    return "".join(
        [f',{label}="{escaped(value)}"' for label, value in metric.further_labels(thing, settings.device_attributes)]
    )


def _ages(series: list[tuple[str, int]]) -> Ages:
    template = "".join([head.replace("%", "%%") + "%d%b\n" for head, _ in series]).encode()
    moments = array("q", [moment for _, moment in series])
    return Ages(template, moments, max(moments, default=0))
