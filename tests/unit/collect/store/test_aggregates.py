from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from exporter.collect.records import encode_devices
from exporter.collect.snapshot import ActivityIndex, DetailCounts
from exporter.collect.store.aggregates import RUN_LENGTH, PoolAggregates, without
from exporter.model import DateSource, Device, RememberedStatus

TIMES = st.integers(min_value=0, max_value=50)
DEVICES = st.builds(
    Device,
    key=st.just(""),
    remembered=st.sampled_from(RememberedStatus),
    created_ms=st.none() | TIMES,
    authenticated_ms=st.none() | TIMES,
)
USERS = st.lists(st.lists(DEVICES, max_size=3).map(tuple), max_size=12)


def sums(index: ActivityIndex, now: int) -> tuple[int, int, int | None, int | None, list[int]]:
    before = [index.count_before(time_ms) for time_ms in range(52)]
    return len(index), index.age_sum_ms(now), index.oldest_ms(), index.newest_ms(), before


def expected(ascending: list[int], now: int) -> tuple[int, int, int | None, int | None, list[int]]:
    return (
        len(ascending),
        sum(max(0, now - time_ms) for time_ms in ascending),
        min(ascending, default=None),
        max(ascending, default=None),
        [sum(known < time_ms for known in ascending) for time_ms in range(52)],
    )


@given(stay=USERS, leave=USERS, at_once=st.booleans(), now=TIMES)
def test_aggregates_after_removals_equal_sums_of_remaining_users(
    stay: list[tuple[Device, ...]], leave: list[tuple[Device, ...]], at_once: bool, now: int
) -> None:
    aggregates = PoolAggregates()
    payloads = [encode_devices(user, with_details=False) for user in leave + stay]
    if at_once:
        aggregates.add_all(payloads)
    else:
        for payload in payloads:
            aggregates.add(payload)
    for payload in payloads[: len(leave)]:
        aggregates.remove(payload)

    left = [device for user in stay for device in user]
    assert aggregates.users == len(stay)
    assert aggregates.devices == {s: sum(d.remembered is s for d in left) for s in RememberedStatus}
    assert aggregates.date_sources == {s: sum(d.date_source is s for d in left) for s in DateSource}
    assert sum(size * count for size, count in aggregates.devices_per_user.items()) == len(left)
    assert sum(aggregates.devices_per_user.values()) == len(stay)
    assert aggregates.detail_counts == DetailCounts(
        users=len(stay),
        dated_users=sum(any(d.active_ms is not None for d in user) for user in stay),
        devices=len(left),
        dated_devices=sum(d.active_ms is not None for d in left),
        created_devices=sum(d.created_ms is not None for d in left),
        modified_devices=sum(d.modified_ms is not None for d in left),
    )
    for status, index in aggregates.activity().items():
        active = [d.active_ms for d in left if d.remembered is status and d.active_ms is not None]
        assert sums(index, now) == expected(active, now)


def test_index_with_many_changes_is_compacted() -> None:
    aggregates = PoolAggregates()
    everyone = [(Device(key="", authenticated_ms=time_ms),) for time_ms in range(8000)]
    for user in everyone:
        aggregates.add(encode_devices(user, with_details=False))
    aggregates.activity()
    for user in everyone[::2]:
        aggregates.remove(encode_devices(user, with_details=False))
    index = aggregates.activity()[RememberedStatus.UNKNOWN]
    assert not index.removed
    assert list(index.base) == list(range(1, 8000, 2))


def test_published_index_is_not_changed_later() -> None:
    aggregates = PoolAggregates()
    aggregates.add(encode_devices((Device(key="", authenticated_ms=1),), with_details=False))
    index = aggregates.activity()[RememberedStatus.UNKNOWN]
    aggregates.add(encode_devices((Device(key="", authenticated_ms=2),), with_details=False))
    assert len(index) == 1


@given(st.lists(TIMES), st.lists(TIMES))
def test_without_removes_each_value_as_often_as_given(stay: list[int], leave: list[int]) -> None:
    assert list(without(array("q", sorted(stay + leave)), sorted(leave))) == sorted(stay)


@given(USERS, USERS)
def test_add_all_equals_add_one_by_one(first: list[tuple[Device, ...]], then: list[tuple[Device, ...]]) -> None:
    at_once, one_by_one = PoolAggregates(), PoolAggregates()
    for users in (first, then):
        payloads = [encode_devices(user, with_details=False) for user in users]
        at_once.add_all(payloads)
        for payload in payloads:
            one_by_one.add(payload)
    assert at_once.users == one_by_one.users
    assert at_once.devices == one_by_one.devices
    assert at_once.date_sources == one_by_one.date_sources
    assert at_once.devices_per_user == one_by_one.devices_per_user
    assert at_once.detail_counts == one_by_one.detail_counts
    assert [sums(i, 30) for i in at_once.activity().values()] == [sums(i, 30) for i in one_by_one.activity().values()]


def test_index_merges_runs_and_dates_before_1970() -> None:
    aggregates = PoolAggregates()
    payloads = [
        encode_devices((Device(key="", authenticated_ms=-time_ms),), with_details=False)
        for time_ms in range(2 * RUN_LENGTH + 3)
    ]
    for payload in payloads:
        aggregates.add(payload)
    assert list(aggregates.activity()[RememberedStatus.UNKNOWN].base) == list(range(-2 * RUN_LENGTH - 2, 1))
    for payload in payloads[::2]:
        aggregates.remove(payload)
    index = aggregates.activity()[RememberedStatus.UNKNOWN]
    assert list(index.base) == list(range(-2 * RUN_LENGTH - 1, 1, 2))
    assert (index.oldest_ms(), index.newest_ms()) == (-2 * RUN_LENGTH - 1, -1)


def test_add_all_accepts_dates_before_1970() -> None:
    aggregates = PoolAggregates()
    aggregates.add_all([encode_devices((Device(key="", authenticated_ms=-5),), with_details=False)])
    assert list(aggregates.activity()[RememberedStatus.UNKNOWN].base) == [-5]
