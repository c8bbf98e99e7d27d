"""Counts that follow a pool's users one by one, so that publishing them costs no walk over the pool."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from heapq import merge
from itertools import chain
from types import MappingProxyType
from typing import TypeVar

from exporter.collect.records import KINDS, Kind, all_gists, count_of, gists_of
from exporter.collect.snapshot import ActivityIndex, DetailCounts
from exporter.model import DateSource, RememberedStatus

K = TypeVar("K")

COMPACTION_SHARE = 0.25
"""A sorted index is rebuilt when so much of it has changed; until then changes are kept beside it."""

COMPACTION_MIN = 128
"""Fewer changes than this are never worth a rebuild."""

RUN_LENGTH = 16_384
"""So many points in time are sorted in one call: a few milliseconds, as nothing else runs meanwhile."""


class Tally:
    """The sums over all devices of one pool; used by one thread at a time.

    Users come as the bodies of `exporter.collect.records`.
    """

    def __init__(self) -> None:
        self.users = 0
        self._dated_users = 0
        self._kinds: Counter[int] = Counter()
        self._per_user: Counter[int] = Counter()
        self._moments = {status: _Moments() for status in RememberedStatus}

    def add(self, body: bytes) -> None:
        """Count a user with these devices."""
        self._count(body, 1)

    def remove(self, body: bytes) -> None:
        """Count a user with these devices no more."""
        self._count(body, -1)

    def add_all(self, bodies: Collection[bytes]) -> None:
        """Count many users at once, as after a restart: a million devices in well under a second."""
        self.users += len(bodies)
        sizes = Counter(map(count_of, bodies))
        self._per_user += sizes
        moments: dict[int, list[int]] = {}
        for code, active_ms in all_gists(bodies):
            moments.setdefault(code, []).append(active_ms)
        for code, found in moments.items():
            self._kinds[code] += len(found)
            kind = KINDS[code]
            if kind.source is not DateSource.NONE:
                self._moments[kind.remembered].extend(found)
        if any(KINDS[code].source is DateSource.NONE for code in moments):
            self._dated_users += sum(map(_is_dated, bodies))
        else:
            self._dated_users += len(bodies) - sizes[0]

    @property
    def devices(self) -> Mapping[RememberedStatus, int]:
        """Devices by remembered status, every status present."""
        return self._by(RememberedStatus, lambda kind: kind.remembered)

    @property
    def date_sources(self) -> Mapping[DateSource, int]:
        """Devices by the source of their date, every source present."""
        return self._by(DateSource, lambda kind: kind.source)

    @property
    def detail_counts(self) -> DetailCounts:
        """How many users and devices have what the detail series show."""
        return DetailCounts(
            users=self.users,
            dated_users=self._dated_users,
            devices=self._sum(lambda _: True),
            dated_devices=self._sum(lambda kind: kind.source is not DateSource.NONE),
            created_devices=self._sum(lambda kind: kind.has_created),
            modified_devices=self._sum(lambda kind: kind.has_modified),
        )

    @property
    def devices_per_user(self) -> Mapping[int, int]:
        """How many users have exactly so many devices."""
        return MappingProxyType({size: users for size, users in self._per_user.items() if users})

    def activity(self) -> Mapping[RememberedStatus, ActivityIndex]:
        """The points of last activity by remembered status, as of now."""
        return MappingProxyType({status: moments.index() for status, moments in self._moments.items()})

    def _by(self, values: Iterable[K], of: Callable[[Kind], K]) -> Mapping[K, int]:
        sums = dict.fromkeys(values, 0)
        for code, count in self._kinds.items():
            sums[of(KINDS[code])] += count
        return MappingProxyType(sums)

    def _sum(self, wanted: Callable[[Kind], bool]) -> int:
        return sum(count for code, count in self._kinds.items() if wanted(KINDS[code]))

    def _count(self, body: bytes, step: int) -> None:
        dated = False
        for code, active_ms in gists_of(body):
            self._kinds[code] += step
            kind = KINDS[code]
            if kind.source is not DateSource.NONE:
                dated = True
                self._moments[kind.remembered].change(active_ms, step)
        self.users += step
        self._dated_users += step * dated
        self._per_user[count_of(body)] += step


def _is_dated(body: bytes) -> bool:
    return any(KINDS[code].source is not DateSource.NONE for code, _ in gists_of(body))


class _Moments:
    """A sorted multiset of points in time, and what has changed in it since it was sorted."""

    def __init__(self) -> None:
        self._base = array("q")
        self._added = _Runs()
        self._removed = _Runs()
        self._total = 0

    def change(self, moment: int, step: int) -> None:
        """Put a point in time in (1) or take it out (-1)."""
        (self._added if step > 0 else self._removed).append(moment)
        self._total += step * moment

    def extend(self, moments: list[int]) -> None:
        """Put many points in time in, sorted in one call: faster, but nothing else runs meanwhile."""
        self._base = array("q", sorted(chain(self._base, moments)))
        self._total += sum(moments)

    def index(self) -> ActivityIndex:
        """What the multiset holds now; later changes do not show in it."""
        changed = len(self._added) + len(self._removed)
        if changed > max(COMPACTION_MIN, COMPACTION_SHARE * len(self._base)):
            self._base = without(array("q", merge(self._base, self._added.merged())), self._removed.merged())
            self._added, self._removed = _Runs(), _Runs()
        return ActivityIndex(self._base, tuple(self._added.merged()), tuple(self._removed.merged()), self._total)


class _Runs:
    """Numbers that are sorted a run at a time, and merged when they are read."""

    def __init__(self) -> None:
        self._runs: list[array[int]] = []
        self._tail: list[int] = []
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, number: int) -> None:
        self._tail.append(number)
        self._length += 1
        if len(self._tail) >= RUN_LENGTH:
            self._close_tail()

    def merged(self) -> Iterable[int]:
        self._tail.sort()
        return merge(*self._runs, self._tail) if self._runs else self._tail

    def _close_tail(self) -> None:
        if self._tail:
            self._tail.sort()
            self._runs.append(array("q", self._tail))
            self._tail = []


def without(ascending: array[int], removed: Iterable[int]) -> array[int]:
    """An ascending array less the given ascending values, each of which stands in it as often as it is given."""
    kept = array("q")
    start = 0
    for value in removed:
        position = bisect_left(ascending, value, start)
        kept.extend(ascending[start:position])
        start = position + 1
    kept.extend(ascending[start:])
    return kept
