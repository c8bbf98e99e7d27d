"""Compact binary record of one user, identical in memory and in the state file.

Integers are in big-endian order. Times are since the Unix epoch.

    record
    ├── header                          8 bytes
    │   ├── observed                    uint32   time of the read, in seconds
    │   └── sweep                       uint32   number of the last sweep that saw the user
    └── payload
        ├── device count                uint16
        ├── summary of each device      9 bytes per device
        │   ├── flags                   uint8    code of a `DeviceFlags`
        │   └── last activity           int64    in milliseconds, 0 if the device has no date
        └── details                     MessagePack array with the key, status, dates and attributes of each device

The summaries contain all that the aggregates need. The details are present only at detail levels other than `pool`,
and only if the user has a device.
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

_HEADER = struct.Struct(">II")
_COUNT = struct.Struct(">H")  # pagination limits a user to far fewer devices
_SUMMARY = struct.Struct(">Bq")

HEADER_SIZE = _HEADER.size
_SUMMARIES_START = HEADER_SIZE + _COUNT.size
_OBSERVED = itemgetter(slice(0, 4))

_REMEMBERED = {status: code for code, status in enumerate(RememberedStatus)}
_SOURCES = {source: code << 2 for code, source in enumerate(DateSource)}
_HAS_CREATED = 1 << 4
_HAS_MODIFIED = 1 << 5


@dataclass(frozen=True, slots=True)
class DeviceFlags:
    """Device properties encoded in the first byte of a summary."""

    remembered: RememberedStatus
    source: DateSource
    has_created: bool
    has_modified: bool


def _flags_code(remembered: RememberedStatus, source: DateSource, *, has_created: bool, has_modified: bool) -> int:
    return _REMEMBERED[remembered] | _SOURCES[source] | has_created * _HAS_CREATED | has_modified * _HAS_MODIFIED


DEVICE_FLAGS = {
    _flags_code(remembered, source, has_created=created, has_modified=modified): DeviceFlags(
        remembered, source, created, modified
    )
    for remembered, source, created, modified in itertools.product(
        RememberedStatus, DateSource, (False, True), (False, True)
    )
}
"""All flags by code. Any other code in a record is an error."""

_Details = tuple[str, str, int | None, int | None, int | None, tuple[tuple[str, str], ...]]
"""Key, status, creation, modification and authentication in milliseconds, and attributes of a device."""

_details_encoder = msgspec.msgpack.Encoder()
_details_decoder = msgspec.msgpack.Decoder(tuple[_Details, ...])


def encode_devices(devices: Sequence[Device], *, with_details: bool) -> bytes:
    """Encode devices as a payload, with or without details."""
    summaries = [
        _SUMMARY.pack(
            _flags_code(
                device.remembered,
                device.date_source,
                has_created=device.created_ms is not None,
                has_modified=device.modified_ms is not None,
            ),
            device.active_ms or 0,
        )
        for device in devices
    ]
    payload = _COUNT.pack(len(devices)) + b"".join(summaries)
    if not with_details or not devices:
        return payload
    return payload + _details_encoder.encode(
        [(d.key, d.status, d.created_ms, d.modified_ms, d.authenticated_ms, d.attributes) for d in devices]
    )


def decode_devices(payload: bytes) -> tuple[Device, ...]:
    """Decode the devices of a payload with details."""
    summaries = tuple(iter_summaries(payload))
    details = _details_decoder.decode(memoryview(payload)[_details_start(payload) :]) if summaries else ()
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
        for (code, _), (key, status, created, modified, authenticated, attributes) in zip(
            summaries, details, strict=True
        )
    )


def reduce_details(record: bytes, *, attributes: frozenset[str] | None) -> bytes:
    """Return a record with only the given device attributes, or without details if `attributes` is None."""
    payload = record[HEADER_SIZE:]
    if attributes is None:
        return record[: HEADER_SIZE + _details_start(payload)]
    devices = [
        replace(device, attributes=tuple(pair for pair in device.attributes if pair[0] in attributes))
        for device in decode_devices(payload)
    ]
    return record[:HEADER_SIZE] + encode_devices(devices, with_details=True)


def device_count(payload: bytes) -> int:
    """Return the number of devices in a payload."""
    count: int = _COUNT.unpack_from(payload)[0]
    return count


def iter_summaries(payload: bytes) -> Iterator[tuple[int, int]]:
    """Return the `DeviceFlags` code and last activity (milliseconds since the epoch, 0 if unknown) of each device."""
    return _SUMMARY.iter_unpack(payload[_COUNT.size : _details_start(payload)])


def iter_all_summaries(payloads: Iterable[bytes]) -> Iterator[tuple[int, int]]:
    """Return the summaries of many payloads, much faster than calling `iter_summaries` for each."""
    return _SUMMARY.iter_unpack(b"".join([payload[_COUNT.size : _details_start(payload)] for payload in payloads]))


def make_record(payload: bytes, observed: int, sweep: int) -> bytes:
    """Return the record of a user, read at `observed` (seconds since the epoch) and last seen in sweep `sweep`."""
    return _HEADER.pack(observed, sweep) + payload


def parse_header(record: bytes) -> tuple[int, int]:
    """Return the time of the read (seconds since the epoch) and the number of the last sweep that saw the user."""
    observed, sweep = _HEADER.unpack_from(record)
    return observed, sweep


def verify(records: Sequence[bytes], *, with_details: bool) -> None:
    """Validate records that were read from a file.

    Raises `ValueError` if a record does not have the format that this module writes.
    """
    for record in records:
        # Inlined for speed: a restart may verify millions of records.
        excess = len(record) - _SUMMARIES_START - _SUMMARY.size * int.from_bytes(record[HEADER_SIZE:_SUMMARIES_START])
        if excess < 0 or (excess and not with_details):
            raise ValueError("record has the wrong length")
    payloads = [record[HEADER_SIZE:] for record in records]
    if not DEVICE_FLAGS.keys() >= {code for code, _ in iter_all_summaries(payloads)}:
        raise ValueError("record has unknown device flags")
    if with_details:
        for payload in payloads:
            _verify_details(payload)


def count_observations(records: Iterable[bytes]) -> dict[int, int]:
    """Count records by their time of read, in seconds since the epoch."""
    return {int.from_bytes(second): count for second, count in Counter(map(_OBSERVED, records)).items()}


def _verify_details(payload: bytes) -> None:
    if not device_count(payload) and len(payload) > _COUNT.size:
        raise ValueError("record has the wrong length")
    try:
        decode_devices(payload)
    except msgspec.MsgspecError as error:
        raise ValueError(f"record has invalid device details: {error}") from error


def _details_start(payload: bytes) -> int:
    return _COUNT.size + device_count(payload) * _SUMMARY.size
