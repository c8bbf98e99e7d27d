from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from exporter.collect.snapshot import ActivityIndex
from exporter.collect.tally import Tally, merged, without
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


@given(stay=users, leave=users, published_between=st.booleans(), now=moments)
def test_the_sums_are_those_of_the_users_that_are_left(
    stay: list[tuple[Device, ...]], leave: list[tuple[Device, ...]], published_between: bool, now: int
) -> None:
    tally = Tally()
    for user in leave + stay:
        tally.add(user)
    if published_between:
        for moments_of_status in tally._moments.values():
            moments_of_status._base = array("q", sorted(moments_of_status._added))
            moments_of_status._added = []
    for user in leave:
        tally.remove(user)

    left = [device for user in stay for device in user]
    assert tally.users == len(stay)
    assert tally.devices == {s: sum(d.remembered is s for d in left) for s in RememberedStatus}
    assert tally.date_sources == {s: sum(d.date_source is s for d in left) for s in DateSource}
    assert sum(size * count for size, count in tally.devices_per_user.items()) == len(left)
    assert sum(tally.devices_per_user.values()) == len(stay)
    for status, index in tally.activity().items():
        active = [d.active_ms for d in left if d.remembered is status and d.active_ms is not None]
        assert sums(index, now) == expected(active, now)


def test_an_index_is_compacted_when_a_quarter_of_it_has_changed_and_says_the_same() -> None:
    tally = Tally()
    everyone = [(Device(key="", authenticated_ms=moment),) for moment in range(8000)]
    for user in everyone:
        tally.add(user)
    tally.activity()
    for user in everyone[::2]:
        tally.remove(user)
    index = tally.activity()[RememberedStatus.UNKNOWN]
    assert not index.removed
    assert list(index.base) == list(range(1, 8000, 2))


def test_a_published_index_does_not_follow_later_changes() -> None:
    tally = Tally()
    tally.add((Device(key="", authenticated_ms=1),))
    index = tally.activity()[RememberedStatus.UNKNOWN]
    tally.add((Device(key="", authenticated_ms=2),))
    assert len(index) == 1


@given(st.lists(moments), st.lists(moments))
def test_merged_and_without_undo_each_other(first: list[int], second: list[int]) -> None:
    both = merged(sorted(first), sorted(second))
    assert list(both) == sorted(first + second)
    assert list(without(both, sorted(second))) == sorted(first)
