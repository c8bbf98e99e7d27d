from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from exporter.collect.snapshot import PoolView, SweepProgress
from exporter.config.settings import Detail
from exporter.model import Device, Mfa, PoolDescription, PoolState, RememberedStatus, Tracking
from tests.unit.metrics.builders import (
    DAY_MS,
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

DESCRIBED = PoolDescription(POOL, 'the "pool"', "123456789012", "eu-west-1", Tracking.OPT_IN, Mfa.ON, True, 42)  # noqa: FBT003 - positional in a test's record

PAIRS: list[tuple[PoolView, str, list[str]]] = [
    (view(has_data=False, state=PoolState.UNREAD), "cognito_user_pool_up", ["{user_pool_id=P} 0.0"]),
    (view(), "cognito_user_pool_up", ["{user_pool_id=P} 1.0"]),
    (view(has_data=False), "cognito_user_pool_devices", []),
    (view(has_data=False), "cognito_user_pool_info", []),
    (
        replace(view(has_data=False), description=DESCRIBED),
        "cognito_user_pool_info",
        [
            (
                '{aws_account_id="123456789012",aws_region="eu-west-1",device_tracking="opt_in",mfa="on",'
                'mfa_bypass="true",user_pool_id=P,user_pool_name="the \\"pool\\""} 1.0'
            )
        ],
    ),
    (
        replace(view(has_data=False), description=DESCRIBED),
        "cognito_user_pool_estimated_users",
        ["{user_pool_id=P} 42.0"],
    ),
    (view(user("a"), user("b")), "cognito_user_pool_users", ["{user_pool_id=P} 2.0"]),
    (
        view(user("a", device("1"), device("2", remembered=RememberedStatus.UNKNOWN))),
        "cognito_user_pool_devices",
        [
            '{remembered_status="remembered",user_pool_id=P} 1.0',
            '{remembered_status="not_remembered",user_pool_id=P} 0.0',
            '{remembered_status="unknown",user_pool_id=P} 1.0',
        ],
    ),
    (
        view(user("a", device("1"), device("2", None, created_ms=NOW_MS), device("3", None))),
        "cognito_user_pool_devices_by_date_source",
        [
            '{date_source="authenticated",user_pool_id=P} 1.0',
            '{date_source="created",user_pool_id=P} 1.0',
            '{date_source="none",user_pool_id=P} 1.0',
        ],
    ),
    (
        view(user("a", device("1", 2), device("2", 1)), user("b", device("3", None))),
        "cognito_user_pool_oldest_device_authentication_timestamp_seconds",
        ["{user_pool_id=P} 1.6998272e+09"],
    ),
    (view(user("a")), "cognito_user_pool_newest_device_authentication_timestamp_seconds", []),
    (view(), "cognito_exporter_refresh_interval_seconds", ["{user_pool_id=P} 3600.0"]),
    (view(), "cognito_exporter_last_sweep_success_timestamp_seconds", []),
    (view(), "cognito_exporter_sweep_progress_ratio", []),
    (view(), "cognito_exporter_sweep_remaining_seconds", []),
    (
        replace(view(), progress=SweepProgress(25, 100, 12.5)),
        "cognito_exporter_sweep_progress_ratio",
        ["{user_pool_id=P} 0.25"],
    ),
    (
        replace(view(), progress=SweepProgress(120, 100, None)),
        "cognito_exporter_sweep_progress_ratio",
        ["{user_pool_id=P} 1.0"],
    ),
    (replace(view(), progress=SweepProgress(3, None, None)), "cognito_exporter_sweep_progress_ratio", []),
    (
        replace(view(), progress=SweepProgress(25, 100, 12.5)),
        "cognito_exporter_sweep_remaining_seconds",
        ["{user_pool_id=P} 12.5"],
    ),
]


@pytest.mark.parametrize(("pool_view", "name", "expected"), PAIRS)
def test_view_is_rendered_as(pool_view: PoolView, name: str, expected: list[str]) -> None:
    lines = sample_lines(text(exposition(lambda: [pool_view])), name)
    assert lines == [name + line.replace("user_pool_id=P", f'user_pool_id="{POOL}"') for line in expected]


@pytest.mark.parametrize("state", list(PoolState))
def test_only_the_state_of_the_pool_is_one(state: PoolState) -> None:
    lines = sample_lines(text(exposition(lambda: [view(state=state)])), "cognito_user_pool_state")
    assert len(lines) == len(PoolState)
    assert [line for line in lines if line.endswith(" 1.0")] == [
        f'cognito_user_pool_state{{state="{state.value}",user_pool_id="{POOL}"}} 1.0'
    ]


@pytest.mark.parametrize(
    ("idle_ms", "stale"),
    [(30 * DAY_MS - 1, "0.0"), (30 * DAY_MS, "0.0"), (30 * DAY_MS + 1, "1.0"), (-DAY_MS, "0.0")],
)
def test_stale_device_is_idle_longer_than_threshold(idle_ms: int, stale: str) -> None:
    pool_view = view(user("a", device("1", idle_ms / DAY_MS)))
    lines = sample_lines(text(exposition(lambda: [pool_view])), "cognito_user_pool_stale_devices")
    expected = (
        f'cognito_user_pool_stale_devices{{remembered_status="remembered",threshold="30d",user_pool_id="{POOL}"}}'
    )
    assert f"{expected} {stale}" in lines
    assert len(lines) == 2 * len(RememberedStatus)


def _values(page: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)  # type: ignore[no-untyped-call] # ships without annotations
        for sample in family.samples
    }


def _sum_of(page: str, name: str) -> float:
    return sum(value for (sample, _), value in _values(page).items() if sample == name)


TIMESTAMPS = st.none() | st.integers(NOW_MS - 800 * DAY_MS, NOW_MS + DAY_MS)
DEVICES = st.builds(
    Device,
    st.uuids().map(str),
    st.sampled_from(RememberedStatus),
    created_ms=TIMESTAMPS,
    authenticated_ms=TIMESTAMPS,
)
USERS = st.lists(st.lists(DEVICES, max_size=4), max_size=6)


@given(USERS)
def test_totals_of_metrics_agree(users: list[list[Device]]) -> None:
    pool_view = view(*(user(str(number), *devices) for number, devices in enumerate(users)), detail=Detail.POOL)
    page = text(exposition(lambda: [pool_view]), accept=OPENMETRICS)
    ages = "cognito_user_pool_device_last_authentication_age_seconds"
    undated = _values(page)[
        "cognito_user_pool_devices_by_date_source", (("date_source", "none"), ("user_pool_id", POOL))
    ]
    all_devices = [one for devices in users for one in devices]
    ages_ms = [max(0, NOW_MS - one.active_ms) for one in all_devices if one.active_ms is not None]
    assert _sum_of(page, "cognito_user_pool_devices") == len(all_devices)
    assert _sum_of(page, "cognito_user_pool_devices_by_date_source") == len(all_devices)
    assert _sum_of(page, f"{ages}_gcount") + undated == len(all_devices)
    assert _sum_of(page, f"{ages}_gsum") == sum(ages_ms) / 1000
    for bound in (3600, 86400, 30 * 86400):
        bucket = next(
            value
            for (name, labels), value in _values(page).items()
            if name == f"{ages}_bucket" and dict(labels)["le"] != "+Inf" and float(dict(labels)["le"]) == bound
        )
        assert bucket == sum(one <= bound * 1000 for one in ages_ms)
    assert _sum_of(page, "cognito_user_pool_devices_per_user_gcount") == len(users)
    assert _sum_of(page, "cognito_user_pool_devices_per_user_gsum") == len(all_devices)
