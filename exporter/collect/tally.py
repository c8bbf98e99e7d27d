"""Counts that follow a pool's users one by one, so that publishing them costs no walk over the pool."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

from exporter.collect.snapshot import ActivityIndex
from exporter.model import DateSource, Device, RememberedStatus

K = TypeVar("K")

COMPACTION_SHARE = 0.25
"""A sorted index is rebuilt when so much of it has changed; until then changes are kept beside it."""

COMPACTION_MIN = 1024
"""Fewer changes than this are never worth a rebuild."""


class Tally:
    """The sums over all devices of one pool; used by one thread at a time."""

    def __init__(self) -> None:
        self.users = 0
        self._devices: Counter[RememberedStatus] = Counter()
        self._sources: Counter[DateSource] = Counter()
        self._per_user: Counter[int] = Counter()
        self._moments = {status: _Moments() for status in RememberedStatus}

    def add(self, devices: Iterable[Device]) -> None:
        """Count a user with these devices."""
        self._count(devices, 1)

    def remove(self, devices: Iterable[Device]) -> None:
        """Count a user with these devices no more."""
        self._count(devices, -1)

    @property
    def devices(self) -> Mapping[RememberedStatus, int]:
        """Devices by remembered status, every status present."""
        return MappingProxyType({status: self._devices[status] for status in RememberedStatus})

    @property
    def date_sources(self) -> Mapping[DateSource, int]:
        """Devices by the source of their date, every source present."""
        return MappingProxyType({source: self._sources[source] for source in DateSource})

    @property
    def devices_per_user(self) -> Mapping[int, int]:
        """How many users have exactly so many devices."""
        return MappingProxyType({size: users for size, users in self._per_user.items() if users})

    def activity(self) -> Mapping[RememberedStatus, ActivityIndex]:
        """The points of last activity by remembered status, as of now."""
        return MappingProxyType({status: moments.index() for status, moments in self._moments.items()})

    def _count(self, devices: Iterable[Device], step: int) -> None:
        size = 0
        for device in devices:
            size += 1
            self._devices[device.remembered] += step
            self._sources[device.date_source] += step
            active_ms = device.active_ms
            if active_ms is not None:
                self._moments[device.remembered].change(active_ms, step)
        self.users += step
        self._per_user[size] += step


class _Moments:
    """A sorted multiset of points in time, and what has changed in it since it was sorted."""

    def __init__(self) -> None:
        self._base = array("q")
        self._added: list[int] = []
        self._removed: list[int] = []
        self._total = 0

    def change(self, moment: int, step: int) -> None:
        """Put a point in time in (1) or take it out (-1)."""
        (self._added if step > 0 else self._removed).append(moment)
        self._total += step * moment

    def index(self) -> ActivityIndex:
        """What the multiset holds now; later changes do not show in it."""
        self._added.sort()
        self._removed.sort()
        changed = len(self._added) + len(self._removed)
        if changed > max(COMPACTION_MIN, COMPACTION_SHARE * len(self._base)):
            self._base = without(merged(self._base, self._added), self._removed)
            self._added, self._removed = [], []
        return ActivityIndex(self._base, tuple(self._added), tuple(self._removed), self._total)


def merged(first: Sequence[int], second: Sequence[int]) -> array[int]:
    """Two ascending sequences as one; the sort finds the two runs and merges them."""
    return array("q", sorted([*first, *second]))


def without(ascending: array[int], removed: Sequence[int]) -> array[int]:
    """An ascending array less the given values, each of which stands in it as often as it is given."""
    kept = array("q")
    start = 0
    for value in removed:
        position = bisect_left(ascending, value, start)
        kept.extend(ascending[start:position])
        start = position + 1
    kept.extend(ascending[start:])
    return kept
