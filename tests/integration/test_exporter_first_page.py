"""The page before the end of the first sweep: `up` and the exporter's metrics about itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from exporter.aws.api import Category, Operation
from exporter.emulator import Emulator
from exporter.errors import Reason
from exporter.metrics.catalog import CATALOG
from exporter.metrics.spec import DocSection
from tests.harness import CLASSIC, OPENMETRICS, Page, config, identity_key, pool, serving, wait_until

NO_RULES = {spec.name: "no rule is configured" for spec in CATALOG if "_discovery_" in spec.name}
NOT_DESCRIBED = {
    "cognito_user_pool_info": "nothing has described the pool",
    "cognito_user_pool_estimated_users": "nothing has described the pool",
    "cognito_exporter_sweep_progress_ratio": "the number of users is not known",
}
NOT_READ = {
    **NO_RULES,
    "cognito_user_pool_users": "half of a pool would be a wrong count",
    "cognito_user_pool_devices": "as for users",
    "cognito_user_pool_devices_by_date_source": "as for users",
    "cognito_user_pool_stale_devices": "as for users",
    "cognito_user_pool_device_last_authentication_age_seconds": "as for users",
    "cognito_user_pool_devices_per_user": "as for users",
    "cognito_user_pool_oldest_device_authentication_timestamp_seconds": "as for users",
    "cognito_user_pool_newest_device_authentication_timestamp_seconds": "as for users",
    "cognito_exporter_last_sweep_duration_seconds": "no sweep has ended",
    "cognito_exporter_last_sweep_success_timestamp_seconds": "no sweep has ended",
    "cognito_exporter_oldest_observation_timestamp_seconds": "no sweep has ended",
    "cognito_exporter_sweep_remaining_seconds": "no user was read",
    **{spec.name: "as for users" for spec in CATALOG if spec.section in {DocSection.USER, DocSection.DEVICE}},
}
"""Metrics that may be absent, and the reason."""


def absent(page: Page) -> set[str]:
    """Return the metrics of the catalog without samples."""
    return {spec.name for spec in CATALOG if not spec.sample_names & page.names}


@pytest.mark.parametrize(
    ("stalled", "excused"),
    [("DescribeUserPool", {**NOT_DESCRIBED, **NOT_READ}), ("AdminListDevices", NOT_READ)],
)
@pytest.mark.parametrize("style", [CLASSIC, OPENMETRICS], ids=["classic", "OpenMetrics"])
def test_first_page_has_every_promised_series(
    emulator: Emulator, tmp_path: Path, stalled: str, excused: dict[str, str], style: str
) -> None:
    pool_id = emulator.seed_pool("pool", users=50)
    emulator.faults.latency = {stalled: 60.0}
    text = config(emulator.url, pool(pool_id, detail="device"), identity_key_file=identity_key(tmp_path))
    with serving(text, tmp_path, emulator.url) as exporter:
        assert wait_until(lambda: absent(exporter.scrape()) <= set(excused))
        page = exporter.scrape(style)
        assert exporter.is_ready() is (stalled != "DescribeUserPool")
    assert absent(page) == set(excused)
    assert page.value("cognito_user_pool_up", user_pool_id=pool_id) == (stalled != "DescribeUserPool")
    assert page.state(pool_id) == "unread"
    assert_counters_begin_at_zero(page, pool_id)


def assert_counters_begin_at_zero(page: Page, pool_id: str) -> None:
    """Assert that every counter of a closed list exists, so that a first failure is an increase."""
    reasons = set(Reason)
    for name in ("sweep_failures_total", "user_read_failures_total"):
        assert page.series(f"cognito_exporter_{name}", "reason", user_pool_id=pool_id) == dict.fromkeys(reasons, 0)
    failures = page.series("cognito_exporter_aws_request_failures_total", "operation", "reason")
    assert failures == {(operation, reason): 0 for operation in Operation for reason in reasons}
    for name in ("sweeps_total", "sweep_overruns_total", "users_vanished_total"):
        assert page.value(f"cognito_exporter_{name}", user_pool_id=pool_id) == 0
    for name in ("rate_limit_configured_requests_per_second", "quota_requests_per_second"):
        assert set(page.series(f"cognito_exporter_{name}", "category")) == set(Category)
