from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from exporter.collect.records import body_of
from exporter.collect.snapshot import ActivityIndex, DetailCounts
from exporter.collect.store.aggregates import RUN_LENGTH, PoolAggregates, _SortedRuns, without
from exporter.model import DateSource, Device, RememberedStatus

moments = st.integers(min_value=0, max_value=50)
devices = st.builds(
    Device,
    key=st.just(""),
    remembered=st.sampled_from(RememberedStatus),
    created_ms=st.none() | moments,
    authenticated_ms=st.none() | moments,
)
users = st.lists(st.lists(devices, max_size=3).map(tuple), max_size=12)


def sums(index: ActivityIndex, now: int) -> tuple[int, int, int | None, int | None, list[int]]:
    before = [index.count_before(moment) for moment in range(52)]
    return len(index), index.age_sum_ms(now), index.oldest_ms(), index.newest_ms(), before


def expected(ascending: list[int], now: int) -> tuple[int, int, int | None, int | None, list[int]]:
    return (
        len(ascending),
        sum(max(0, now - moment) for moment in ascending),
        min(ascending, default=None),
        max(ascending, default=None),
        [sum(known < moment for known in ascending) for moment in range(52)],
    )


def compact(tally: PoolAggregates) -> None:
    """As after a publication with very many changes."""
    for of_status in tally._moments.values():
        of_status._base = array("q", of_status._added.merged())
        of_status._added = _SortedRuns()


@given(stay=users, leave=users, published_between=st.booleans(), now=moments)
def test_the_sums_are_those_of_the_users_that_are_left(
    stay: list[tuple[Device, ...]], leave: list[tuple[Device, ...]], published_between: bool, now: int
) -> None:
    tally = PoolAggregates()
    for user in leave + stay:
        tally.add(body_of(user, whole=False))
    if published_between:
        compact(tally)
    for user in leave:
        tally.remove(body_of(user, whole=False))

    left = [device for user in stay for device in user]
    assert tally.users == len(stay)
    assert tally.devices == {s: sum(d.remembered is s for d in left) for s in RememberedStatus}
    assert tally.date_sources == {s: sum(d.date_source is s for d in left) for s in DateSource}
    assert sum(size * count for size, count in tally.devices_per_user.items()) == len(left)
    assert sum(tally.devices_per_user.values()) == len(stay)
    assert tally.detail_counts == DetailCounts(
        users=len(stay),
        dated_users=sum(any(d.active_ms is not None for d in user) for user in stay),
        devices=len(left),
        dated_devices=sum(d.active_ms is not None for d in left),
        created_devices=sum(d.created_ms is not None for d in left),
        modified_devices=sum(d.modified_ms is not None for d in left),
    )
    for status, index in tally.activity().items():
        active = [d.active_ms for d in left if d.remembered is status and d.active_ms is not None]
        assert sums(index, now) == expected(active, now)


def test_an_index_is_compacted_when_a_quarter_of_it_has_changed_and_says_the_same() -> None:
    tally = PoolAggregates()
    everyone = [(Device(key="", authenticated_ms=moment),) for moment in range(8000)]
    for user in everyone:
        tally.add(body_of(user, whole=False))
    tally.activity()
    for user in everyone[::2]:
        tally.remove(body_of(user, whole=False))
    index = tally.activity()[RememberedStatus.UNKNOWN]
    assert not index.removed
    assert list(index.base) == list(range(1, 8000, 2))


def test_a_published_index_does_not_follow_later_changes() -> None:
    tally = PoolAggregates()
    tally.add(body_of((Device(key="", authenticated_ms=1),), whole=False))
    index = tally.activity()[RememberedStatus.UNKNOWN]
    tally.add(body_of((Device(key="", authenticated_ms=2),), whole=False))
    assert len(index) == 1


@given(st.lists(moments), st.lists(moments))
def test_without_takes_out_each_value_as_often_as_it_is_given(stay: list[int], leave: list[int]) -> None:
    assert list(without(array("q", sorted(stay + leave)), sorted(leave))) == sorted(stay)


@given(users, users)
def test_many_users_at_once_are_the_same_as_one_by_one(
    first: list[tuple[Device, ...]], then: list[tuple[Device, ...]]
) -> None:
    at_once, one_by_one = PoolAggregates(), PoolAggregates()
    for some in (first, then):
        bodies = [body_of(user, whole=False) for user in some]
        at_once.add_all(bodies)
        for body in bodies:
            one_by_one.add(body)
    assert at_once.users == one_by_one.users
    assert at_once.devices == one_by_one.devices
    assert at_once.date_sources == one_by_one.date_sources
    assert at_once.devices_per_user == one_by_one.devices_per_user
    assert at_once.detail_counts == one_by_one.detail_counts
    assert [sums(i, 30) for i in at_once.activity().values()] == [sums(i, 30) for i in one_by_one.activity().values()]


def test_more_changes_than_are_sorted_at_once_and_dates_before_1970_count_like_any_other() -> None:
    tally = PoolAggregates()
    bodies = [body_of((Device(key="", authenticated_ms=-moment),), whole=False) for moment in range(2 * RUN_LENGTH + 3)]
    for body in bodies:
        tally.add(body)
    assert list(tally.activity()[RememberedStatus.UNKNOWN].base) == list(range(-2 * RUN_LENGTH - 2, 1))
    for body in bodies[::2]:
        tally.remove(body)
    index = tally.activity()[RememberedStatus.UNKNOWN]
    assert list(index.base) == list(range(-2 * RUN_LENGTH - 1, 1, 2))
    assert (index.oldest_ms(), index.newest_ms()) == (-2 * RUN_LENGTH - 1, -1)


def test_many_users_at_once_may_have_dates_before_1970() -> None:
    tally = PoolAggregates()
    tally.add_all([body_of((Device(key="", authenticated_ms=-5),), whole=False)])
    assert list(tally.activity()[RememberedStatus.UNKNOWN].base) == [-5]
