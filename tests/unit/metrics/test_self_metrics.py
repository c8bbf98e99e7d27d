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
def own() -> SelfMetrics:
    return SelfMetrics(version="1.2.3", revision="abc")


def _value(own: SelfMetrics, name: str, **labels: str) -> float | None:
    return own.registry.get_sample_value(f"cognito_exporter_{name}", labels)


def _requests(own: SelfMetrics, target: Target) -> float | None:
    return _value(
        own,
        "aws_requests_total",
        aws_account_id=target.account_id,
        aws_region=target.region,
        operation="AdminListDevices",
    )


def test_it_listens_to_both_hooks(own: SelfMetrics) -> None:
    def told(aws: AwsObserver, sweep: SweepObserver) -> None:
        aws.target_added(KNOWN)
        sweep.pool_added(POOL)

    told(own, own)
    assert _requests(own, KNOWN) == 0
    assert _value(own, "sweeps_total", user_pool_id=POOL) == 0


def test_a_request_that_never_left_is_a_failure_but_no_request(own: SelfMetrics) -> None:
    own.request_finished(KNOWN, "AdminListDevices", 0.2, Reason.CREDENTIALS, attempted=False)
    labels = {"aws_account_id": KNOWN.account_id, "aws_region": KNOWN.region, "operation": "AdminListDevices"}
    assert _value(own, "aws_request_failures_total", **labels, reason="credentials") == 1
    assert _value(own, "aws_requests_total", **labels) == 0
    assert _value(own, "aws_request_duration_seconds_count", **labels) == 0


def test_every_reason_of_a_new_pool_is_there_at_zero(own: SelfMetrics) -> None:
    own.pool_added(POOL)
    for reason in Reason:
        assert _value(own, "sweep_failures_total", user_pool_id=POOL, reason=reason.value) == 0
        assert _value(own, "user_read_failures_total", user_pool_id=POOL, reason=reason.value) == 0
    assert _value(own, "users_skipped_total", user_pool_id=POOL, reason="federated") == 0
    assert _value(own, "sweep_runs_missed_total", user_pool_id=POOL) == 0


def test_what_happens_in_sweeps_is_counted(own: SelfMetrics) -> None:
    own.pool_added(POOL)
    own.sweep_finished(POOL, None)
    own.sweep_finished(POOL, Reason.DENIED)
    own.sweep_overran(POOL)
    own.sweep_missed(POOL)
    own.user_read_failed(POOL, Reason.TIMEOUT)
    own.users_vanished(POOL, 1)
    own.user_skipped(POOL, "federated")
    assert _value(own, "sweeps_total", user_pool_id=POOL) == 2
    assert _value(own, "sweep_failures_total", user_pool_id=POOL, reason="denied") == 1
    assert _value(own, "sweep_overruns_total", user_pool_id=POOL) == 1
    assert _value(own, "sweep_runs_missed_total", user_pool_id=POOL) == 1
    assert _value(own, "user_read_failures_total", user_pool_id=POOL, reason="timeout") == 1
    assert _value(own, "users_vanished_total", user_pool_id=POOL) == 1
    assert _value(own, "users_skipped_total", user_pool_id=POOL, reason="federated") == 1


def test_a_removed_pool_takes_its_counters_and_a_late_sweep_brings_none_back(own: SelfMetrics) -> None:
    own.pool_added(POOL)
    own.pool_added("eu-west-1_other")
    own.pool_removed(POOL)
    own.sweep_finished(POOL, Reason.TIMEOUT)
    assert _value(own, "sweeps_total", user_pool_id=POOL) is None
    assert _value(own, "sweep_failures_total", user_pool_id=POOL, reason="timeout") is None
    assert _value(own, "sweeps_total", user_pool_id="eu-west-1_other") == 0


def test_requests_are_counted_by_target_operation_and_error(own: SelfMetrics) -> None:
    own.target_added(KNOWN)
    labels = {"aws_account_id": KNOWN.account_id, "aws_region": KNOWN.region, "operation": "AdminListDevices"}
    assert _value(own, "aws_request_failures_total", **labels, reason="throttled") == 0
    own.request_finished(KNOWN, "AdminListDevices", 0.2, None, attempted=True)
    own.request_finished(KNOWN, "AdminListDevices", 0.3, Reason.THROTTLED, attempted=True)
    own.rate_limit_waited(KNOWN, "UserResourceRead", 1.5)
    assert _value(own, "aws_requests_total", **labels) == 2
    assert _value(own, "aws_request_failures_total", **labels, reason="throttled") == 1
    assert _value(own, "aws_request_duration_seconds_sum", **labels) == 0.5
    category = {"aws_account_id": KNOWN.account_id, "aws_region": KNOWN.region, "category": "UserResourceRead"}
    assert _value(own, "rate_limit_wait_seconds_total", **category) == 1.5


def test_a_request_of_a_target_that_nobody_announced_is_counted(own: SelfMetrics) -> None:
    own.request_finished(KNOWN, "AdminListDevices", 0.2, None, attempted=True)
    assert _requests(own, KNOWN) == 1


def test_a_target_that_gets_its_name_counts_on_under_it(own: SelfMetrics) -> None:
    own.target_added(UNKNOWN)
    own.request_finished(UNKNOWN, "AdminListDevices", 0.2, None, attempted=True)
    own.target_resolved(UNKNOWN, KNOWN)
    own.request_finished(UNKNOWN, "AdminListDevices", 0.2, None, attempted=True)
    assert _requests(own, UNKNOWN) is None
    assert _requests(own, KNOWN) == 2


def test_nothing_that_was_counted_before_the_name_is_lost(own: SelfMetrics) -> None:
    elsewhere = Target(UNKNOWN.account_id, "ap-south-1")
    own.target_added(elsewhere)
    own.request_finished(elsewhere, "ListUserPools", 0.2, Reason.TIMEOUT, attempted=True)
    own.target_added(UNKNOWN)
    own.target_added(KNOWN)
    own.request_finished(KNOWN, "ListUserPools", 0.2, None, attempted=True)
    own.request_finished(UNKNOWN, "ListUserPools", 0.2, Reason.THROTTLED, attempted=True)
    own.rate_limit_waited(UNKNOWN, "UserPoolRead", 1.5)
    own.target_resolved(UNKNOWN, KNOWN)
    here = {"aws_account_id": KNOWN.account_id, "aws_region": KNOWN.region}
    assert _value(own, "aws_requests_total", **here, operation="ListUserPools") == 2
    assert _value(own, "aws_request_failures_total", **here, operation="ListUserPools", reason="throttled") == 1
    assert _value(own, "aws_request_failures_total", **here, operation="ListUserPools", reason="timeout") == 0
    assert _value(own, "rate_limit_wait_seconds_total", **here, category="UserPoolRead") == 1.5


def test_an_unknown_account_that_others_share_stays(own: SelfMetrics) -> None:
    own.target_added(UNKNOWN)
    own.target_added(UNKNOWN)
    own.request_finished(UNKNOWN, "AdminListDevices", 0.2, None, attempted=True)
    own.target_resolved(UNKNOWN, KNOWN)
    assert _requests(own, UNKNOWN) == 1
    assert _requests(own, KNOWN) == 0
    own.target_resolved(UNKNOWN, Target("2", "eu-west-1"))
    assert _requests(own, UNKNOWN) is None
    assert _requests(own, Target("2", "eu-west-1")) == 1


def test_a_target_goes_with_its_last_user(own: SelfMetrics) -> None:
    own.target_added(KNOWN)
    own.target_added(KNOWN)
    own.target_removed(KNOWN)
    assert _requests(own, KNOWN) == 0
    own.target_removed(KNOWN)
    assert _requests(own, KNOWN) is None


def test_the_program_tells_about_itself(own: SelfMetrics) -> None:
    assert _value(own, "shards") == 1
    assert _value(own, "shard_ordinal") == 0
    assert _value(own, "identity_exposed") == 0
    own.identity_exposed(exposed=True)
    own.configuration_loaded(successful=True, now=1700000000.0)
    own.configuration_loaded(successful=False, now=1800000000.0)
    own.state_failed()
    own.unexpected_error(Component.SWEEP)
    assert _value(own, "identity_exposed") == 1
    assert _value(own, "config_last_reload_successful") == 0
    assert _value(own, "config_last_reload_success_timestamp_seconds") == 1700000000.0
    assert _value(own, "state_errors_total") == 1
    assert _value(own, "unexpected_failures_total", component="sweep") == 1
    assert _value(own, "unexpected_failures_total", component="web") == 0
