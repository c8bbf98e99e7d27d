"""Immutable snapshots of a pool. They are published atomically and read without a lock."""

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
    """Sorted times of last activity. Counting devices beyond an age threshold takes one binary search per array.

    `base` holds the times as of the last compaction, `added` and `removed` the changes since then. All three are in
    ascending order, in milliseconds since the epoch.
    """

    base: array[int]
    added: Sequence[int]
    removed: Sequence[int]
    total_ms: int
    """Sum of all times."""

    def __len__(self) -> int:
        return len(self.base) + len(self.added) - len(self.removed)

    def count_before(self, time_ms: int) -> int:
        """Return the number of devices that were last active strictly before `time_ms`."""
        count = bisect_left(self.base, time_ms)
        if self.added or self.removed:
            count += bisect_left(self.added, time_ms) - bisect_left(self.removed, time_ms)
        return count

    def oldest_ms(self) -> int | None:
        """Return the earliest activity, or None if the index is empty."""
        return _first_present(merge(self.base, self.added), iter(self.removed))

    def newest_ms(self) -> int | None:
        """Return the latest activity, or None if the index is empty."""
        candidates = merge(reversed(self.base), reversed(self.added), reverse=True)
        return _first_present(candidates, reversed(self.removed))

    def age_sum_ms(self, now_ms: int) -> int:
        """Return the sum of all ages. An activity in the future counts as age 0."""
        ahead = (
            self._sum_after(self.base, now_ms)
            + self._sum_after(self.added, now_ms)
            - self._sum_after(self.removed, now_ms)
        )
        return now_ms * len(self) - self.total_ms + ahead

    @staticmethod
    def _sum_after(times: Sequence[int], now_ms: int) -> int:
        start = bisect_left(times, now_ms)
        return sum(times[start:]) - now_ms * (len(times) - start)


def _first_present(candidates: Iterable[int], removed: Iterator[int]) -> int | None:
    gone = next(removed, None)
    for candidate in candidates:
        if candidate != gone:
            return candidate
        gone = next(removed, None)
    return None


@dataclass(frozen=True, slots=True)
class DetailCounts:
    """Numbers of users and devices that have a value for each kind of detail series."""

    users: int
    dated_users: int
    """Users with at least one dated device."""
    devices: int
    dated_devices: int
    created_devices: int
    """Devices with a creation date."""
    modified_devices: int


@dataclass(frozen=True, slots=True)
class UserRow:
    """One user in the detail series: sort key, label and devices."""

    order: bytes
    """Stable hash of the user. The series limit keeps the first users in this order."""
    label: str
    devices: tuple[Device, ...]


@dataclass(frozen=True, slots=True)
class PoolData:
    """Devices of one pool at the time of publication."""

    users: int
    devices: Mapping[RememberedStatus, int]
    date_sources: Mapping[DateSource, int]
    devices_per_user: Mapping[int, int]
    """Number of users by number of devices."""
    activity: Mapping[RememberedStatus, ActivityIndex]
    """Activity index by remembered status. Every status is present; devices without a date are excluded."""
    oldest_ms: int | None
    newest_ms: int | None
    detail_counts: DetailCounts
    rows: tuple[UserRow, ...]
    """First users by `UserRow.order`, at least as many as the series limit can show. Empty at detail level `pool`."""


@dataclass(frozen=True, slots=True)
class SweepProgress:
    """Progress of the current sweep."""

    users_done: int
    users_expected: int | None
    """None while the size of the pool is unknown."""
    remaining_seconds: float | None


@dataclass(frozen=True, slots=True)
class SweepFailure:
    """Sweep that ended before it had processed every user."""

    reason: Reason
    failed_at: float
    """Wall time in seconds."""


@dataclass(frozen=True, slots=True)
class PoolView:
    """All data of one active pool. Each rendering of the metrics takes one view per pool."""

    settings: PoolSettings
    state: PoolState
    up: bool
    """False also before the first contact."""
    description: PoolDescription | None
    data: PoolData | None
    """None if no data series are exposed: no sweep has completed, device tracking is off, the pool is missing, or it
    has not responded for `max_staleness`."""
    progress: SweepProgress | None
    """None if no sweep is in progress."""
    last_sweep_seconds: float | None
    """Duration of the last finished sweep."""
    last_success: float | None
    """End of the last sweep that read every user, in seconds of wall time."""
    oldest_observation: float | None
    """Time of the least recently read user, in seconds of wall time."""
    last_failure: SweepFailure | None = None
    """Last sweep of this process that failed as a whole. Later successes do not clear it."""
    users_not_read: int = 0
    """Users that the last finished sweep could not read. They keep their last values."""


@dataclass(frozen=True, slots=True)
class RuleState:
    """Discovery status of one rule in one Region."""

    rule: str
    """Index of the rule in the configuration."""
    region: str
    pools: int
    """Number of pools swept because of this rule. Excludes pools of the `pools` section and of earlier rules."""
    up: bool
    """True if the last run was complete."""
    last_success: float | None
    """End of the last complete run, in seconds of wall time."""
    reason: Reason | None
    """Reason why the last run was incomplete; None if it was complete or has not ended yet."""
