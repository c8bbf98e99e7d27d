"""Compact binary record of one user, identical in memory and in the state file.

Layout, integers in big-endian order:

    record = stamp | body
    stamp  = observed (uint32, seconds since the epoch) | sweep number (uint32)
    body   = device count (uint16) | one gist per device | rest
    gist   = kind code (uint8) | last activity (int64, milliseconds since the epoch, 0 without a date)
    rest   = MessagePack array with the key, status, dates and attributes of each device

The gists contain all that the aggregates need. The rest is present only in whole records (detail levels other than
`pool`) of users with at least one device.
"""

from __future__ import annotations

import itertools
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

import msgspec

from exporter.model import DateSource, Device, RememberedStatus

_STAMP = struct.Struct(">II")
_COUNT = struct.Struct(">H")
_GIST = struct.Struct(">Bq")

STAMP_SIZE = _STAMP.size
_GISTS_FROM = STAMP_SIZE + _COUNT.size
_OBSERVED = itemgetter(slice(0, 4))

MAX_DEVICES = 0xFFFF
"""Largest device count that fits in a record. The pagination limit is far lower."""

_REMEMBERED = {status: code for code, status in enumerate(RememberedStatus)}
_SOURCES = {source: code << 2 for code, source in enumerate(DateSource)}
_HAS_CREATED = 1 << 4
_HAS_MODIFIED = 1 << 5


@dataclass(frozen=True, slots=True)
class DeviceFlags:
    """Device properties encoded in the first byte of a gist."""

    remembered: RememberedStatus
    source: DateSource
    has_created: bool
    has_modified: bool

    @property
    def code(self) -> int:
        """The encoded byte."""
        dates = self.has_created * _HAS_CREATED | self.has_modified * _HAS_MODIFIED
        return _REMEMBERED[self.remembered] | _SOURCES[self.source] | dates


DEVICE_FLAGS = {
    kind.code: kind
    for kind in itertools.starmap(
        DeviceFlags, itertools.product(RememberedStatus, DateSource, (False, True), (False, True))
    )
}
"""All kinds by code. Any other code in a record is an error."""

_Rest = tuple[str, str, int | None, int | None, int | None, tuple[tuple[str, str], ...]]
_rest_encoder = msgspec.msgpack.Encoder()
_rest_decoder = msgspec.msgpack.Decoder(tuple[_Rest, ...])


def body_of(devices: Sequence[Device], *, whole: bool) -> bytes:
    """Encode devices as a body. With `whole`, include keys, dates and attributes, else only the gists."""
    gists = b"".join([_GIST.pack(_code(device), device.active_ms or 0) for device in devices])
    body = _COUNT.pack(len(devices)) + gists
    return body + _rest_encoder.encode([_rest(device) for device in devices]) if whole and devices else body


def devices_of(body: bytes) -> tuple[Device, ...]:
    """Decode the devices of a whole body."""
    gists = tuple(gists_of(body))
    rests = _rest_decoder.decode(memoryview(body)[_end_of_gists(body) :]) if gists else ()
    return tuple(
        Device(
            key=key,
            remembered=DEVICE_FLAGS[code].remembered,
            status=status,
            created_ms=created,
            modified_ms=modified,
            authenticated_ms=authenticated,
            attributes=attributes,
        )
        for (code, _), (key, status, created, modified, authenticated, attributes) in zip(gists, rests, strict=True)
    )


def reshaped(record: bytes, *, attributes: frozenset[str] | None) -> bytes:
    """Return a whole record reduced to the given device attributes, or to its gists if `attributes` is None."""
    body = record[STAMP_SIZE:]
    if attributes is None:
        return record[: STAMP_SIZE + _end_of_gists(body)]
    devices = [
        replace(device, attributes=tuple(pair for pair in device.attributes if pair[0] in attributes))
        for device in devices_of(body)
    ]
    return record[:STAMP_SIZE] + body_of(devices, whole=True)


def count_of(body: bytes) -> int:
    """Return the number of devices in a body."""
    count: int = _COUNT.unpack_from(body)[0]
    return count


def gists_of(body: bytes) -> Iterator[tuple[int, int]]:
    """Return the `DeviceFlags` code and last activity (milliseconds since the epoch, 0 if unknown) of each device."""
    return _GIST.iter_unpack(body[_COUNT.size : _end_of_gists(body)])


def all_gists(bodies: Iterable[bytes]) -> Iterator[tuple[int, int]]:
    """Return the gists of many bodies, much faster than calling `gists_of` for each."""
    return _GIST.iter_unpack(b"".join([body[_COUNT.size : _end_of_gists(body)] for body in bodies]))


def stamped(body: bytes, observed: int, sweep: int) -> bytes:
    """Return the record of a user, read at `observed` (seconds since the epoch) and last seen in sweep `sweep`."""
    return _STAMP.pack(observed, sweep) + body


def stamp_of(record: bytes) -> tuple[int, int]:
    """Return the time of the read (seconds since the epoch) and the number of the last sweep that saw the user."""
    observed, sweep = _STAMP.unpack_from(record)
    return observed, sweep


def verify(records: Sequence[bytes], *, whole: bool) -> None:
    """Validate records that were read from a file.

    Raises `ValueError` if a record does not have the format that this module writes.
    """
    for record in records:
        # Inlined for speed: a restart may verify millions of records.
        gists = len(record) - _GISTS_FROM - _GIST.size * int.from_bytes(record[STAMP_SIZE:_GISTS_FROM])
        if gists < 0 or (gists and not whole):
            raise ValueError("a record has a wrong length")
    bodies = [record[STAMP_SIZE:] for record in records]
    if not DEVICE_FLAGS.keys() >= {code for code, _ in all_gists(bodies)}:
        raise ValueError("a record has a device of an unknown kind")
    if whole:
        for body in bodies:
            _decoded(body)


def observations(records: Iterable[bytes]) -> dict[int, int]:
    """Count records by their time of read, in seconds since the epoch."""
    return {int.from_bytes(second): count for second, count in Counter(map(_OBSERVED, records)).items()}


def _decoded(body: bytes) -> None:
    if not count_of(body) and len(body) > _COUNT.size:
        raise ValueError("a record has a wrong length")
    try:
        devices_of(body)
    except msgspec.MsgspecError as error:
        raise ValueError(f"the devices of a record cannot be read: {error}") from error


def _end_of_gists(body: bytes) -> int:
    return _COUNT.size + count_of(body) * _GIST.size


def _code(device: Device) -> int:
    dates = (device.created_ms is not None) * _HAS_CREATED | (device.modified_ms is not None) * _HAS_MODIFIED
    return _REMEMBERED[device.remembered] | _SOURCES[device.date_source] | dates


def _rest(device: Device) -> _Rest:
    return (
        device.key,
        device.status,
        device.created_ms,
        device.modified_ms,
        device.authenticated_ms,
        device.attributes,
    )
