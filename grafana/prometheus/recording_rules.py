"""Recording rules, aggregated over the shards of an exporter.

Names follow `level:metric:operations`. The level names the labels of a series in addition to `job` (and `namespace`,
if Kubernetes adds one). The rules aggregate over `instance`, because the instances of a job are the shards of one
exporter. Two exporters have two jobs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from grafana.prometheus.thresholds import Thresholds, Timing

DEPLOYMENT = "namespace, job"
"""Labels that identify an exporter."""

POOL = f"{DEPLOYMENT}, user_pool_id"
"""Labels that identify a pool of an exporter."""

TARGET = f"{DEPLOYMENT}, aws_account_id, aws_region"
"""Labels that identify an AWS account and Region of an exporter."""

QUANTILES = ("0.5", "0.9", "0.99")


@dataclass(frozen=True, slots=True)
class RecordingRule:
    """Recording rule."""

    name: str
    expr: str
    labels: tuple[tuple[str, str], ...] = ()
    """Labels that the rule adds."""


def device_rules(thresholds: Thresholds, timing: Timing) -> Iterator[RecordingRule]:
    """Yield the rules on users and devices."""
    # Two names of one pool would break the join. After a pool is renamed, its shards disagree for one interval, so
    # `topk` selects the name that most shards report. A pool without a known name uses its id. `^ 0` makes the value 1.
    names = f"count by ({POOL}, user_pool_name) ({_last_value('cognito_user_pool_info', timing)})"
    nameless = f"0 * max by ({POOL}) ({_last_value('cognito_user_pool_up', timing)})"
    yield RecordingRule(
        "cognito_user_pool:name:info",
        f"topk by ({POOL}) (1,\n"
        f"  {names}\n"
        f"  or on ({POOL})\n"
        f'  label_replace({nameless}, "user_pool_name", "$1", "user_pool_id", "(.+)")\n'
        f") ^ 0",
    )
    yield RecordingRule("cognito_user_pool:users:sum", f"sum by ({POOL}) (cognito_user_pool_users)")
    yield RecordingRule("cognito_user_pool:devices:sum", f"sum by ({POOL}) (cognito_user_pool_devices)")
    yield RecordingRule(
        "cognito_user_pool_remembered_status:devices:sum",
        f"sum by ({POOL}, remembered_status) (cognito_user_pool_devices)",
    )
    yield RecordingRule(
        "cognito_user_pool_date_source:devices:sum",
        f"sum by ({POOL}, date_source) (cognito_user_pool_devices_by_date_source)",
    )
    yield from _stale_rules()
    yield from _distribution_rules(thresholds)
    yield from _growth_rules(timing)


def _stale_rules() -> Iterator[RecordingRule]:
    yield RecordingRule(
        "cognito_user_pool_threshold_remembered_status:stale_devices:sum",
        f"sum by ({POOL}, threshold, remembered_status) (cognito_user_pool_stale_devices)",
    )
    yield RecordingRule(
        "cognito_user_pool_threshold:stale_devices:sum",
        f"sum by ({POOL}, threshold) (cognito_user_pool_stale_devices)",
    )
    yield RecordingRule(
        "cognito_user_pool_threshold:stale_devices:ratio",
        f"cognito_user_pool_threshold:stale_devices:sum\n"
        f"/ on ({POOL}) group_left ()\n"
        f"(cognito_user_pool:devices:sum > 0)",
    )
    yield RecordingRule(
        "cognito_user_pool_threshold:stale_mfa_bypass_devices:sum",
        f'sum by ({POOL}, threshold) (cognito_user_pool_stale_devices{{remembered_status="remembered"}})\n'
        f"and on ({POOL})\n"
        f'max by ({POOL}) (cognito_user_pool_info{{mfa_bypass="true"}})',
    )


def _distribution_rules(thresholds: Thresholds) -> Iterator[RecordingRule]:
    ages = "cognito_user_pool_device_last_authentication_age_seconds_bucket"
    yield RecordingRule("cognito_user_pool_le:device_age_seconds_bucket:sum", f"sum by ({POOL}, le) ({ages})")
    for quantile in QUANTILES:
        yield RecordingRule(
            "cognito_user_pool_quantile:device_age_seconds:histogram_quantile",
            f"histogram_quantile({quantile}, cognito_user_pool_le:device_age_seconds_bucket:sum)",
            (("quantile", quantile),),
        )
    per_user = "cognito_user_pool_devices_per_user"
    yield RecordingRule("cognito_user_pool_le:devices_per_user_bucket:sum", f"sum by ({POOL}, le) ({per_user}_bucket)")
    # 20 or 20.0, depending on the scrape format and the version of Prometheus.
    yield RecordingRule(
        "cognito_user_pool:users_with_many_devices:sum",
        f"sum by ({POOL}) ({per_user}_gcount)\n"
        f'- sum by ({POOL}) ({per_user}_bucket{{le=~"{thresholds.devices_per_user}(\\\\.0)?"}})',
    )


def _growth_rules(timing: Timing) -> Iterator[RecordingRule]:
    """Yield the growth rules. They compare a minimum with an earlier maximum, so a missing shard is not growth."""
    yield RecordingRule(
        "cognito_user_pool:devices:max1h_offset1d",
        f"max_over_time(cognito_user_pool:devices:sum[{timing.growth_before}] offset 1d)",
    )
    yield RecordingRule(
        "cognito_user_pool:devices:delta1d",
        f"min_over_time(cognito_user_pool:devices:sum[{timing.growth_now}])\n"
        "- cognito_user_pool:devices:max1h_offset1d",
    )
    yield RecordingRule(
        "cognito_user_pool:devices:growth1d",
        "cognito_user_pool:devices:delta1d\n/ (cognito_user_pool:devices:max1h_offset1d > 0)",
    )


def exporter_rules(timing: Timing) -> Iterator[RecordingRule]:
    """Yield the rules on sweeps and requests.

    A minimum or maximum over shards uses the last value of each shard within `Timing.lookback`, so that a missed scrape
    does not hide the worst shard. Sums do not, because they would count a replaced instance twice.
    """
    yield RecordingRule(
        "cognito_user_pool_state:state:max",
        f"max by ({POOL}, state) ({_last_value('cognito_user_pool_state', timing)})",
    )
    yield RecordingRule(
        "cognito_user_pool:refresh_interval_seconds:max",
        f"max by ({POOL}) ({_last_value('cognito_exporter_refresh_interval_seconds', timing)})",
    )
    yield RecordingRule(
        "cognito_user_pool:oldest_observation_timestamp_seconds:min",
        f"min by ({POOL}) ({_last_value('cognito_exporter_oldest_observation_timestamp_seconds', timing)})",
    )
    # 0 for a shard without a successful sweep, so that the success of another shard does not hide it.
    yield RecordingRule(
        "cognito_user_pool:last_sweep_success_timestamp_seconds:min",
        f"min by ({POOL}) (\n"
        f"  {_last_value('cognito_exporter_last_sweep_success_timestamp_seconds', timing)}\n"
        f"  or 0 * {_last_value('cognito_user_pool_up', timing)}\n"
        f")",
    )
    # During the first sweep, the remaining time is the best available estimate.
    yield RecordingRule(
        "cognito_user_pool:sweep_duration_seconds:max",
        f"max by ({POOL}) (\n"
        f"  {_last_value('cognito_exporter_last_sweep_duration_seconds', timing)}\n"
        f"  or {_last_value('cognito_exporter_sweep_remaining_seconds', timing)}\n"
        f")",
    )
    yield RecordingRule(
        "cognito_user_pool:sweep_failures:increase3h",
        f"sum by ({POOL}) (increase(cognito_exporter_sweep_failures_total[3h]))",
    )
    yield RecordingRule("cognito_user_pool:series_dropped:sum", f"sum by ({POOL}) (cognito_exporter_series_dropped)")
    yield RecordingRule(
        "cognito_target:aws_requests:rate15m",
        f"sum by ({TARGET}) (rate(cognito_exporter_aws_requests_total[15m]))",
    )
    yield RecordingRule(
        "cognito_target:aws_requests_throttled:ratio_rate15m",
        f'sum by ({TARGET}) (rate(cognito_exporter_aws_request_failures_total{{reason="throttled"}}[15m]))\n'
        f"/ (cognito_target:aws_requests:rate15m > 0)",
    )
    yield RecordingRule(
        "cognito_exporter:shards:max", f"max by ({DEPLOYMENT}) ({_last_value('cognito_exporter_shards', timing)})"
    )
    ordinals = _last_value("cognito_exporter_shard_ordinal", timing)
    yield RecordingRule(
        "cognito_exporter:shards_seen:count",
        f'count by ({DEPLOYMENT}) (\n  count_values by ({DEPLOYMENT}) ("shard_ordinal", {ordinals})\n)',
    )


def _last_value(series: str, timing: Timing) -> str:
    """Return the last value of each series within the lookback, which bridges missed scrapes."""
    return f"last_over_time({series}[{timing.lookback}])"
