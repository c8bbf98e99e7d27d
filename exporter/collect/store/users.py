"""Users of one pool, stored as records, with their aggregates. Not thread-safe."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from heapq import nsmallest

from exporter.collect.records import (
    HEADER_SIZE,
    count_observations,
    decode_devices,
    device_count,
    encode_devices,
    make_record,
    parse_header,
)
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
        self._aggregates = PoolAggregates()
        self._observed: Counter[int] = Counter()
        self._shown: tuple[bytes, ...] | None = None
        """First users by hash, at most `_shown_limit`; None if users were added or removed since the last snapshot."""
        self._shown_limit = 0
        self._rows: dict[bytes, UserRow] = {}

    def __len__(self) -> int:
        return len(self._records)

    def records(self) -> list[tuple[bytes, bytes]]:
        """Return all (identity, record) pairs."""
        return list(self._records.items())

    def load(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Load (identity, record) pairs into the empty set."""
        self._records = dict(records)
        self._aggregates.add_all([record[HEADER_SIZE:] for record in self._records.values()])
        self._observed = Counter(count_observations(self._records.values()))

    def put(self, identity: bytes, devices: tuple[Device, ...], observed: int, sweep: int) -> bytes:
        """Store the devices of a user, read at `observed` in sweep number `sweep`. Return the record."""
        payload = encode_devices(devices, with_details=self._detail is not Detail.POOL)
        record = make_record(payload, observed, sweep)
        known = self._records.get(identity)
        self._records[identity] = record
        self._observed[observed] += 1
        if known is None:
            self._shown = None
            self._aggregates.add(payload)
            return record
        self._unobserve(known)
        known_payload = known[HEADER_SIZE:]
        if known_payload != payload:
            self._aggregates.remove(known_payload)
            self._aggregates.add(payload)
            self._rows.pop(identity, None)
        return record

    def mark_seen(self, identity: bytes, sweep: int) -> bytes | None:
        """Mark a user as seen in a sweep without a read. Return its record, or None if the user is unknown."""
        known = self._records.get(identity)
        if known is None:
            return None
        record = make_record(known[HEADER_SIZE:], parse_header(known)[0], sweep)
        self._records[identity] = record
        return record

    def remove(self, identity: bytes) -> None:
        """Remove a user."""
        known = self._records.pop(identity, None)
        if known is None:
            return
        self._shown = None
        self._aggregates.remove(known[HEADER_SIZE:])
        self._unobserve(known)
        self._rows.pop(identity, None)

    def was_read(self, identity: bytes, first_sweep: int, started: int) -> bool:
        """Return True if the user was seen in sweep `first_sweep` or later, and read at `started` or later.

        `started` is in seconds of wall time.
        """
        known = self._records.get(identity)
        if known is None:
            return False
        observed, seen_in = parse_header(known)
        return seen_in >= first_sweep and observed >= started

    def unseen(self, sweep: int) -> list[bytes]:
        """Return all users that were not seen in the sweep."""
        return [identity for identity, record in self._records.items() if parse_header(record)[1] != sweep]

    def oldest_observation(self) -> float | None:
        """Return the time of the least recently read user, in seconds of wall time."""
        return min(self._observed, default=None)

    def newest_observation(self) -> float | None:
        """Return the time of the most recently read user, in seconds of wall time."""
        return max(self._observed, default=None)

    def data(self) -> PoolData:
        """Return an immutable snapshot."""
        activity = self._aggregates.activity()
        oldest = [ms for index in activity.values() if (ms := index.oldest_ms()) is not None]
        newest = [ms for index in activity.values() if (ms := index.newest_ms()) is not None]
        return PoolData(
            users=self._aggregates.users,
            devices=self._aggregates.devices,
            date_sources=self._aggregates.date_sources,
            devices_per_user=self._aggregates.devices_per_user,
            activity=activity,
            oldest_ms=min(oldest, default=None),
            newest_ms=max(newest, default=None),
            detail_counts=self._aggregates.detail_counts,
            rows=() if self._detail is Detail.POOL else tuple(self._shown_rows()),
        )

    def _shown_rows(self) -> Iterator[UserRow]:
        """Yield rows in the order of the identities' hashes until they have more series than the limit.

        Each user, and at detail level `device` each device, counts as one series, which is the minimum that it has.
        """
        left = self._series_limit()
        order = self._identity.order
        if self._shown is None or self._shown_limit != left:
            self._shown, self._shown_limit = tuple(nsmallest(left, self._records, key=order)), left
            self._rows = {identity: row for identity in self._shown if (row := self._rows.get(identity)) is not None}
        for identity in self._shown:
            if left < 0:
                return
            payload = self._records[identity][HEADER_SIZE:]
            row = self._rows.get(identity)
            if row is None:
                row = UserRow(order(identity), self._identity.label(identity), decode_devices(payload))
                self._rows[identity] = row
            yield row
            left -= 1 if self._detail is Detail.USER else 1 + device_count(payload)

    def _unobserve(self, record: bytes) -> None:
        observed = parse_header(record)[0]
        self._observed[observed] -= 1
        if not self._observed[observed]:
            del self._observed[observed]
