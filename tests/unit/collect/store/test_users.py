from __future__ import annotations

from exporter.collect.store.users import Users
from exporter.config.settings import Detail
from exporter.identity import HmacIdentity, RawIdentity
from tests.unit.collect.listed_pools import POOL_ID, device


def make_users(detail: Detail, limit: int, count: int, size: int = 1) -> Users:
    identity = HmacIdentity(b"0123456789abcdef")
    users = Users(detail, identity, lambda: limit)
    for number in range(count):
        users.put(identity.of(POOL_ID, str(number)), tuple(device(f"{number}-{i}") for i in range(size)), 1, 1)
    return users


def test_rows_below_the_limit_contain_every_user() -> None:
    rows = make_users(Detail.USER, limit=50, count=50).data().rows
    assert len(rows) == 50
    assert [row.order for row in rows] == sorted(row.order for row in rows)


def test_rows_beyond_the_limit_are_not_built() -> None:
    assert len(make_users(Detail.USER, limit=10, count=500).data().rows) == 10
    assert len(make_users(Detail.DEVICE, limit=10, count=500, size=4).data().rows) == 3


def test_rows_are_the_first_in_hash_order() -> None:
    few, many = make_users(Detail.USER, 10, 500).data().rows, make_users(Detail.USER, 500, 500).data().rows
    assert few == many[:10]


def test_detail_counts_include_users_beyond_the_limit() -> None:
    counts = make_users(Detail.DEVICE, limit=10, count=500, size=4).data().detail_counts
    assert (counts.users, counts.devices, counts.dated_devices) == (500, 2000, 2000)


def test_raised_limit_adds_rows() -> None:
    limits = [5]
    users = Users(Detail.USER, RawIdentity(), lambda: limits[0])
    for number in range(30):
        users.put(b"%d" % number, (), 1, 1)
    assert len(users.data().rows) == 5
    limits[0] = 20
    assert len(users.data().rows) == 20


def test_put_with_other_devices_replaces_the_row() -> None:
    users = make_users(Detail.DEVICE, limit=100, count=2)
    before = users.data().rows
    identity = HmacIdentity(b"0123456789abcdef").of(POOL_ID, "1")
    users.put(identity, (device("new"),), 2, 2)
    after = {row.label: row.devices for row in users.data().rows}
    assert after[identity.hex()] == (device("new"),)
    assert len(after) == len(before)


def test_load_equals_put() -> None:
    put = make_users(Detail.DEVICE, limit=100, count=20, size=3)
    loaded = Users(Detail.DEVICE, HmacIdentity(b"0123456789abcdef"), lambda: 100)
    loaded.load(put.records())
    assert loaded.data().rows == put.data().rows
    assert loaded.data().detail_counts == put.data().detail_counts
    assert loaded.oldest_observation() == put.oldest_observation() == 1
    assert len(loaded) == 20


def test_records_returns_what_put_returned() -> None:
    users = Users(Detail.DEVICE, RawIdentity(), lambda: 10)
    kept = [(name, users.put(name, (device("key"),), 100, 1)) for name in (b"ann", b"ben")]
    assert users.records() == kept


def test_mark_seen_keeps_the_time_of_the_last_read() -> None:
    users = Users(Detail.DEVICE, RawIdentity(), lambda: 10)
    users.put(b"ann", (), observed=100, sweep=1)
    users.mark_seen(b"ann", sweep=2)
    assert users.was_read(b"ann", first_sweep=2, started=100)
    assert not users.was_read(b"ann", first_sweep=2, started=101)
    assert not users.was_read(b"ann", first_sweep=3, started=100)
    assert users.unseen(2) == []
    assert users.oldest_observation() == users.newest_observation() == 100


def test_put_after_remove_has_only_new_devices() -> None:
    users = Users(Detail.DEVICE, RawIdentity(), lambda: 10)
    users.put(b"ann", (device("old"),), 1, 1)
    assert users.data().rows[0].devices == (device("old"),)
    users.remove(b"ann")
    users.put(b"ann", (device("new"),), 2, 2)
    assert users.data().rows[0].devices == (device("new"),)


def test_unchanged_rows_are_reused() -> None:
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


def test_raw_names_are_in_hash_order() -> None:
    for limit in (30, 100):
        users = Users(Detail.USER, RawIdentity(), lambda limit=limit: limit)  # type: ignore[misc] # a default of a lambda
        for number in range(50):
            users.put(b"%d" % number, (), 1, 1)
        shown = [row.label for row in users.data().rows]
        order = RawIdentity().order
        assert shown == sorted(map(str, range(50)), key=lambda name: order(name.encode()))[:limit]
        assert shown != sorted(shown)


def test_put_twice_before_the_first_snapshot() -> None:
    users = Users(Detail.DEVICE, RawIdentity(), lambda: 10)
    users.put(b"ann", (device("old"),), 1, 1)
    users.put(b"ann", (device("new"),), 2, 2)
    assert users.data().rows[0].devices == (device("new"),)
