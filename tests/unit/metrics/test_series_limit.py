from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exporter.config.settings import Detail
from exporter.metrics.series_limit import fair_shares, users_within
from tests.unit.metrics.builders import device, exposition, sample_lines, text, user, view

DEMANDS = st.dictionaries(st.text(), st.integers(0, 1000))


@given(DEMANDS, st.integers(0, 5000))
def test_shares_are_max_min_fair(demands: dict[str, int], limit: int) -> None:
    shares = fair_shares(demands, limit)
    assert sum(shares.values()) == min(limit, sum(demands.values()))
    smallest_cut = min((share for name, share in shares.items() if share < demands[name]), default=None)
    for name, share in shares.items():
        assert share <= demands[name]
        # Nobody has more than one above a pool that was cut: the rest of a division is not shared out evenly.
        assert smallest_cut is None or share <= smallest_cut + 1


@given(DEMANDS)
def test_shares_do_not_depend_on_the_order_of_pools(demands: dict[str, int]) -> None:
    backwards = dict(reversed(demands.items()))
    assert fair_shares(demands, 1000) == fair_shares(backwards, 1000)


def test_users_are_whole_and_in_order() -> None:
    assert users_within([3, 3, 1], 5) == 1
    assert users_within([3, 3, 1], 6) == 2
    assert users_within([3], 2) == 0


def _users_shown(page: str) -> set[str]:
    return {line.split('user="')[1].split('"')[0] for line in sample_lines(page, "cognito_user_devices")}


def _dropped(page: str) -> list[float]:
    return [float(line.rpartition(" ")[2]) for line in sample_lines(page, "cognito_exporter_series_dropped")]


def test_a_small_pool_is_whole_beside_a_large_one() -> None:
    large = view(*(user(f"u{number}", device("k")) for number in range(100)), pool_id="eu-west-1_large")
    small = view(user("only", device("k")), pool_id="eu-west-1_small")
    plain = view(user("nobody"), pool_id="eu-west-1_plain", detail=Detail.POOL)
    page = text(exposition(lambda: [large, small, plain], limit=50))
    # A user with one dated device without further dates has 5 series.
    assert "only" in _users_shown(page)
    assert len(_users_shown(page)) == 10
    assert _dropped(page) == [500 - 45, 0, 0]


def test_shown_and_dropped_series_are_all_series() -> None:
    users = [user(f"u{number}", *(device(f"{number}-{key}") for key in range(number % 4))) for number in range(60)]

    def shown(limit: int) -> int:
        page = text(exposition(lambda: [view(*users)], limit=limit))
        lines = [line for line in page.splitlines() if line.startswith(("cognito_device_", "cognito_user_"))]
        return len([line for line in lines if not line.startswith("cognito_user_pool_")])

    everything = shown(10_000)
    for limit in (0, 1, 7, 100, everything - 1, everything):
        page = text(exposition(lambda: [view(*users)], limit=limit))
        assert shown(limit) <= limit
        assert _dropped(page) == [everything - shown(limit)]


def test_the_users_kept_stay_the_same_when_another_one_comes() -> None:
    users = [user(f"u{number}", device("k")) for number in range(100)]
    before = _users_shown(text(exposition(lambda: [view(*users)], limit=200)))
    after = _users_shown(text(exposition(lambda: [view(*users, user("new", device("k")))], limit=200)))
    assert len(before) == 40
    assert len(before - after) <= 1
