"""The recording rules: what the shards of one exporter show together.

Names follow `level:metric:operations`; the level says which labels a series has besides `job` (and
`namespace`, where Kubernetes adds one). `instance` is added up over, for the instances of one job are the shards
of one exporter; two exporters stand under two jobs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from grafana.prometheus.values import Thresholds, Timing

DEPLOYMENT = "namespace, job"
"""What tells one exporter from another."""

POOL = f"{DEPLOYMENT}, user_pool_id"
"""What tells one pool of one exporter from another."""

TARGET = f"{DEPLOYMENT}, aws_account_id, aws_region"
"""What tells one AWS account and Region of one exporter from another."""

QUANTILES = ("0.5", "0.9", "0.99")


@dataclass(frozen=True, slots=True)
class Record:
    """A recording rule."""

    name: str
    expr: str
    labels: tuple[tuple[str, str], ...] = ()
    """Labels that the rule itself sets."""


def device_records(thresholds: Thresholds, timing: Timing) -> Iterator[Record]:
    """Users and devices of each pool."""
    # Two names of one pool would break the join, and after a renaming its shards disagree for an interval: the name
    # that most of them show counts. A pool that nobody described goes by its id. And `^ 0` makes it 1.
    names = f"count by ({POOL}, user_pool_name) ({_last('cognito_user_pool_info', timing)})"
    nameless = f"0 * max by ({POOL}) ({_last('cognito_user_pool_up', timing)})"
    yield Record(
        "cognito_user_pool:name:info",
        f"topk by ({POOL}) (1,\n"
        f"  {names}\n"
        f"  or on ({POOL})\n"
        f'  label_replace({nameless}, "user_pool_name", "$1", "user_pool_id", "(.+)")\n'
        f") ^ 0",
    )
    yield Record("cognito_user_pool:users:sum", f"sum by ({POOL}) (cognito_user_pool_users)")
    yield Record("cognito_user_pool:devices:sum", f"sum by ({POOL}) (cognito_user_pool_devices)")
    yield Record(
        "cognito_user_pool_remembered_status:devices:sum",
        f"sum by ({POOL}, remembered_status) (cognito_user_pool_devices)",
    )
    yield Record(
        "cognito_user_pool_date_source:devices:sum",
        f"sum by ({POOL}, date_source) (cognito_user_pool_devices_by_date_source)",
    )
    yield from _stale_records()
    yield from _distribution_records(thresholds)
    yield from _growth_records(timing)


def _stale_records() -> Iterator[Record]:
    yield Record(
        "cognito_user_pool_threshold_remembered_status:stale_devices:sum",
        f"sum by ({POOL}, threshold, remembered_status) (cognito_user_pool_stale_devices)",
    )
    yield Record(
        "cognito_user_pool_threshold:stale_devices:sum",
        f"sum by ({POOL}, threshold) (cognito_user_pool_stale_devices)",
    )
    yield Record(
        "cognito_user_pool_threshold:stale_devices:ratio",
        f"cognito_user_pool_threshold:stale_devices:sum\n"
        f"/ on ({POOL}) group_left ()\n"
        f"(cognito_user_pool:devices:sum > 0)",
    )
    yield Record(
        "cognito_user_pool_threshold:stale_mfa_bypass_devices:sum",
        f'sum by ({POOL}, threshold) (cognito_user_pool_stale_devices{{remembered_status="remembered"}})\n'
        f"and on ({POOL})\n"
        f'max by ({POOL}) (cognito_user_pool_info{{mfa_bypass="true"}})',
    )


def _distribution_records(thresholds: Thresholds) -> Iterator[Record]:
    ages = "cognito_user_pool_device_last_authentication_age_seconds_bucket"
    yield Record("cognito_user_pool_le:device_age_seconds_bucket:sum", f"sum by ({POOL}, le) ({ages})")
    for quantile in QUANTILES:
        yield Record(
            "cognito_user_pool_quantile:device_age_seconds:histogram_quantile",
            f"histogram_quantile({quantile}, cognito_user_pool_le:device_age_seconds_bucket:sum)",
            (("quantile", quantile),),
        )
    per_user = "cognito_user_pool_devices_per_user"
    yield Record("cognito_user_pool_le:devices_per_user_bucket:sum", f"sum by ({POOL}, le) ({per_user}_bucket)")
    # 20 or 20.0: how a bound is written depends on the format of the scrape and the version of Prometheus.
    yield Record(
        "cognito_user_pool:users_with_many_devices:sum",
        f"sum by ({POOL}) ({per_user}_gcount)\n"
        f'- sum by ({POOL}) ({per_user}_bucket{{le=~"{thresholds.devices_per_user}(\\\\.0)?"}})',
    )


def _growth_records(timing: Timing) -> Iterator[Record]:
    """Compared with the most of a whole hour, the least of a quarter shows no growth where a shard was away."""
    yield Record(
        "cognito_user_pool:devices:max1h_offset1d",
        f"max_over_time(cognito_user_pool:devices:sum[{timing.growth_before}] offset 1d)",
    )
    yield Record(
        "cognito_user_pool:devices:delta1d",
        f"min_over_time(cognito_user_pool:devices:sum[{timing.growth_now}])\n"
        "- cognito_user_pool:devices:max1h_offset1d",
    )
    yield Record(
        "cognito_user_pool:devices:growth1d",
        "cognito_user_pool:devices:delta1d\n/ (cognito_user_pool:devices:max1h_offset1d > 0)",
    )


def exporter_records(timing: Timing) -> Iterator[Record]:
    """What the exporter says about its own work.

    Where the worst of the shards counts, the last value of each does for as long as `Timing.bridge`: a scrape that
    one of them misses must not make the others' value that of all. A sum would count a replaced instance twice.
    """
    yield Record(
        "cognito_user_pool_state:state:max", f"max by ({POOL}, state) ({_last('cognito_user_pool_state', timing)})"
    )
    yield Record(
        "cognito_user_pool:refresh_interval_seconds:max",
        f"max by ({POOL}) ({_last('cognito_exporter_refresh_interval_seconds', timing)})",
    )
    yield Record(
        "cognito_user_pool:oldest_observation_timestamp_seconds:min",
        f"min by ({POOL}) ({_last('cognito_exporter_oldest_observation_timestamp_seconds', timing)})",
    )
    # 0, long ago, where a shard has had no success yet: the success of another must not hide that.
    yield Record(
        "cognito_user_pool:last_sweep_success_timestamp_seconds:min",
        f"min by ({POOL}) (\n"
        f"  {_last('cognito_exporter_last_sweep_success_timestamp_seconds', timing)}\n"
        f"  or 0 * {_last('cognito_user_pool_up', timing)}\n"
        f")",
    )
    # While the first sweep is under way, what remains of it is the best there is.
    yield Record(
        "cognito_user_pool:sweep_duration_seconds:max",
        f"max by ({POOL}) (\n"
        f"  {_last('cognito_exporter_last_sweep_duration_seconds', timing)}\n"
        f"  or {_last('cognito_exporter_sweep_remaining_seconds', timing)}\n"
        f")",
    )
    yield Record(
        "cognito_user_pool:sweep_failures:increase3h",
        f"sum by ({POOL}) (increase(cognito_exporter_sweep_failures_total[3h]))",
    )
    yield Record("cognito_user_pool:series_dropped:sum", f"sum by ({POOL}) (cognito_exporter_series_dropped)")
    yield Record(
        "cognito_target:aws_requests:rate15m",
        f"sum by ({TARGET}) (rate(cognito_exporter_aws_requests_total[15m]))",
    )
    yield Record(
        "cognito_target:aws_requests_throttled:ratio_rate15m",
        f'sum by ({TARGET}) (rate(cognito_exporter_aws_request_failures_total{{reason="throttled"}}[15m]))\n'
        f"/ (cognito_target:aws_requests:rate15m > 0)",
    )
    yield Record("cognito_exporter:shards:max", f"max by ({DEPLOYMENT}) ({_last('cognito_exporter_shards', timing)})")
    ordinals = _last("cognito_exporter_shard_ordinal", timing)
    yield Record(
        "cognito_exporter:shards_seen:count",
        f'count by ({DEPLOYMENT}) (\n  count_values by ({DEPLOYMENT}) ("shard_ordinal", {ordinals})\n)',
    )


def _last(series: str, timing: Timing) -> str:
    """The last known value of each series, though a scrape was missed meanwhile."""
    return f"last_over_time({series}[{timing.bridge}])"
