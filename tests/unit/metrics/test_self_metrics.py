from __future__ import annotations

import pytest

from exporter.errors import Reason
from exporter.metrics.self_metrics import SelfMetrics
from exporter.metrics.self_specs import Component
from exporter.observers import AwsObserver, SweepObserver, Target

POOL = "eu-west-1_AbCdEfGhI"
UNKNOWN = Target("unknown", "eu-west-1")
KNOWN = Target("123456789012", "eu-west-1")


@pytest.fixture
def metrics() -> SelfMetrics:
    return SelfMetrics(version="1.2.3", revision="abc")


def _value(metrics: SelfMetrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"cognito_exporter_{name}", labels)


def _requests(metrics: SelfMetrics, target: Target) -> float | None:
    return _value(
        metrics,
        "aws_requests_total",
        aws_account_id=target.account_id,
        aws_region=target.region,
        operation="AdminListDevices",
    )


def test_self_metrics_implement_both_observers(metrics: SelfMetrics) -> None:
    def notify(aws: AwsObserver, sweep: SweepObserver) -> None:
        aws.target_added(KNOWN)
        sweep.pool_added(POOL)

    notify(metrics, metrics)
    assert _requests(metrics, KNOWN) == 0
    assert _value(metrics, "sweeps_total", user_pool_id=POOL) == 0


def test_unsent_request_counts_as_failure_only(metrics: SelfMetrics) -> None:
    metrics.request_finished(KNOWN, "AdminListDevices", 0.2, Reason.CREDENTIALS, attempted=False)
    labels = {"aws_account_id": KNOWN.account_id, "aws_region": KNOWN.region, "operation": "AdminListDevices"}
    assert _value(metrics, "aws_request_failures_total", **labels, reason="credentials") == 1
    assert _value(metrics, "aws_requests_total", **labels) == 0
    assert _value(metrics, "aws_request_duration_seconds_count", **labels) == 0


def test_counters_of_new_pool_start_at_zero(metrics: SelfMetrics) -> None:
    metrics.pool_added(POOL)
    for reason in Reason:
        assert _value(metrics, "sweep_failures_total", user_pool_id=POOL, reason=reason.value) == 0
        assert _value(metrics, "user_read_failures_total", user_pool_id=POOL, reason=reason.value) == 0
    assert _value(metrics, "users_skipped_total", user_pool_id=POOL, reason="federated") == 0
    assert _value(metrics, "sweep_runs_missed_total", user_pool_id=POOL) == 0


def test_sweep_events_are_counted(metrics: SelfMetrics) -> None:
    metrics.pool_added(POOL)
    metrics.sweep_finished(POOL, None)
    metrics.sweep_finished(POOL, Reason.DENIED)
    metrics.sweep_overran(POOL)
    metrics.sweep_missed(POOL)
    metrics.user_read_failed(POOL, Reason.TIMEOUT)
    metrics.users_vanished(POOL, 1)
    metrics.user_skipped(POOL, "federated")
    assert _value(metrics, "sweeps_total", user_pool_id=POOL) == 2
    assert _value(metrics, "sweep_failures_total", user_pool_id=POOL, reason="denied") == 1
    assert _value(metrics, "sweep_overruns_total", user_pool_id=POOL) == 1
    assert _value(metrics, "sweep_runs_missed_total", user_pool_id=POOL) == 1
    assert _value(metrics, "user_read_failures_total", user_pool_id=POOL, reason="timeout") == 1
    assert _value(metrics, "users_vanished_total", user_pool_id=POOL) == 1
    assert _value(metrics, "users_skipped_total", user_pool_id=POOL, reason="federated") == 1


def test_removed_pool_has_no_counters_after_late_sweep(metrics: SelfMetrics) -> None:
    metrics.pool_added(POOL)
    metrics.pool_added("eu-west-1_other")
    metrics.pool_removed(POOL)
    metrics.sweep_finished(POOL, Reason.TIMEOUT)
    assert _value(metrics, "sweeps_total", user_pool_id=POOL) is None
    assert _value(metrics, "sweep_failures_total", user_pool_id=POOL, reason="timeout") is None
    assert _value(metrics, "sweeps_total", user_pool_id="eu-west-1_other") == 0


def test_requests_are_counted_by_target_and_reason(metrics: SelfMetrics) -> None:
    metrics.target_added(KNOWN)
    labels = {"aws_account_id": KNOWN.account_id, "aws_region": KNOWN.region, "operation": "AdminListDevices"}
    assert _value(metrics, "aws_request_failures_total", **labels, reason="throttled") == 0
    metrics.request_finished(KNOWN, "AdminListDevices", 0.2, None, attempted=True)
    metrics.request_finished(KNOWN, "AdminListDevices", 0.3, Reason.THROTTLED, attempted=True)
    metrics.rate_limit_waited(KNOWN, "UserResourceRead", 1.5)
    assert _value(metrics, "aws_requests_total", **labels) == 2
    assert _value(metrics, "aws_request_failures_total", **labels, reason="throttled") == 1
    assert _value(metrics, "aws_request_duration_seconds_sum", **labels) == 0.5
    category = {"aws_account_id": KNOWN.account_id, "aws_region": KNOWN.region, "category": "UserResourceRead"}
    assert _value(metrics, "rate_limit_wait_seconds_total", **category) == 1.5


def test_request_of_target_not_added_is_counted(metrics: SelfMetrics) -> None:
    metrics.request_finished(KNOWN, "AdminListDevices", 0.2, None, attempted=True)
    assert _requests(metrics, KNOWN) == 1


def test_resolved_target_continues_its_counts(metrics: SelfMetrics) -> None:
    metrics.target_added(UNKNOWN)
    metrics.request_finished(UNKNOWN, "AdminListDevices", 0.2, None, attempted=True)
    metrics.target_resolved(UNKNOWN, KNOWN)
    metrics.request_finished(UNKNOWN, "AdminListDevices", 0.2, None, attempted=True)
    assert _requests(metrics, UNKNOWN) is None
    assert _requests(metrics, KNOWN) == 2


def test_resolved_target_keeps_earlier_counts(metrics: SelfMetrics) -> None:
    elsewhere = Target(UNKNOWN.account_id, "ap-south-1")
    metrics.target_added(elsewhere)
    metrics.request_finished(elsewhere, "ListUserPools", 0.2, Reason.TIMEOUT, attempted=True)
    metrics.target_added(UNKNOWN)
    metrics.target_added(KNOWN)
    metrics.request_finished(KNOWN, "ListUserPools", 0.2, None, attempted=True)
    metrics.request_finished(UNKNOWN, "ListUserPools", 0.2, Reason.THROTTLED, attempted=True)
    metrics.rate_limit_waited(UNKNOWN, "UserPoolRead", 1.5)
    metrics.target_resolved(UNKNOWN, KNOWN)
    here = {"aws_account_id": KNOWN.account_id, "aws_region": KNOWN.region}
    assert _value(metrics, "aws_requests_total", **here, operation="ListUserPools") == 2
    assert _value(metrics, "aws_request_failures_total", **here, operation="ListUserPools", reason="throttled") == 1
    assert _value(metrics, "aws_request_failures_total", **here, operation="ListUserPools", reason="timeout") == 0
    assert _value(metrics, "rate_limit_wait_seconds_total", **here, category="UserPoolRead") == 1.5


def test_shared_unknown_account_stays_until_last_resolved(metrics: SelfMetrics) -> None:
    metrics.target_added(UNKNOWN)
    metrics.target_added(UNKNOWN)
    metrics.request_finished(UNKNOWN, "AdminListDevices", 0.2, None, attempted=True)
    metrics.target_resolved(UNKNOWN, KNOWN)
    assert _requests(metrics, UNKNOWN) == 1
    assert _requests(metrics, KNOWN) == 0
    metrics.target_resolved(UNKNOWN, Target("2", "eu-west-1"))
    assert _requests(metrics, UNKNOWN) is None
    assert _requests(metrics, Target("2", "eu-west-1")) == 1


def test_target_is_removed_with_last_reference(metrics: SelfMetrics) -> None:
    metrics.target_added(KNOWN)
    metrics.target_added(KNOWN)
    metrics.target_removed(KNOWN)
    assert _requests(metrics, KNOWN) == 0
    metrics.target_removed(KNOWN)
    assert _requests(metrics, KNOWN) is None


def test_process_events_are_recorded(metrics: SelfMetrics) -> None:
    assert _value(metrics, "shards") == 1
    assert _value(metrics, "shard_ordinal") == 0
    assert _value(metrics, "identity_exposed") == 0
    metrics.identity_exposed(exposed=True)
    metrics.configuration_loaded(successful=True, now=1700000000.0)
    metrics.configuration_loaded(successful=False, now=1800000000.0)
    metrics.state_failed()
    metrics.unexpected_error(Component.SWEEP)
    assert _value(metrics, "identity_exposed") == 1
    assert _value(metrics, "config_last_reload_successful") == 0
    assert _value(metrics, "config_last_reload_success_timestamp_seconds") == 1700000000.0
    assert _value(metrics, "state_errors_total") == 1
    assert _value(metrics, "unexpected_failures_total", component="sweep") == 1
    assert _value(metrics, "unexpected_failures_total", component="web") == 0
