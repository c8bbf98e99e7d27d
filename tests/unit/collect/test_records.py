from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.collect.records import (
    DEVICE_FLAGS,
    HEADER_SIZE,
    DeviceFlags,
    decode_devices,
    device_count,
    encode_devices,
    iter_all_summaries,
    iter_summaries,
    make_record,
    parse_header,
    verify,
)
from exporter.model import DateSource, Device, RememberedStatus
from tests.unit.collect.listed_pools import device

YEAR_1, YEAR_9999 = -62_135_596_800_000, 253_402_300_799_000

TIMES = st.none() | st.integers(min_value=YEAR_1, max_value=YEAR_9999)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
DEVICES = st.builds(
    Device,
    key=TEXTS,
    remembered=st.sampled_from(RememberedStatus),
    status=TEXTS,
    created_ms=TIMES,
    modified_ms=TIMES,
    authenticated_ms=TIMES,
    attributes=st.lists(st.tuples(TEXTS, TEXTS), max_size=3).map(tuple),
)
USERS = st.lists(DEVICES, max_size=5).map(tuple)


@given(USERS)
def test_decode_devices_returns_what_was_encoded(user: tuple[Device, ...]) -> None:
    assert decode_devices(encode_devices(user, with_details=True)) == user


@given(USERS, st.booleans())
def test_summaries_are_readable_with_and_without_details(user: tuple[Device, ...], with_details: bool) -> None:
    payload = encode_devices(user, with_details=with_details)
    found = [(DEVICE_FLAGS[code], active) for code, active in iter_summaries(payload)]
    assert device_count(payload) == len(user)
    assert found == [
        (
            DeviceFlags(d.remembered, d.date_source, d.created_ms is not None, d.modified_ms is not None),
            d.active_ms or 0,
        )
        for d in user
    ]


def test_device_without_details_takes_nine_bytes() -> None:
    one, two = (len(encode_devices((device(),) * n, with_details=False)) for n in (1, 2))
    assert two - one == 9


def test_payload_without_details_has_no_personal_data() -> None:
    secret = device("key-of-ann", attributes=(("device_name", "Ann's phone"),))
    assert b"ann" not in encode_devices((secret,), with_details=False).lower()


@given(st.lists(USERS, max_size=4))
def test_iter_all_summaries_equals_iter_summaries_of_each(many: list[tuple[Device, ...]]) -> None:
    payloads = [encode_devices(user, with_details=True) for user in many]
    assert list(iter_all_summaries(payloads)) == [
        summary for payload in payloads for summary in iter_summaries(payload)
    ]


def test_parse_header_returns_what_make_record_wrote() -> None:
    record = make_record(b"payload", 1_700_000_000, 7)
    assert parse_header(record) == (1_700_000_000, 7)
    assert record[HEADER_SIZE:] == b"payload"


def test_device_flags_contain_every_combination() -> None:
    assert len(DEVICE_FLAGS) == len(RememberedStatus) * len(DateSource) * 4


@given(USERS, st.booleans())
def test_verify_accepts_encoded_records(user: tuple[Device, ...], with_details: bool) -> None:
    verify([make_record(encode_devices(user, with_details=with_details), 1, 1)], with_details=with_details)


@pytest.mark.parametrize(
    "malformed",
    [
        b"",
        b"\x00" * 9,
        make_record(b"\x00\x01\x00", 1, 1),
        make_record(b"\x00\x01" + b"\xff" * 9, 1, 1),
        make_record(b"\x00\x00x", 1, 1),
    ],
)
@pytest.mark.parametrize("with_details", [True, False])
def test_verify_malformed_record_raises(malformed: bytes, with_details: bool) -> None:
    with pytest.raises(ValueError, match="record"):
        verify([malformed], with_details=with_details)


@given(USERS.filter(bool), st.data())
def test_verify_truncated_record_raises(user: tuple[Device, ...], data: st.DataObject) -> None:
    record = make_record(encode_devices(user, with_details=True), 1, 1)
    cut = data.draw(st.integers(min_value=0, max_value=len(record) - 1))
    with pytest.raises(ValueError, match="record"):
        verify([record[:cut]], with_details=True)


@given(st.binary(max_size=60), st.booleans())
def test_verify_arbitrary_bytes_raises_only_value_error(record: bytes, with_details: bool) -> None:
    try:
        verify([record], with_details=with_details)
    except ValueError:
        return
    assert len(tuple(iter_summaries(record[HEADER_SIZE:]))) == device_count(record[HEADER_SIZE:])
