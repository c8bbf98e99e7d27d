from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_classic

from exporter.collect.snapshot import PoolView, UserRow
from exporter.config.settings import Detail
from exporter.metrics.detail_block import USERS_PER_BLOCK, split_into_blocks
from exporter.metrics.detail_series import DetailSeries
from exporter.metrics.detail_text import ages
from exporter.metrics.failure_isolation import FailureIsolator
from exporter.metrics.text import seconds
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
MOMENT = "cognito_device_last_authentication_timestamp_seconds"


def _page(known: PoolView, accept: str | None = None) -> str:
    return text(exposition(lambda: [known]), accept=accept)


def _detail_lines(page: str) -> list[str]:
    return [line for line in page.splitlines() if line.startswith(("cognito_device_", "cognito_user_"))]


def test_device_detail_shows_the_user_and_each_device() -> None:
    known = view(
        user("alice", device("k1", 1, created_ms=NOW_MS - 1500, modified_ms=NOW_MS), device("k2", None)),
    )
    pool, alice = f'user_pool_id="{POOL}"', f'user_pool_id="{POOL}",user="alice"'
    shown = [line for line in _detail_lines(_page(known)) if not line.startswith("cognito_user_pool_")]
    assert shown == [
        f"cognito_user_devices{{{alice}}} 2",
        f"cognito_user_newest_device_authentication_timestamp_seconds{{{alice}}} 1699913600",
        f'{MOMENT}{{{alice},device_key="k1"}} 1699913600',
        f'{AGE}{{{pool},user="alice",device_key="k1"}} 86400',
        f'cognito_device_created_timestamp_seconds{{{alice},device_key="k1"}} 1699999998.5',
        f'cognito_device_last_modified_timestamp_seconds{{{alice},device_key="k1"}} 1700000000',
        f'cognito_device_info{{{alice},device_key="k1",remembered_status="remembered",status="valid"}} 1',
        f'cognito_device_info{{{alice},device_key="k2",remembered_status="remembered",status="valid"}} 1',
    ]


@pytest.mark.parametrize(("detail", "families"), [(Detail.POOL, 0), (Detail.USER, 2), (Detail.DEVICE, 5)])
def test_detail_decides_the_finest_series(detail: Detail, families: int) -> None:
    page = _page(view(user("alice", device("k1")), detail=detail))
    heads = [line for line in page.splitlines() if line.startswith("# TYPE cognito_user_") and "_pool_" not in line]
    heads += [line for line in page.splitlines() if line.startswith("# TYPE cognito_device_")]
    assert len(heads) == families


def test_the_age_series_can_be_left_out() -> None:
    known = view(user("alice", device("k1")))
    page = _page(replace(known, settings=replace(known.settings, device_age_series=False)))
    assert not sample_lines(page, AGE)
    assert sample_lines(page, MOMENT)


def test_configured_attributes_are_labels_of_every_info_series_of_the_pool() -> None:
    known = view(
        user("alice", device("k1", attributes=(("dev:device_sdk", 'a"b'),)), device("k2")),
        detail=Detail.DEVICE,
    )
    page = _page(replace(known, settings=replace(known.settings, device_attributes=("dev:device_sdk",))))
    assert [line.rpartition("status=")[2] for line in sample_lines(page, "cognito_device_info")] == [
        '"valid",attribute_dev_device_sdk="a\\"b"} 1',
        '"valid",attribute_dev_device_sdk=""} 1',
    ]


def test_the_age_is_now_minus_the_timestamp_and_never_negative() -> None:
    known = view(user("a", device("k1", 0.00000118), device("k2", None, created_ms=NOW_MS + 5000)))
    page = _page(known)
    assert [line.rpartition(" ")[2] for line in sample_lines(page, AGE)] == ["0.101", "0"]
    assert [line.rpartition(" ")[2] for line in sample_lines(page, MOMENT)] == ["1699999999.899", "1700000005"]


@given(st.integers(-(10**13), 10**13))
def test_seconds_are_exact(millis: int) -> None:
    assert float(seconds(millis)) == millis / 1000


def test_series_of_a_family_are_contiguous_over_pools() -> None:
    views = [view(user("a", device("k")), pool_id=f"eu-west-1_{number}") for number in range(3)]
    page = text(exposition(lambda: views))
    names = [line.partition("{")[0] for line in page.splitlines() if line.startswith("cognito_device_")]
    assert names == sorted(names, key=names.index)
    assert len(sample_lines(page, MOMENT)) == 3
    assert page.count(f"# TYPE {MOMENT} gauge") == 1


LABELS = st.text(st.characters(exclude_categories=()), min_size=1)


@given(LABELS, LABELS, st.sampled_from([None, OPENMETRICS]))
@example('"\\\n', "%d%%\\", None)
@example("\x00\r\u2028\x85", "\ud800 naïve 日本語 🦊", OPENMETRICS)
def test_every_name_survives_the_official_parsers(label: str, key: str, accept: str | None) -> None:
    body = exposition(lambda: [view(user(label, device(key)))]).page(accept=accept, accept_encoding=None).body.decode()
    parse = parse_openmetrics if accept else parse_classic
    wanted = {"user_pool_id": POOL, "user": _spelled(label), "device_key": _spelled(key)}
    for name in (MOMENT, AGE):
        (family,) = [family for family in parse(body) if family.name == name]
        assert [sample.labels for sample in family.samples] == [wanted]


def _spelled(value: str) -> str:
    return value.encode("utf-8", "backslashreplace").decode()


def test_two_names_with_different_lone_surrogates_stay_two_series() -> None:
    page = _page(view(user("\ud800"), user("\ud801"), detail=Detail.USER))
    assert len(set(sample_lines(page, "cognito_user_devices"))) == 2


def test_a_new_publication_replaces_what_was_kept() -> None:
    users = [user(f"u{number}", device(f"k{number}")) for number in range(200)]
    current = [view(*users)]
    page = exposition(lambda: current)
    before = text(page)
    changed = user("u7", device("k7", 3, remembered=RememberedStatus.UNKNOWN))
    current = [view(*users[:7], changed, *users[9:], user("new", device("new")))]
    after = text(page)
    assert _detail_lines(after) == _detail_lines(text(exposition(lambda: current)))
    assert _detail_lines(before) != _detail_lines(after)


def test_a_change_of_the_detail_settings_shows_at_once() -> None:
    known = view(user("alice", device("k1")))
    current = [known]
    page = exposition(lambda: current)
    assert sample_lines(text(page), AGE)
    current = [replace(known, settings=replace(known.settings, detail=Detail.USER))]
    assert not sample_lines(text(page), AGE)


ORDERS = st.sets(st.binary(min_size=2, max_size=2), max_size=300)


def _rows(orders: set[bytes]) -> tuple[UserRow, ...]:
    return tuple(replace(user("x"), order=order) for order in sorted(orders))


@given(ORDERS, ORDERS)
def test_cutting_keeps_every_row_in_order(before: set[bytes], after: set[bytes]) -> None:
    known = split_into_blocks(_rows(before))
    blocks = split_into_blocks(_rows(after), known)
    assert tuple(row for block in blocks for row in block.rows) == _rows(after)
    assert all(0 < len(block.rows) <= 2 * USERS_PER_BLOCK for block in blocks)
    assert len(blocks) <= max(len(known), len(after))


def test_a_user_who_comes_goes_or_changes_costs_one_block() -> None:
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


def test_a_pool_that_has_shrunk_gets_fewer_blocks() -> None:
    known = split_into_blocks(_rows({number.to_bytes(2) for number in range(2000)}))
    few = _rows({number.to_bytes(2) for number in range(0, 2000, 10)})
    assert len(split_into_blocks(few, known)) <= len(few) // USERS_PER_BLOCK + 1


def test_what_is_the_same_is_not_prepared_again() -> None:
    known = view(user("a", device("k")))
    details = DetailSeries(FailureIsolator(lambda _: None))
    part = details.prepare([known], 100)
    assert details.prepare([known], 100) is part
    assert known.data is not None
    assert details.prepare([replace(known, data=replace(known.data))], 100) is part
    assert details.prepare([known], 2).families == ()
    assert details.prepare([], 100).dropped == {}
    other = details.prepare([view(user("b", device("k")))], 100)
    assert b'user="b"' in b"".join(other.families[0].plain(NOW_MS))


MOMENTS = st.integers(-(10**12), 10**12).flatmap(lambda whole: st.sampled_from([whole, whole * 1000]))


@given(st.lists(MOMENTS, min_size=1), MOMENTS)
def test_ages_are_exact_whatever_the_fractions(moments: list[int], now_ms: int) -> None:
    head = 'age{user="%d%b%%\u00ff日"} '
    shown = ages([(head, moment) for moment in moments]).at(now_ms).decode()
    assert shown == "".join(f"{head}{seconds(max(0, now_ms - moment))}\n" for moment in moments)
