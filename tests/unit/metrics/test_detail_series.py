from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_classic

from exporter.collect.snapshot import PoolView, UserRow
from exporter.config.settings import Detail
from exporter.metrics.detail_block import USERS_PER_BLOCK, Block, fair_shares, split_into_blocks, take_within
from exporter.metrics.detail_series import DetailSeries
from exporter.metrics.detail_text import age_lines
from exporter.metrics.families import FailureIsolator
from exporter.metrics.text import format_seconds
from exporter.model import RememberedStatus
from tests.unit.metrics.builders import (
    NOW_MS,
    OPENMETRICS,
    POOL,
    device,
    exposition,
    sample_lines,
    text,
    user,
    view,
)

AGE = "cognito_device_last_authentication_age_seconds"
TIMESTAMP = "cognito_device_last_authentication_timestamp_seconds"


def _page(pool_view: PoolView, accept: str | None = None) -> str:
    return text(exposition(lambda: [pool_view]), accept=accept)


def _detail_lines(page: str) -> list[str]:
    return [line for line in page.splitlines() if line.startswith(("cognito_device_", "cognito_user_"))]


def test_detail_device_renders_user_and_devices() -> None:
    pool_view = view(
        user("alice", device("k1", 1, created_ms=NOW_MS - 1500, modified_ms=NOW_MS), device("k2", None)),
    )
    pool, alice = f'user_pool_id="{POOL}"', f'user_pool_id="{POOL}",user="alice"'
    lines = [line for line in _detail_lines(_page(pool_view)) if not line.startswith("cognito_user_pool_")]
    assert lines == [
        f"cognito_user_devices{{{alice}}} 2",
        f"cognito_user_newest_device_authentication_timestamp_seconds{{{alice}}} 1699913600",
        f'{TIMESTAMP}{{{alice},device_key="k1"}} 1699913600',
        f'{AGE}{{{pool},user="alice",device_key="k1"}} 86400',
        f'cognito_device_created_timestamp_seconds{{{alice},device_key="k1"}} 1699999998.5',
        f'cognito_device_last_modified_timestamp_seconds{{{alice},device_key="k1"}} 1700000000',
        f'cognito_device_info{{{alice},device_key="k1",remembered_status="remembered",status="valid"}} 1',
        f'cognito_device_info{{{alice},device_key="k2",remembered_status="remembered",status="valid"}} 1',
    ]


@pytest.mark.parametrize(("detail", "families"), [(Detail.POOL, 0), (Detail.USER, 2), (Detail.DEVICE, 5)])
def test_detail_selects_families(detail: Detail, families: int) -> None:
    page = _page(view(user("alice", device("k1")), detail=detail))
    types = [line for line in page.splitlines() if line.startswith("# TYPE cognito_user_") and "_pool_" not in line]
    types += [line for line in page.splitlines() if line.startswith("# TYPE cognito_device_")]
    assert len(types) == families


def test_age_series_disabled_is_omitted() -> None:
    pool_view = view(user("alice", device("k1")))
    page = _page(replace(pool_view, settings=replace(pool_view.settings, device_age_series=False)))
    assert not sample_lines(page, AGE)
    assert sample_lines(page, TIMESTAMP)


def test_device_attributes_are_labels_of_info() -> None:
    pool_view = view(
        user("alice", device("k1", attributes=(("dev:device_sdk", 'a"b'),)), device("k2")),
        detail=Detail.DEVICE,
    )
    page = _page(replace(pool_view, settings=replace(pool_view.settings, device_attributes=("dev:device_sdk",))))
    assert [line.rpartition("status=")[2] for line in sample_lines(page, "cognito_device_info")] == [
        '"valid",attribute_dev_device_sdk="a\\"b"} 1',
        '"valid",attribute_dev_device_sdk=""} 1',
    ]


def test_age_of_future_timestamp_is_zero() -> None:
    pool_view = view(user("a", device("k1", 0.00000118), device("k2", None, created_ms=NOW_MS + 5000)))
    page = _page(pool_view)
    assert [line.rpartition(" ")[2] for line in sample_lines(page, AGE)] == ["0.101", "0"]
    assert [line.rpartition(" ")[2] for line in sample_lines(page, TIMESTAMP)] == ["1699999999.899", "1700000005"]


def test_family_over_pools_is_contiguous() -> None:
    views = [view(user("a", device("k")), pool_id=f"eu-west-1_{number}") for number in range(3)]
    page = text(exposition(lambda: views))
    names = [line.partition("{")[0] for line in page.splitlines() if line.startswith("cognito_device_")]
    assert names == sorted(names, key=names.index)
    assert len(sample_lines(page, TIMESTAMP)) == 3
    assert page.count(f"# TYPE {TIMESTAMP} gauge") == 1


LABELS = st.text(st.characters(exclude_categories=()), min_size=1)


@given(LABELS, LABELS, st.sampled_from([None, OPENMETRICS]))
@example('"\\\n', "%d%%\\", None)
@example("\x00\r\u2028\x85", "\ud800 naïve 日本語 🦊", OPENMETRICS)
def test_any_label_survives_official_parsers(label: str, key: str, accept: str | None) -> None:
    body = exposition(lambda: [view(user(label, device(key)))]).page(accept=accept, accept_encoding=None).body.decode()
    parse = parse_openmetrics if accept else parse_classic
    wanted = {"user_pool_id": POOL, "user": _expected_label(label), "device_key": _expected_label(key)}
    for name in (TIMESTAMP, AGE):
        (family,) = [family for family in parse(body) if family.name == name]
        assert [sample.labels for sample in family.samples] == [wanted]


def _expected_label(value: str) -> str:
    return value.encode("utf-8", "backslashreplace").decode()


def test_lone_surrogates_stay_distinct_series() -> None:
    page = _page(view(user("\ud800"), user("\ud801"), detail=Detail.USER))
    assert len(set(sample_lines(page, "cognito_user_devices"))) == 2


def test_new_publication_replaces_cached_series() -> None:
    users = [user(f"u{number}", device(f"k{number}")) for number in range(200)]
    current = [view(*users)]
    page = exposition(lambda: current)
    before = text(page)
    changed = user("u7", device("k7", 3, remembered=RememberedStatus.UNKNOWN))
    current = [view(*users[:7], changed, *users[9:], user("new", device("new")))]
    after = text(page)
    assert _detail_lines(after) == _detail_lines(text(exposition(lambda: current)))
    assert _detail_lines(before) != _detail_lines(after)


def test_changed_detail_applies_at_next_scrape() -> None:
    pool_view = view(user("alice", device("k1")))
    current = [pool_view]
    page = exposition(lambda: current)
    assert sample_lines(text(page), AGE)
    current = [replace(pool_view, settings=replace(pool_view.settings, detail=Detail.USER))]
    assert not sample_lines(text(page), AGE)


ORDERS = st.sets(st.binary(min_size=2, max_size=2), max_size=300)


def _rows(orders: set[bytes]) -> tuple[UserRow, ...]:
    return tuple(replace(user("x"), order=order) for order in sorted(orders))


@given(ORDERS, ORDERS)
def test_split_keeps_all_rows_in_order(before: set[bytes], after: set[bytes]) -> None:
    previous = split_into_blocks(_rows(before))
    blocks = split_into_blocks(_rows(after), previous)
    assert tuple(row for block in blocks for row in block.rows) == _rows(after)
    assert all(0 < len(block.rows) <= 2 * USERS_PER_BLOCK for block in blocks)
    assert len(blocks) <= max(len(previous), len(after))


def test_split_after_one_change_renews_one_block() -> None:
    rows = split_into_blocks(_rows({number.to_bytes(2) for number in range(0, 2000, 2)}))
    everyone = tuple(row for block in rows for row in block.rows)
    changed = replace(everyone[500], label="other")
    for now in (
        (*everyone[:500], changed, *everyone[501:]),
        (*everyone[:500], *everyone[501:]),
        tuple(sorted((*everyone, replace(changed, order=(801).to_bytes(2))), key=lambda row: row.order)),
        everyone[1:],
        everyone[:-1],
    ):
        assert len({id(block) for block in split_into_blocks(now, rows)} - {id(block) for block in rows}) == 1


def test_split_of_shrunk_pool_has_fewer_blocks() -> None:
    previous = split_into_blocks(_rows({number.to_bytes(2) for number in range(2000)}))
    few = _rows({number.to_bytes(2) for number in range(0, 2000, 10)})
    assert len(split_into_blocks(few, previous)) <= len(few) // USERS_PER_BLOCK + 1


def test_prepare_unchanged_returns_cached_part() -> None:
    pool_view = view(user("a", device("k")))
    details = DetailSeries(FailureIsolator(lambda _: None))
    part = details.prepare([pool_view], 100)
    assert details.prepare([pool_view], 100) is part
    assert pool_view.data is not None
    assert details.prepare([replace(pool_view, data=replace(pool_view.data))], 100) is part
    assert details.prepare([pool_view], 2).families == ()
    assert details.prepare([], 100).dropped == {}
    other = details.prepare([view(user("b", device("k")))], 100)
    assert b'user="b"' in b"".join(other.families[0].plain(NOW_MS))


TIMESTAMPS = st.integers(-(10**12), 10**12).flatmap(lambda whole: st.sampled_from([whole, whole * 1000]))


@given(st.lists(TIMESTAMPS, min_size=1), TIMESTAMPS)
def test_ages_with_any_fraction_are_exact(timestamps: list[int], now_ms: int) -> None:
    prefix = 'age{user="%d%b%%\u00ff日"} '
    rendered = age_lines([(prefix, timestamp) for timestamp in timestamps]).render(now_ms).decode()
    assert rendered == "".join(f"{prefix}{format_seconds(max(0, now_ms - timestamp))}\n" for timestamp in timestamps)


DEMANDS = st.dictionaries(st.text(), st.integers(0, 1000))


@given(DEMANDS, st.integers(0, 5000))
def test_fair_shares_are_max_min_fair(demands: dict[str, int], limit: int) -> None:
    shares = fair_shares(demands, limit)
    assert sum(shares.values()) == min(limit, sum(demands.values()))
    smallest_cut = min((share for name, share in shares.items() if share < demands[name]), default=None)
    for name, share in shares.items():
        assert share <= demands[name]
        # At most one more than the share of any cut pool, because a division may leave a remainder.
        assert smallest_cut is None or share <= smallest_cut + 1


@given(DEMANDS)
def test_fair_shares_ignore_order_of_demands(demands: dict[str, int]) -> None:
    backwards = dict(reversed(demands.items()))
    assert fair_shares(demands, 1000) == fair_shares(backwards, 1000)


@pytest.mark.parametrize(("share", "taken", "series"), [(0, [], 0), (5, [1], 3), (6, [2], 6), (10, [3, 1], 10)])
def test_take_within_takes_whole_users_in_order(share: int, taken: list[int], series: int) -> None:
    blocks = [
        Block(tuple(user(label) for label in "abc"), costs=(3, 3, 1)),
        Block((user("d"), user("e")), costs=(3, 2)),
    ]
    within, count = take_within(blocks, share)
    assert [len(block.rows) for block in within] == taken
    assert count == series


def _users_shown(page: str) -> set[str]:
    return {line.split('user="')[1].split('"')[0] for line in sample_lines(page, "cognito_user_devices")}


def _dropped(page: str) -> list[float]:
    return [float(line.rpartition(" ")[2]) for line in sample_lines(page, "cognito_exporter_series_dropped")]


def test_limit_cuts_large_pool_only() -> None:
    large = view(*(user(f"u{number}", device("k")) for number in range(100)), pool_id="eu-west-1_large")
    small = view(user("only", device("k")), pool_id="eu-west-1_small")
    plain = view(user("nobody"), pool_id="eu-west-1_plain", detail=Detail.POOL)
    page = text(exposition(lambda: [large, small, plain], limit=50))
    # A user with one dated device without further dates has 5 series.
    assert "only" in _users_shown(page)
    assert len(_users_shown(page)) == 10
    assert _dropped(page) == [500 - 45, 0, 0]


def test_shown_and_dropped_series_add_up() -> None:
    users = [user(f"u{number}", *(device(f"{number}-{key}") for key in range(number % 4))) for number in range(60)]

    def count(limit: int) -> int:
        page = text(exposition(lambda: [view(*users)], limit=limit))
        lines = [line for line in page.splitlines() if line.startswith(("cognito_device_", "cognito_user_"))]
        return len([line for line in lines if not line.startswith("cognito_user_pool_")])

    total = count(10_000)
    for limit in (0, 1, 7, 100, total - 1, total):
        page = text(exposition(lambda: [view(*users)], limit=limit))
        assert count(limit) <= limit
        assert _dropped(page) == [total - count(limit)]


def test_limit_keeps_users_when_one_is_added() -> None:
    users = [user(f"u{number}", device("k")) for number in range(100)]
    before = _users_shown(text(exposition(lambda: [view(*users)], limit=200)))
    after = _users_shown(text(exposition(lambda: [view(*users, user("new", device("k")))], limit=200)))
    assert len(before) == 40
    assert len(before - after) <= 1
