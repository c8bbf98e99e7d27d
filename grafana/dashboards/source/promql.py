"""PromQL fragments.

Every query uses the exporter's own series, so the dashboards do not need the recording rules. Queries first aggregate
over shards, as each metric's HELP says, and join the pool name last.
"""

from __future__ import annotations

POOL = 'user_pool_id=~"$pool"'
REMEMBERED = 'remembered_status="remembered"'
TARGETS = 'job=~"$job", instance=~"$instance"'
OVER_THRESHOLD = 'threshold="$threshold"'

OK = 'state="ok"'
NOT_OK = 'state!="ok"'
WITH_PROBLEMS = 'state=~"missing|denied|failing"'

LIMIT = 10
"""Maximum number of pools in a graph."""

AT_END = " @ end()"

POOL_INFO = """(
  topk by (user_pool_id) (1, cognito_user_pool_info)
  or on (user_pool_id)
  label_replace(group by (user_pool_id) (cognito_user_pool_up), "user_pool_name", "$1", "user_pool_id", "(.+)")
)"""
"""1 per pool, with its name as a label, or its id if the name is not known."""

CUTOFF = "scalar(last_over_time(vector(time())[1s:1s] offset $threshold))"
"""Timestamp of $threshold ago. Prometheus before 3.0 supports durations only in offsets, not as numbers."""


def select(metric: str, *matchers: str, at: str = "") -> str:
    """Select the series of the selected pools."""
    return f"{metric}{{{', '.join((POOL, *matchers))}}}{at}"


def exporter_series(metric: str, *matchers: str) -> str:
    """Select the self-metrics of the selected exporters."""
    return f"{metric}{{{', '.join((TARGETS, *matchers))}}}"


def total(metric: str, *matchers: str) -> str:
    """Return the sum over all selected pools."""
    return f"sum({select(metric, *matchers)})"


def per_pool(metric: str, *matchers: str, at: str = "", over_shards: str = "sum") -> str:
    """Return one value per selected pool."""
    return f"{over_shards} by (user_pool_id) ({select(metric, *matchers, at=at)})"


def with_pool_name(expr: str) -> str:
    """Add the label user_pool_name to `expr`, which must have user_pool_id. Every pool is kept."""
    return f"({expr})\n* on (user_pool_id) group_left (user_pool_name) {POOL_INFO}"


def highest(expr: str, at_end: str) -> str:
    """Return the pools of `expr` that are highest at the end of the time range: the same pools in the whole graph.

    `at_end` is `expr` with `AT_END` after every selector.
    """
    return f"({expr})\nand on (user_pool_id) topk({LIMIT}, {at_end})"


def ratio(part: str, whole: str) -> str:
    """Divide `part` by `whole`. There is no value, not NaN, if the whole is 0."""
    return f"{part}\n/\n({whole} > 0)"


def growth(metric: str) -> str:
    """Return the growth of the selected pools over $interval."""
    return f"{total(metric)} - sum({select(metric, at=' offset $interval')})"


def devices(at: str = "") -> str:
    """Return the devices per pool."""
    return per_pool("cognito_user_pool_devices", at=at)


def stale_devices(at: str = "") -> str:
    """Return the devices per pool that are idle for longer than the selected threshold."""
    return per_pool("cognito_user_pool_stale_devices", OVER_THRESHOLD, at=at)


def stale_share(at: str = "") -> str:
    """Return the share of devices per pool that are idle for longer than the selected threshold."""
    return ratio(stale_devices(at), devices(at))


def mfa_bypass_devices(metric: str, *matchers: str) -> str:
    """Sum the remembered devices of `metric` in pools where a remembered device may skip the second factor."""
    remembered = per_pool(metric, REMEMBERED, *matchers)
    bypass = 'cognito_user_pool_info{mfa_bypass="true"}'
    return f"sum(\n  {remembered} and on (user_pool_id) {bypass}\n  or\n  0 * {remembered}\n)"


def pool_state() -> str:
    """Return 1 for the state of each pool, in the label `state`. A state other than `ok` of any shard wins."""
    states = "max by (user_pool_id, state)"
    not_ok = f"{states} ({select('cognito_user_pool_state', NOT_OK)}) == 1"
    all_ok = f"{states} ({select('cognito_user_pool_state', OK)}) == 1"
    return f"topk by (user_pool_id) (1, {not_ok} or on (user_pool_id) {all_ok})"


def unhealthy_pools() -> str:
    """Return the number of pools that are missing, denied or failing in any shard."""
    return f"sum(max by (user_pool_id) ({select('cognito_user_pool_state', WITH_PROBLEMS)}))"


def pool_info() -> str:
    """Return 1 per pool with its state and the labels of `cognito_user_pool_info`, if known."""
    labels = "user_pool_name, aws_account_id, aws_region, device_tracking, mfa, mfa_bypass"
    return f"{pool_state()}\n* on (user_pool_id) group_left ({labels}) {POOL_INFO}"


def data_age() -> str:
    """Return the age of the least recently refreshed user per pool, in seconds."""
    return f"time() - {per_pool('cognito_exporter_oldest_observation_timestamp_seconds', over_shards='min')}"


def data_age_in_intervals(at: str = "") -> str:
    """Return the age of the data per pool, as a multiple of its refresh interval."""
    observed = per_pool("cognito_exporter_oldest_observation_timestamp_seconds", at=at, over_shards="min")
    interval = per_pool("cognito_exporter_refresh_interval_seconds", at=at, over_shards="max")
    return f"(time() - {observed}) / {interval}"
