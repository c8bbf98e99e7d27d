from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.collect.records import (
    DEVICE_FLAGS,
    STAMP_SIZE,
    DeviceFlags,
    all_gists,
    body_of,
    count_of,
    devices_of,
    gists_of,
    stamp_of,
    stamped,
    verify,
)
from exporter.model import DateSource, Device, RememberedStatus
from tests.unit.collect.listed_pools import device

YEAR_1, YEAR_9999 = -62_135_596_800_000, 253_402_300_799_000

moments = st.none() | st.integers(min_value=YEAR_1, max_value=YEAR_9999)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
devices = st.builds(
    Device,
    key=texts,
    remembered=st.sampled_from(RememberedStatus),
    status=texts,
    created_ms=moments,
    modified_ms=moments,
    authenticated_ms=moments,
    attributes=st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
)
users = st.lists(devices, max_size=5).map(tuple)


@given(users)
def test_what_is_kept_whole_comes_back_whole(user: tuple[Device, ...]) -> None:
    assert devices_of(body_of(user, whole=True)) == user


@given(users, st.booleans())
def test_sums_find_what_they_need_in_either_body(user: tuple[Device, ...], whole: bool) -> None:
    body = body_of(user, whole=whole)
    found = [(DEVICE_FLAGS[code], active) for code, active in gists_of(body)]
    assert count_of(body) == len(user)
    assert found == [
        (
            DeviceFlags(d.remembered, d.date_source, d.created_ms is not None, d.modified_ms is not None),
            d.active_ms or 0,
        )
        for d in user
    ]


def test_a_device_without_detail_costs_nine_bytes() -> None:
    one, two = (len(body_of((device(),) * n, whole=False)) for n in (1, 2))
    assert two - one == 9


def test_without_detail_nothing_personal_is_kept() -> None:
    secret = device("key-of-ann", attributes=(("device_name", "Ann's phone"),))
    assert b"ann" not in body_of((secret,), whole=False).lower()


@given(st.lists(users, max_size=4))
def test_many_bodies_at_once_give_the_same_gists(some: list[tuple[Device, ...]]) -> None:
    bodies = [body_of(user, whole=True) for user in some]
    assert list(all_gists(bodies)) == [gist for body in bodies for gist in gists_of(body)]


def test_the_stamp_comes_back() -> None:
    record = stamped(b"body", 1_700_000_000, 7)
    assert stamp_of(record) == (1_700_000_000, 7)
    assert record[STAMP_SIZE:] == b"body"


def test_there_is_a_kind_for_every_device_there_can_be() -> None:
    assert len(DEVICE_FLAGS) == len(RememberedStatus) * len(DateSource) * 4


@given(users, st.booleans())
def test_what_this_module_writes_is_sound(user: tuple[Device, ...], whole: bool) -> None:
    verify([stamped(body_of(user, whole=whole), 1, 1)], whole=whole)


@pytest.mark.parametrize(
    "spoiled",
    [
        b"",
        b"\x00" * 9,
        stamped(b"\x00\x01\x00", 1, 1),
        stamped(b"\x00\x01" + b"\xff" * 9, 1, 1),
        stamped(b"\x00\x00x", 1, 1),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_what_it_does_not_write_is_refused(spoiled: bytes, whole: bool) -> None:
    with pytest.raises(ValueError, match="record"):
        verify([spoiled], whole=whole)


@given(users.filter(bool), st.data())
def test_a_whole_record_that_is_cut_off_is_refused(user: tuple[Device, ...], data: st.DataObject) -> None:
    record = stamped(body_of(user, whole=True), 1, 1)
    cut = data.draw(st.integers(min_value=0, max_value=len(record) - 1))
    with pytest.raises(ValueError, match="record"):
        verify([record[:cut]], whole=True)


@given(st.binary(max_size=60), st.booleans())
def test_any_bytes_are_either_sound_or_refused(record: bytes, whole: bool) -> None:
    try:
        verify([record], whole=whole)
    except ValueError:
        return
    assert len(tuple(gists_of(record[STAMP_SIZE:]))) == count_of(record[STAMP_SIZE:])
