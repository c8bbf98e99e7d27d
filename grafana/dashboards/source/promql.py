"""The fragments that queries are put together from.

Every query reads the series that the exporter serves, so that the dashboards work without any recording rule. Values
are added up over shards first (the way that each metric's HELP names), and named last.
"""

from __future__ import annotations

POOL = 'user_pool_id=~"$pool"'
REMEMBERED = 'remembered_status="remembered"'
TARGETS = 'job=~"$job", instance=~"$instance"'
OVER_THRESHOLD = 'threshold="$threshold"'

OK = 'state="ok"'
NOT_OK = 'state!="ok"'
IN_TROUBLE = 'state=~"missing|denied|failing"'

LIMIT = 10
"""How many pools a graph shows at most."""

AT_END = " @ end()"

POOL_NAMES = """(
  topk by (user_pool_id) (1, cognito_user_pool_info)
  or on (user_pool_id)
  label_replace(group by (user_pool_id) (cognito_user_pool_up), "user_pool_name", "$1", "user_pool_id", "(.+)")
)"""
"""1 per pool with its name as a label; the id stands in for the name of a pool that was never described."""

CUTOFF = "scalar(last_over_time(vector(time())[1s:1s] offset $threshold))"
"""The moment that lies $threshold back. Prometheus before 3.0 knows durations in offsets only, not as numbers."""


def select(metric: str, *matchers: str, at: str = "") -> str:
    """The series of the chosen pools."""
    return f"{metric}{{{', '.join((POOL, *matchers))}}}{at}"


def own(metric: str, *matchers: str) -> str:
    """The series of the chosen exporters about themselves."""
    return f"{metric}{{{', '.join((TARGETS, *matchers))}}}"


def total(metric: str, *matchers: str) -> str:
    """One value for all chosen pools."""
    return f"sum({select(metric, *matchers)})"


def per_pool(metric: str, *matchers: str, at: str = "", over_shards: str = "sum") -> str:
    """One value for each chosen pool."""
    return f"{over_shards} by (user_pool_id) ({select(metric, *matchers, at=at)})"


def named(expr: str) -> str:
    """The same values with the label user_pool_name; `expr` keeps user_pool_id, and loses no pool."""
    return f"({expr})\n* on (user_pool_id) group_left (user_pool_name) {POOL_NAMES}"


def highest(expr: str, at_end: str) -> str:
    """The pools of `expr` that are highest at the end of the time range, so that the choice is one for the whole graph.

    `at_end` is `expr` with `AT_END` behind every selector.
    """
    return f"({expr})\nand on (user_pool_id) topk({LIMIT}, {at_end})"


def ratio(part: str, whole: str) -> str:
    """`part` of `whole`; nothing, rather than NaN, where the whole is 0."""
    return f"{part}\n/\n({whole} > 0)"


def growth(metric: str) -> str:
    """What the chosen pools gained against $interval before."""
    return f"{total(metric)} - sum({select(metric, at=' offset $interval')})"


def devices(at: str = "") -> str:
    """Devices per pool."""
    return per_pool("cognito_user_pool_devices", at=at)


def stale_devices(at: str = "") -> str:
    """Devices per pool that are idle beyond the chosen threshold."""
    return per_pool("cognito_user_pool_stale_devices", OVER_THRESHOLD, at=at)


def stale_share(at: str = "") -> str:
    """The share of devices per pool that are idle beyond the chosen threshold."""
    return ratio(stale_devices(at), devices(at))


def skipping_mfa(metric: str, *matchers: str) -> str:
    """Of the remembered devices of `metric`, those of pools where such a device may skip the second factor."""
    remembered = per_pool(metric, REMEMBERED, *matchers)
    bypass = 'cognito_user_pool_info{mfa_bypass="true"}'
    return f"sum(\n  {remembered} and on (user_pool_id) {bypass}\n  or\n  0 * {remembered}\n)"


def pool_state() -> str:
    """1 for the state of each pool, in the label `state`; the trouble of one shard counts more than the rest's `ok`."""
    states = "max by (user_pool_id, state)"
    not_ok = f"{states} ({select('cognito_user_pool_state', NOT_OK)}) == 1"
    all_ok = f"{states} ({select('cognito_user_pool_state', OK)}) == 1"
    return f"topk by (user_pool_id) (1, {not_ok} or on (user_pool_id) {all_ok})"


def pools_in_trouble() -> str:
    """How many pools are missing, denied or failing, as any shard sees them."""
    return f"sum(max by (user_pool_id) ({select('cognito_user_pool_state', IN_TROUBLE)}))"


def described_pools() -> str:
    """1 per pool with its state and everything in `cognito_user_pool_info` as labels; undescribed pools included."""
    labels = "user_pool_name, aws_account_id, aws_region, device_tracking, mfa, mfa_bypass"
    return f"{pool_state()}\n* on (user_pool_id) group_left ({labels}) {POOL_NAMES}"


def data_age() -> str:
    """Seconds since the user read longest ago was read, per pool: how old the shown values can be."""
    return f"time() - {per_pool('cognito_exporter_oldest_observation_timestamp_seconds', over_shards='min')}"


def data_age_in_intervals(at: str = "") -> str:
    """The age of the data per pool as a multiple of its refresh interval."""
    observed = per_pool("cognito_exporter_oldest_observation_timestamp_seconds", at=at, over_shards="min")
    interval = per_pool("cognito_exporter_refresh_interval_seconds", at=at, over_shards="max")
    return f"(time() - {observed}) / {interval}"
