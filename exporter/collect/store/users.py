"""Users of one pool, stored as records, with their aggregates. Not thread-safe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from heapq import nsmallest

from exporter.collect.records import STAMP_SIZE, body_of, count_of, devices_of, observations, stamp_of, stamped
from exporter.collect.snapshot import PoolData, UserRow
from exporter.collect.store.aggregates import PoolAggregates
from exporter.config.settings import Detail
from exporter.identity import Identity
from exporter.model import Device


class Users:
    """Known users of a pool and the last data read of each."""

    def __init__(self, detail: Detail, identity: Identity, series_limit: Callable[[], int]) -> None:
        """Create an empty set. `series_limit` returns the series limit; no rows are built for users beyond it."""
        self._detail = detail
        self._identity = identity
        self._series_limit = series_limit
        self._records: dict[bytes, bytes] = {}
        self._tally = PoolAggregates()
        self._observed: Counter[int] = Counter()
        self._first: tuple[bytes, ...] | None = None
        self._first_of = 0
        self._rows: dict[bytes, UserRow] = {}

    def __len__(self) -> int:
        return len(self._records)

    def records(self) -> list[tuple[bytes, bytes]]:
        """Return all (identity, record) pairs."""
        return list(self._records.items())

    def load(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Load (identity, record) pairs into the empty set."""
        self._records = dict(records)
        self._tally.add_all([record[STAMP_SIZE:] for record in self._records.values()])
        self._observed = Counter(observations(self._records.values()))

    def put(self, identity: bytes, devices: tuple[Device, ...], observed: int, sweep: int) -> bytes:
        """Store the devices of a user, read at `observed` in sweep number `sweep`. Return the record."""
        body = body_of(devices, whole=self._detail is not Detail.POOL)
        record = stamped(body, observed, sweep)
        known = self._records.get(identity)
        self._records[identity] = record
        self._observed[observed] += 1
        if known is None:
            self._first = None
            self._tally.add(body)
            return record
        self._unobserve(known)
        known_body = known[STAMP_SIZE:]
        if known_body != body:
            self._tally.remove(known_body)
            self._tally.add(body)
            self._rows.pop(identity, None)
        return record

    def keep(self, identity: bytes, sweep: int) -> bytes | None:
        """Mark a user as seen in a sweep without a read. Return its record, or None if the user is unknown."""
        known = self._records.get(identity)
        if known is None:
            return None
        record = stamped(known[STAMP_SIZE:], stamp_of(known)[0], sweep)
        self._records[identity] = record
        return record

    def drop(self, identity: bytes) -> None:
        """Remove a user."""
        known = self._records.pop(identity, None)
        if known is None:
            return
        self._first = None
        self._tally.remove(known[STAMP_SIZE:])
        self._unobserve(known)
        self._rows.pop(identity, None)

    def was_read(self, identity: bytes, first_sweep: int, started: int) -> bool:
        """Return True if the user was seen in sweep `first_sweep` or later, and read at `started` or later.

        `started` is in seconds of wall time.
        """
        known = self._records.get(identity)
        if known is None:
            return False
        observed, met_in = stamp_of(known)
        return met_in >= first_sweep and observed >= started

    def unseen(self, sweep: int) -> list[bytes]:
        """Return all users that were not seen in the sweep."""
        return [identity for identity, record in self._records.items() if stamp_of(record)[1] != sweep]

    def oldest_observation(self) -> float | None:
        """Return the time of the least recently read user, in seconds of wall time."""
        return min(self._observed, default=None)

    def newest_observation(self) -> float | None:
        """Return the time of the most recently read user, in seconds of wall time."""
        return max(self._observed, default=None)

    def data(self) -> PoolData:
        """Return an immutable snapshot."""
        activity = self._tally.activity()
        oldest = [moment for index in activity.values() if (moment := index.oldest_ms()) is not None]
        newest = [moment for index in activity.values() if (moment := index.newest_ms()) is not None]
        return PoolData(
            users=self._tally.users,
            devices=self._tally.devices,
            date_sources=self._tally.date_sources,
            devices_per_user=self._tally.devices_per_user,
            activity=activity,
            oldest_ms=min(oldest, default=None),
            newest_ms=max(newest, default=None),
            detail_counts=self._tally.detail_counts,
            rows=() if self._detail is Detail.POOL else tuple(self._shown_rows()),
        )

    def _shown_rows(self) -> Iterator[UserRow]:
        """Yield rows in the order of the identities' hashes until they have more series than the limit.

        Each user, and at detail level `device` each device, counts as one series, which is the minimum that it has.
        """
        left = self._series_limit()
        if self._first is None or self._first_of != left:
            self._first, self._first_of = self._first_in_order(left), left
            self._rows = {identity: row for identity in self._first if (row := self._rows.get(identity)) is not None}
        for identity in self._first:
            if left < 0:
                return
            yield self._row(identity)
            left -= 1 if self._detail is Detail.USER else 1 + count_of(self._records[identity][STAMP_SIZE:])

    def _first_in_order(self, most: int) -> tuple[bytes, ...]:
        order = self._identity.order
        if len(self._records) <= most:
            return tuple(sorted(self._records, key=order))
        return tuple(nsmallest(most, self._records, key=order))

    def _row(self, identity: bytes) -> UserRow:
        row = self._rows.get(identity)
        if row is None:
            devices = devices_of(self._records[identity][STAMP_SIZE:])
            row = UserRow(self._identity.order(identity), self._identity.label(identity), devices)
            self._rows[identity] = row
        return row

    def _unobserve(self, record: bytes) -> None:
        observed = stamp_of(record)[0]
        self._observed[observed] -= 1
        if not self._observed[observed]:
            del self._observed[observed]
