"""Metrics of a pool, each a pure function of the pool's view and the current time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import attrgetter

from prometheus_client.utils import floatToGoString

from exporter.collect.snapshot import PoolView
from exporter.metrics.spec import DocSection, MetricType, PoolMetric, Sample, ShardAggregation, Spec
from exporter.model import DateSource, PoolState, RememberedStatus

POOL = "user_pool_id"

HOUR, DAY = 3600, 86400

AGE_BOUNDS = (HOUR, DAY, 7 * DAY, 14 * DAY, 30 * DAY, 60 * DAY, 90 * DAY, 180 * DAY, 365 * DAY)
"""Upper bounds of the age histogram, in seconds."""

DEVICES_PER_USER_BOUNDS = (0, 1, 2, 3, 5, 10, 20, 50)


def _gauge(read: Callable[[PoolView], float | None]) -> Callable[[PoolView, int], Iterable[Sample]]:
    """Return the samples function of a gauge without further labels. There is no sample if `read` returns None."""

    def samples(view: PoolView, _now_ms: int) -> Iterable[Sample]:
        value = read(view)
        return () if value is None else (Sample(value),)

    return samples


def _info(view: PoolView, _now_ms: int) -> Iterator[Sample]:
    pool = view.description
    if pool is not None:
        bypass = "true" if pool.mfa_bypass else "false"
        account = pool.account_id or "unknown"
        yield Sample(1, (pool.name, account, pool.region, pool.tracking.value, pool.mfa.value, bypass))


def _state(view: PoolView, _now_ms: int) -> Iterator[Sample]:
    for state in PoolState:
        yield Sample(view.state is state, (state.value,))


def _devices(view: PoolView, _now_ms: int) -> Iterator[Sample]:
    if view.data is not None:
        for status in RememberedStatus:
            yield Sample(view.data.devices.get(status, 0), (status.value,))


def _date_sources(view: PoolView, _now_ms: int) -> Iterator[Sample]:
    if view.data is not None:
        for source in DateSource:
            yield Sample(view.data.date_sources.get(source, 0), (source.value,))


def _stale(view: PoolView, now_ms: int) -> Iterator[Sample]:
    if view.data is not None:
        for threshold in view.settings.stale_after:
            cutoff_ms = now_ms - threshold.seconds * 1000
            for status in RememberedStatus:
                yield Sample(view.data.activity[status].count_before(cutoff_ms), (threshold.label, status.value))


def _ages(view: PoolView, now_ms: int) -> Iterable[Sample]:
    if view.data is None:
        return ()
    indexes = view.data.activity.values()
    total = sum(len(index) for index in indexes)
    # Bounds are inclusive and a timestamp in the future has age 0, so only strictly older devices are subtracted.
    counts = {
        bound: total - sum(index.count_before(now_ms - bound * 1000) for index in indexes) for bound in AGE_BOUNDS
    }
    return _histogram(counts, total, sum(index.age_sum_ms(now_ms) for index in indexes) / 1000)


def _devices_per_user(view: PoolView, _now_ms: int) -> Iterable[Sample]:
    if view.data is None:
        return ()
    users_by_devices = view.data.devices_per_user
    counts = {
        bound: sum(users for devices, users in users_by_devices.items() if devices <= bound)
        for bound in DEVICES_PER_USER_BOUNDS
    }
    return _histogram(
        counts, sum(users_by_devices.values()), sum(devices * users for devices, users in users_by_devices.items())
    )


def _histogram(counts: Mapping[int, int], total: int, sum_of_values: float) -> Iterator[Sample]:
    """Yield the samples of a histogram, given the cumulative count of each inclusive upper bound."""
    for bound, count in counts.items():
        # prometheus_client's helper has no annotations.
        yield Sample(count, suffix="_bucket", le=floatToGoString(bound))  # type: ignore[no-untyped-call]
    yield Sample(total, suffix="_bucket", le="+Inf")
    yield Sample(total, suffix="_gcount")
    yield Sample(sum_of_values, suffix="_gsum")


def _progress(view: PoolView) -> float | None:
    sweep = view.progress
    if sweep is None or sweep.users_expected is None:
        return None
    return min(1.0, sweep.users_done / max(1, sweep.users_expected))


def _in_seconds(millis: int | None) -> float | None:
    return None if millis is None else millis / 1000


def _pool(
    name: str,
    description: str,
    shard_aggregation: ShardAggregation,
    *labels: str,
    metric_type: MetricType = MetricType.GAUGE,
) -> Spec:
    return Spec(
        f"cognito_user_pool_{name}", description, shard_aggregation, DocSection.POOL, (POOL, *labels), metric_type
    )


def _sweep(name: str, description: str, shard_aggregation: ShardAggregation) -> Spec:
    return Spec(f"cognito_exporter_{name}", description, shard_aggregation, DocSection.SWEEP, (POOL,))


POOL_METRICS: tuple[PoolMetric, ...] = (
    PoolMetric(
        _pool(
            "info",
            "Information about the pool, always 1: its name, account, Region, device tracking (off, opt_in, always), "
            "MFA (off, optional, on), and whether a remembered device can skip MFA. Absent until the pool is "
            "described.",
            ShardAggregation.MAX,
            "user_pool_name",
            "aws_account_id",
            "aws_region",
            "device_tracking",
            "mfa",
            "mfa_bypass",
        ),
        _info,
    ),
    PoolMetric(
        _pool(
            "up",
            "0 if the pool is missing, denied or failing, or has not been contacted yet, else 1.",
            ShardAggregation.MIN,
        ),
        _gauge(attrgetter("up")),
    ),
    PoolMetric(
        _pool(
            "state",
            "State of the pool: 1 for the current state, 0 for all others. If several apply, the first of missing, "
            "denied, failing, tracking_off, unread and ok is current.",
            ShardAggregation.MAX,
            "state",
        ),
        _state,
    ),
    PoolMetric(
        _pool("estimated_users", "Number of users in the pool as estimated by Cognito.", ShardAggregation.MAX),
        _gauge(lambda view: None if view.description is None else view.description.estimated_users),
    ),
    PoolMetric(
        _pool("users", "Number of users observed, limited to the configured user selection.", ShardAggregation.SUM),
        _gauge(lambda view: None if view.data is None else view.data.users),
    ),
    PoolMetric(
        _pool(
            "devices",
            "Number of devices recorded for the observed users, by remembered status. The status is unknown if Cognito "
            "does not report it.",
            ShardAggregation.SUM,
            "remembered_status",
        ),
        _devices,
    ),
    PoolMetric(
        _pool(
            "devices_by_date_source",
            "Number of devices by the date from which their age is computed: authenticated (last authentication), "
            "created (creation, if Cognito reports no last authentication) or none (neither date, so no age).",
            ShardAggregation.SUM,
            "date_source",
        ),
        _date_sources,
    ),
    PoolMetric(
        _pool(
            "stale_devices",
            "Number of devices idle for strictly longer than the threshold at scrape time. Thresholds are cumulative: "
            "do not sum over them.",
            ShardAggregation.SUM,
            "threshold",
            "remembered_status",
        ),
        _stale,
    ),
    PoolMetric(
        _pool(
            "device_last_authentication_age_seconds",
            "Time in seconds since the last authentication of each device, or since its creation if Cognito reports no "
            "last authentication, computed at scrape time.",
            ShardAggregation.SUM,
            metric_type=MetricType.GAUGE_HISTOGRAM,
        ),
        _ages,
    ),
    PoolMetric(
        _pool(
            "devices_per_user",
            "Number of devices per user, including users without devices.",
            ShardAggregation.SUM,
            metric_type=MetricType.GAUGE_HISTOGRAM,
        ),
        _devices_per_user,
    ),
    PoolMetric(
        _pool(
            "oldest_device_authentication_timestamp_seconds",
            "Unix time of the last authentication of the device that has been idle longest, or of its creation if it "
            "has no last authentication. Absent if no device has a date.",
            ShardAggregation.MIN,
        ),
        _gauge(lambda view: None if view.data is None else _in_seconds(view.data.oldest_ms)),
    ),
    PoolMetric(
        _pool(
            "newest_device_authentication_timestamp_seconds",
            "Unix time of the last authentication of the most recently used device, or of its creation if it has no "
            "last authentication. Absent if no device has a date.",
            ShardAggregation.MAX,
        ),
        _gauge(lambda view: None if view.data is None else _in_seconds(view.data.newest_ms)),
    ),
    PoolMetric(
        _sweep(
            "refresh_interval_seconds",
            "Configured time in seconds from the start of one sweep of the pool to the start of the next.",
            ShardAggregation.MAX,
        ),
        _gauge(lambda view: view.settings.refresh_interval),
    ),
    PoolMetric(
        _sweep("last_sweep_duration_seconds", "Duration of the last finished sweep in seconds.", ShardAggregation.MAX),
        _gauge(attrgetter("last_sweep_seconds")),
    ),
    PoolMetric(
        _sweep(
            "last_sweep_success_timestamp_seconds",
            "Unix time of the end of the last sweep that read every user or found device tracking off. Absent before "
            "the first such sweep.",
            ShardAggregation.MIN,
        ),
        _gauge(attrgetter("last_success")),
    ),
    PoolMetric(
        _sweep(
            "oldest_observation_timestamp_seconds",
            "Unix time of the least recent read of any user of the pool: all exposed data is at least as recent. "
            "Absent if no user data is exposed.",
            ShardAggregation.MIN,
        ),
        _gauge(attrgetter("oldest_observation")),
    ),
    PoolMetric(
        _sweep(
            "sweep_progress_ratio",
            "Fraction of the expected number of users that the sweep in progress has processed, from 0 to 1. Absent if "
            "no sweep is in progress or no number is known.",
            ShardAggregation.MIN,
        ),
        _gauge(_progress),
    ),
    PoolMetric(
        _sweep(
            "sweep_remaining_seconds",
            "Estimated remaining time of the sweep in progress in seconds. Absent if no sweep is in progress or there "
            "is no estimate.",
            ShardAggregation.MAX,
        ),
        _gauge(lambda view: None if view.progress is None else view.progress.remaining_seconds),
    ),
)
