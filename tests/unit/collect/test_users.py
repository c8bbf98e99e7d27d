from __future__ import annotations

from exporter.collect.users import Users
from exporter.config.settings import Detail
from exporter.identity import HmacIdentity, RawIdentity
from tests.unit.collect.pools import POOL_ID, device


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
