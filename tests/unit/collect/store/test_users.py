from __future__ import annotations

from exporter.collect.store.users import Users
from exporter.config.settings import Detail
from exporter.identity import HmacIdentity, RawIdentity
from tests.unit.collect.listed_pools import POOL_ID, device


def everyone(detail: Detail, most: int, count: int, size: int = 1) -> Users:
    identity = HmacIdentity(b"0123456789abcdef")
    users = Users(detail, identity, lambda: most)
    for number in range(count):
        users.put(identity.of(POOL_ID, str(number)), tuple(device(f"{number}-{i}") for i in range(size)), 1, 1)
    return users


def test_all_users_are_told_apart_where_the_limit_allows() -> None:
    rows = everyone(Detail.USER, most=50, count=50).data().rows
    assert len(rows) == 50
    assert [row.order for row in rows] == sorted(row.order for row in rows)


def test_only_so_many_users_are_unpacked_as_can_be_shown() -> None:
    assert len(everyone(Detail.USER, most=10, count=500).data().rows) == 11 - 1
    assert len(everyone(Detail.DEVICE, most=10, count=500, size=4).data().rows) == 3


def test_those_shown_are_the_first_in_the_order_of_hashes() -> None:
    few, all_of_them = everyone(Detail.USER, 10, 500).data().rows, everyone(Detail.USER, 500, 500).data().rows
    assert few == all_of_them[:10]


def test_the_counts_are_of_all_users_shown_or_not() -> None:
    counts = everyone(Detail.DEVICE, most=10, count=500, size=4).data().detail_counts
    assert (counts.users, counts.devices, counts.dated_devices) == (500, 2000, 2000)


def test_a_higher_limit_shows_more_at_the_next_publication() -> None:
    limits = [5]
    users = Users(Detail.USER, RawIdentity(), lambda: limits[0])
    for number in range(30):
        users.put(b"%d" % number, (), 1, 1)
    assert len(users.data().rows) == 5
    limits[0] = 20
    assert len(users.data().rows) == 20


def test_a_user_read_again_with_other_devices_has_another_row() -> None:
    users = everyone(Detail.DEVICE, most=100, count=2)
    before = users.data().rows
    identity = HmacIdentity(b"0123456789abcdef").of(POOL_ID, "1")
    users.put(identity, (device("new"),), 2, 2)
    after = {row.label: row.devices for row in users.data().rows}
    assert after[identity.hex()] == (device("new"),)
    assert len(after) == len(before)


def test_what_was_loaded_counts_like_what_was_put() -> None:
    put = everyone(Detail.DEVICE, most=100, count=20, size=3)
    loaded = Users(Detail.DEVICE, HmacIdentity(b"0123456789abcdef"), lambda: 100)
    loaded.load(list(put._records.items()))
    assert loaded.data().rows == put.data().rows
    assert loaded.data().detail_counts == put.data().detail_counts
    assert loaded.oldest_observation() == put.oldest_observation() == 1
    assert len(loaded) == 20


def test_the_records_are_those_of_all_users_as_they_were_kept() -> None:
    users = Users(Detail.DEVICE, RawIdentity(), lambda: 10)
    kept = [(name, users.put(name, (device("key"),), 100, 1)) for name in (b"ann", b"ben")]
    assert users.records() == kept


def test_a_user_who_was_met_and_not_read_keeps_the_time_of_the_last_reading() -> None:
    users = Users(Detail.DEVICE, RawIdentity(), lambda: 10)
    users.put(b"ann", (), observed=100, sweep=1)
    users.keep(b"ann", sweep=2)
    assert users.was_read(b"ann", first_sweep=2, started=100)
    assert not users.was_read(b"ann", first_sweep=2, started=101)
    assert not users.was_read(b"ann", first_sweep=3, started=100)
    assert users.unseen(2) == []
    assert users.oldest_observation() == users.newest_observation() == 100


def test_a_user_who_was_gone_comes_back_with_the_devices_of_now() -> None:
    users = Users(Detail.DEVICE, RawIdentity(), lambda: 10)
    users.put(b"ann", (device("old"),), 1, 1)
    assert users.data().rows[0].devices == (device("old"),)
    users.drop(b"ann")
    users.put(b"ann", (device("new"),), 2, 2)
    assert users.data().rows[0].devices == (device("new"),)


def test_only_rows_that_change_are_made_anew() -> None:
    users = Users(Detail.DEVICE, RawIdentity(), lambda: 10)
    for name in (b"ann", b"ben"):
        users.put(name, (device("key"),), 1, 1)
    before = {row.label: row for row in users.data().rows}
    assert {row.label: row for row in users.data().rows}["ann"] is before["ann"]
    users.put(b"cat", (), 2, 2)
    users.put(b"ben", (), 2, 2)
    after = {row.label: row for row in users.data().rows}
    assert after["ann"] is before["ann"]
    assert after["ben"].devices == ()
    assert set(after) == {"ann", "ben", "cat"}


def test_names_as_they_are_stand_in_the_order_of_their_hashes_too() -> None:
    for most in (30, 100):
        users = Users(Detail.USER, RawIdentity(), lambda most=most: most)  # type: ignore[misc] # a default of a lambda
        for number in range(50):
            users.put(b"%d" % number, (), 1, 1)
        shown = [row.label for row in users.data().rows]
        order = RawIdentity().order
        assert shown == sorted(map(str, range(50)), key=lambda name: order(name.encode()))[:most]
        assert shown != sorted(shown)


def test_a_user_may_be_read_again_before_anything_is_shown() -> None:
    users = Users(Detail.DEVICE, RawIdentity(), lambda: 10)
    users.put(b"ann", (device("old"),), 1, 1)
    users.put(b"ann", (device("new"),), 2, 2)
    assert users.data().rows[0].devices == (device("new"),)
