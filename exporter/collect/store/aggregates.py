"""Incremental aggregates of a pool, updated per user, so that publishing does not iterate over all users."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from heapq import merge
from itertools import chain
from types import MappingProxyType
from typing import TypeVar

from exporter.collect.records import DEVICE_FLAGS, DeviceFlags, device_count, iter_all_summaries, iter_summaries
from exporter.collect.snapshot import ActivityIndex, DetailCounts
from exporter.model import DateSource, RememberedStatus

K = TypeVar("K")

COMPACTION_SHARE = 0.25
"""Share of changed entries above which a sorted index is rebuilt. Until then, changes are kept separately."""

COMPACTION_MIN = 128
"""Number of changes up to which an index is never rebuilt."""

RUN_LENGTH = 16_384
"""Number of values sorted in one call. This takes a few milliseconds, during which no other thread runs."""


class PoolAggregates:
    """Aggregates over all devices of one pool. Not thread-safe.

    Users are passed as bodies of `exporter.collect.records`.
    """

    def __init__(self) -> None:
        self.users = 0
        self._dated_users = 0
        self._flag_counts: Counter[int] = Counter()
        self._per_user: Counter[int] = Counter()
        self._activity = {status: _TimestampMultiset() for status in RememberedStatus}

    def add(self, payload: bytes) -> None:
        """Add a user with these devices."""
        self._count(payload, 1)

    def remove(self, payload: bytes) -> None:
        """Remove a user with these devices."""
        self._count(payload, -1)

    def add_all(self, payloads: Collection[bytes]) -> None:
        """Add many users at once, for example after a restart: a million devices in well under a second."""
        self.users += len(payloads)
        sizes = Counter(map(device_count, payloads))
        self._per_user += sizes
        by_code: dict[int, list[int]] = {}
        for code, active_ms in iter_all_summaries(payloads):
            by_code.setdefault(code, []).append(active_ms)
        for code, times in by_code.items():
            self._flag_counts[code] += len(times)
            flags = DEVICE_FLAGS[code]
            if flags.source is not DateSource.NONE:
                self._activity[flags.remembered].extend(times)
        if any(DEVICE_FLAGS[code].source is DateSource.NONE for code in by_code):
            self._dated_users += sum(map(_is_dated, payloads))
        else:
            self._dated_users += len(payloads) - sizes[0]

    @property
    def devices(self) -> Mapping[RememberedStatus, int]:
        """Number of devices by remembered status. Every status is present."""
        return self._by(RememberedStatus, lambda flags: flags.remembered)

    @property
    def date_sources(self) -> Mapping[DateSource, int]:
        """Number of devices by the source of their date. Every source is present."""
        return self._by(DateSource, lambda flags: flags.source)

    @property
    def detail_counts(self) -> DetailCounts:
        """Numbers of users and devices that have a value for each kind of detail series."""
        return DetailCounts(
            users=self.users,
            dated_users=self._dated_users,
            devices=self._sum(lambda _: True),
            dated_devices=self._sum(lambda flags: flags.source is not DateSource.NONE),
            created_devices=self._sum(lambda flags: flags.has_created),
            modified_devices=self._sum(lambda flags: flags.has_modified),
        )

    @property
    def devices_per_user(self) -> Mapping[int, int]:
        """Number of users by number of devices."""
        return MappingProxyType({size: users for size, users in self._per_user.items() if users})

    def activity(self) -> Mapping[RememberedStatus, ActivityIndex]:
        """Return the current activity index of each remembered status."""
        return MappingProxyType({status: times.index() for status, times in self._activity.items()})

    def _by(self, values: Iterable[K], of: Callable[[DeviceFlags], K]) -> Mapping[K, int]:
        sums = dict.fromkeys(values, 0)
        for code, count in self._flag_counts.items():
            sums[of(DEVICE_FLAGS[code])] += count
        return MappingProxyType(sums)

    def _sum(self, wanted: Callable[[DeviceFlags], bool]) -> int:
        return sum(count for code, count in self._flag_counts.items() if wanted(DEVICE_FLAGS[code]))

    def _count(self, payload: bytes, step: int) -> None:
        dated = False
        for code, active_ms in iter_summaries(payload):
            self._flag_counts[code] += step
            flags = DEVICE_FLAGS[code]
            if flags.source is not DateSource.NONE:
                dated = True
                self._activity[flags.remembered].change(active_ms, step)
        self.users += step
        self._dated_users += step * dated
        self._per_user[device_count(payload)] += step


def _is_dated(payload: bytes) -> bool:
    return any(DEVICE_FLAGS[code].source is not DateSource.NONE for code, _ in iter_summaries(payload))


class _TimestampMultiset:
    """Multiset of times in milliseconds, stored as a sorted array and the changes since it was sorted."""

    def __init__(self) -> None:
        self._base = array("q")
        self._added = _SortedRuns()
        self._removed = _SortedRuns()
        self._total = 0

    def change(self, time_ms: int, step: int) -> None:
        """Add a time (`step` 1) or remove it (`step` -1)."""
        (self._added if step > 0 else self._removed).append(time_ms)
        self._total += step * time_ms

    def extend(self, times: list[int]) -> None:
        """Add many times, sorted in one call. This is faster, but no other thread runs during the call."""
        self._base = array("q", sorted(chain(self._base, times)))
        self._total += sum(times)

    def index(self) -> ActivityIndex:
        """Return a snapshot of the multiset. Rebuilds the sorted array if enough has changed."""
        changed = len(self._added) + len(self._removed)
        if changed > max(COMPACTION_MIN, COMPACTION_SHARE * len(self._base)):
            self._base = without(array("q", merge(self._base, self._added.merged())), self._removed.merged())
            self._added, self._removed = _SortedRuns(), _SortedRuns()
        return ActivityIndex(self._base, tuple(self._added.merged()), tuple(self._removed.merged()), self._total)


class _SortedRuns:
    """List of numbers that is sorted in runs of `RUN_LENGTH` and merged when read."""

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
    """Return an ascending array without the ascending `removed` values.

    Each value must occur in the array at least as often as in `removed`.
    """
    kept = array("q")
    start = 0
    for value in removed:
        position = bisect_left(ascending, value, start)
        kept.extend(ascending[start:position])
        start = position + 1
    kept.extend(ascending[start:])
    return kept
