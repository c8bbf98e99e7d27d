"""What a reader sees of a pool: immutable, published whole, read without a lock."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import merge

from exporter.config.settings import PoolSettings
from exporter.errors import Reason
from exporter.model import DateSource, Device, PoolDescription, PoolState, RememberedStatus


@dataclass(frozen=True, slots=True)
class ActivityIndex:
    """Points in time of last activity, sorted, so that any age threshold is one binary search.

    `base` was sorted when the index was last compacted; `added` and `removed` are what changed since.
    All three are ascending milliseconds since the epoch.
    """

    base: array[int]
    added: Sequence[int]
    removed: Sequence[int]
    total_ms: int
    """The sum of all points in time."""

    def __len__(self) -> int:
        return len(self.base) + len(self.added) - len(self.removed)

    def count_before(self, moment_ms: int) -> int:
        """How many devices were last active strictly before the moment."""
        count = bisect_left(self.base, moment_ms)
        if self.added or self.removed:
            count += bisect_left(self.added, moment_ms) - bisect_left(self.removed, moment_ms)
        return count

    def oldest_ms(self) -> int | None:
        """The earliest activity; None without any."""
        return _first_present(merge(self.base, self.added), iter(self.removed))

    def newest_ms(self) -> int | None:
        """The latest activity; None without any."""
        candidates = merge(reversed(self.base), reversed(self.added), reverse=True)
        return _first_present(candidates, reversed(self.removed))

    def age_sum_ms(self, now_ms: int) -> int:
        """The sum of all ages, an activity in the future counting as age 0."""
        ahead = (
            self._sum_after(self.base, now_ms)
            + self._sum_after(self.added, now_ms)
            - self._sum_after(self.removed, now_ms)
        )
        return now_ms * len(self) - self.total_ms + ahead

    @staticmethod
    def _sum_after(moments: Sequence[int], now_ms: int) -> int:
        start = bisect_left(moments, now_ms)
        return sum(moments[start:]) - now_ms * (len(moments) - start)


def _first_present(candidates: Iterable[int], removed: Iterator[int]) -> int | None:
    gone = next(removed, None)
    for candidate in candidates:
        if candidate != gone:
            return candidate
        gone = next(removed, None)
    return None


@dataclass(frozen=True, slots=True)
class DetailCounts:
    """How many users and devices have what the detail series show; so many series there are of each."""

    users: int
    dated_users: int
    """Users with at least one dated device."""
    devices: int
    dated_devices: int
    created_devices: int
    """Devices with a date of creation."""
    modified_devices: int


@dataclass(frozen=True, slots=True)
class UserRow:
    """One user in the detail series: its label, its devices, and where it stands in the order of hashes."""

    order: bytes
    """A stable hash: users are kept under the series limit in this order."""
    label: str
    devices: tuple[Device, ...]


@dataclass(frozen=True, slots=True)
class PoolData:
    """The devices of one pool as of one publication."""

    users: int
    devices: Mapping[RememberedStatus, int]
    date_sources: Mapping[DateSource, int]
    devices_per_user: Mapping[int, int]
    """How many users have exactly so many devices."""
    activity: Mapping[RememberedStatus, ActivityIndex]
    """Every status is present; devices without any date are in no index."""
    oldest_ms: int | None
    newest_ms: int | None
    detail_counts: DetailCounts
    rows: tuple[UserRow, ...]
    """The first users in the order of hashes, at least as many as the series limit can show; none in detail
    pool."""


@dataclass(frozen=True, slots=True)
class SweepProgress:
    """A sweep that is under way."""

    users_done: int
    users_expected: int | None
    """None while nothing is known of the pool's size."""
    remaining_seconds: float | None


@dataclass(frozen=True, slots=True)
class SweepFailure:
    """A sweep that ended before every user was asked."""

    reason: Reason
    moment: float
    """Wall time in seconds."""


@dataclass(frozen=True, slots=True)
class PoolView:
    """Everything that is known about one configured pool; one exposition takes it once."""

    settings: PoolSettings
    state: PoolState
    up: bool
    """False before the first contact too."""
    description: PoolDescription | None
    data: PoolData | None
    """None: no data series, because the pool is unread, off, missing, or too long without an answer."""
    progress: SweepProgress | None
    """None when no sweep is under way."""
    last_sweep_seconds: float | None
    """The duration of the last finished sweep."""
    last_success: float | None
    """Wall time in seconds of the end of the last sweep that read every user."""
    oldest_observation: float | None
    """Wall time in seconds at which the user read longest ago was read."""
    last_failure: SweepFailure | None = None
    """The last sweep of this process that failed as a whole, however long ago."""
    users_not_read: int = 0
    """Users whom the last finished sweep asked for in vain; they keep their last values."""
