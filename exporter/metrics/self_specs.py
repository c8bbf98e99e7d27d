"""Metrics of the exporter about itself."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from operator import attrgetter, itemgetter

from exporter.aws.api import RateLimiterState
from exporter.collect.snapshot import RuleState
from exporter.metrics.pool_specs import POOL
from exporter.metrics.spec import (
    DocSection,
    MetricType,
    SelfMetric,
    ShardAggregation,
    Spec,
    StateMetric,
)

ACCOUNT, REGION = "aws_account_id", "aws_region"
TARGET_LABELS = (ACCOUNT, REGION)
RULE = "rule"
RULE_LABELS = (RULE, REGION)

REQUEST_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SCRAPE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


STATUS_CODES = (200, 400, 401, 403, 404, 405, 413, 429, 431, 500, 501, 503)
"""Status codes of the web server's responses."""


class SkipReason(StrEnum):
    """Reason for which a user is skipped on purpose."""

    FEDERATED = "federated"


class DropReason(StrEnum):
    """Reason for which series are not on the page."""

    SERIES_LIMIT = "series_limit"


class Component(StrEnum):
    """Component in which an unexpected error occurred."""

    SWEEP = "sweep"
    DISCOVERY = "discovery"
    SCHEDULE = "schedule"
    WEB = "web"
    RELOAD = "reload"


def _spec(
    name: str,
    description: str,
    shard_aggregation: ShardAggregation,
    section: DocSection,
    labels: tuple[str, ...] = (),
    *,
    metric_type: MetricType = MetricType.GAUGE,
) -> Spec:
    return Spec(f"cognito_exporter_{name}", description, shard_aggregation, section, labels, metric_type)


def _gauge(name: str, description: str, shard_aggregation: ShardAggregation, *labels: str) -> SelfMetric:
    return SelfMetric(_spec(name, description, shard_aggregation, DocSection.SELF, labels))


def _counter(name: str, description: str, section: DocSection, *labels: str) -> SelfMetric:
    return SelfMetric(_spec(name, description, ShardAggregation.SUM, section, labels, metric_type=MetricType.COUNTER))


def _histogram(
    name: str, description: str, section: DocSection, buckets: tuple[float, ...], *labels: str
) -> SelfMetric:
    return SelfMetric(
        _spec(name, description, ShardAggregation.SUM, section, labels, metric_type=MetricType.HISTOGRAM), buckets
    )


SWEEPS = _counter("sweeps_total", "Total number of finished sweeps, successful or not.", DocSection.SWEEP, POOL)
SWEEP_FAILURES = _counter(
    "sweep_failures_total",
    "Total number of sweeps that ended before every user was processed, by reason.",
    DocSection.SWEEP,
    POOL,
    "reason",
)
SWEEP_OVERRUNS = _counter(
    "sweep_overruns_total",
    "Total number of sweeps still in progress when the next sweep was due.",
    DocSection.SWEEP,
    POOL,
)
SWEEP_RUNS_MISSED = _counter(
    "sweep_runs_missed_total", "Total number of sweeps that were due but not started in time.", DocSection.SWEEP, POOL
)
USER_READ_FAILURES = _counter(
    "user_read_failures_total",
    "Total number of users that a sweep could not read, by reason. These users keep their last values, and the time "
    "of the last successful sweep does not change.",
    DocSection.SWEEP,
    POOL,
    "reason",
)
USERS_VANISHED = _counter(
    "users_vanished_total",
    "Total number of users that were not found when read, or were absent from a complete listing. Their values are "
    "removed. This does not count as a failure.",
    DocSection.SWEEP,
    POOL,
)
USERS_SKIPPED = _counter(
    "users_skipped_total",
    "Total number of users skipped on purpose, by reason. Federated users have no devices.",
    DocSection.SWEEP,
    POOL,
    "reason",
)

DISCOVERY_FAILURES = _counter(
    "discovery_failures_total",
    "Total number of discovery runs that could not list or describe every pool, by reason. Previously discovered pools "
    "are kept.",
    DocSection.DISCOVERY,
    *RULE_LABELS,
    "reason",
)

AWS_REQUESTS = _counter(
    "aws_requests_total",
    "Total number of requests sent to AWS, including retries.",
    DocSection.AWS,
    *TARGET_LABELS,
    "operation",
)
AWS_REQUEST_FAILURES = _counter(
    "aws_request_failures_total",
    "Total number of failed requests to AWS, by reason, including requests that failed before they were sent.",
    DocSection.AWS,
    *TARGET_LABELS,
    "operation",
    "reason",
)
AWS_REQUEST_DURATION = _histogram(
    "aws_request_duration_seconds",
    "Duration of requests to AWS in seconds, including failed requests, without the wait for the rate limiter.",
    DocSection.AWS,
    REQUEST_BUCKETS,
    *TARGET_LABELS,
    "operation",
)
RATE_LIMIT_WAIT = _counter(
    "rate_limit_wait_seconds_total",
    "Total time in seconds that requests waited for the rate limiter, summed over concurrent requests.",
    DocSection.AWS,
    *TARGET_LABELS,
    "category",
)

BUILD_INFO = _gauge(
    "build_info",
    "Build information, always 1: version and revision of the exporter, and version of Python.",
    ShardAggregation.EACH,
    "version",
    "revision",
    "python_version",
)
RELOAD_SUCCESSFUL = _gauge(
    "config_last_reload_successful",
    "1 if the last attempt to load the configuration succeeded, else 0. After a failure, the previous configuration "
    "remains active.",
    ShardAggregation.MIN,
)
RELOAD_SUCCESS_TIMESTAMP = _gauge(
    "config_last_reload_success_timestamp_seconds",
    "Unix time at which the active configuration was loaded.",
    ShardAggregation.MIN,
)
IDENTITY_EXPOSED = _gauge(
    "identity_exposed",
    "1 if raw user names are served without authentication beyond loopback, else 0.",
    ShardAggregation.MAX,
)
SHARDS = _gauge("shards", "Configured number of shards of the deployment.", ShardAggregation.MAX)
SHARD_ORDINAL = _gauge("shard_ordinal", "Ordinal of this shard, counted from 0.", ShardAggregation.EACH)
STATE_ERRORS = _counter(
    "state_errors_total",
    "Total number of failures to read or write the state file. The exporter continues from memory.",
    DocSection.SELF,
)
SCRAPE_DURATION = _histogram(
    "scrape_duration_seconds",
    "Time in seconds to render and compress /metrics, including the wait for a shared rendering. The scrape in "
    "progress is not included.",
    DocSection.SELF,
    SCRAPE_BUCKETS,
)
HTTP_REQUESTS = _counter(
    "http_requests_total",
    "Total number of HTTP responses by status code, including scrapes and probes.",
    DocSection.SELF,
    "code",
)
METRIC_FAILURES = _counter(
    "metric_failures_total",
    "Total number of scrapes that omitted the metric because computing it failed. The log has the cause.",
    DocSection.SELF,
    "metric",
)
UNEXPECTED_FAILURES = _counter(
    "unexpected_failures_total",
    "Total number of unexpected errors, by component. The log has the exception.",
    DocSection.SELF,
    "component",
)

SELF_METRICS: tuple[SelfMetric, ...] = (
    SWEEPS,
    SWEEP_FAILURES,
    SWEEP_OVERRUNS,
    SWEEP_RUNS_MISSED,
    USER_READ_FAILURES,
    USERS_VANISHED,
    USERS_SKIPPED,
    DISCOVERY_FAILURES,
    AWS_REQUESTS,
    AWS_REQUEST_FAILURES,
    AWS_REQUEST_DURATION,
    RATE_LIMIT_WAIT,
    BUILD_INFO,
    RELOAD_SUCCESSFUL,
    RELOAD_SUCCESS_TIMESTAMP,
    IDENTITY_EXPOSED,
    SHARDS,
    SHARD_ORDINAL,
    STATE_ERRORS,
    SCRAPE_DURATION,
    HTTP_REQUESTS,
    METRIC_FAILURES,
    UNEXPECTED_FAILURES,
)

SERIES_DROPPED: StateMetric[tuple[str, int]] = StateMetric(
    _spec(
        "series_dropped",
        "Number of user and device series omitted from this page because limits.series is reached. A user is omitted "
        "with all its series.",
        ShardAggregation.SUM,
        DocSection.SELF,
        (POOL, "reason"),
    ),
    lambda dropped: (dropped[0], DropReason.SERIES_LIMIT.value),
    itemgetter(1),
)
"""Metric of pairs of pool id and number of series."""


def _rate_limit(
    name: str, description: str, shard_aggregation: ShardAggregation, value: Callable[[RateLimiterState], float | None]
) -> StateMetric[RateLimiterState]:
    spec = _spec(name, description, shard_aggregation, DocSection.AWS, (*TARGET_LABELS, "category"))
    return StateMetric(spec, lambda limit: (limit.target.account_id, limit.target.region, limit.category), value)


RATE_LIMIT_METRICS: tuple[StateMetric[RateLimiterState], ...] = (
    _rate_limit(
        "rate_limit_configured_requests_per_second",
        "Configured rate limit of this process in requests per second, by AWS quota category.",
        ShardAggregation.SUM,
        attrgetter("configured"),
    ),
    _rate_limit(
        "rate_limit_current_requests_per_second",
        "Current rate limit of this process in requests per second, by AWS quota category. Lowered while AWS "
        "throttles, then restored gradually.",
        ShardAggregation.SUM,
        attrgetter("current"),
    ),
    _rate_limit(
        "quota_requests_per_second",
        "Quota of the account and Region in requests per second, shared by all callers, by AWS quota category.",
        ShardAggregation.MAX,
        attrgetter("quota"),
    ),
    _rate_limit(
        "quota_provisioned",
        "1 if the quota was read from AWS, 0 if it is the documented default.",
        ShardAggregation.MAX,
        attrgetter("provisioned"),
    ),
)


def _rule(
    name: str, description: str, shard_aggregation: ShardAggregation, value: Callable[[RuleState], float | None]
) -> StateMetric[RuleState]:
    spec = _spec(name, description, shard_aggregation, DocSection.DISCOVERY, RULE_LABELS)
    return StateMetric(spec, lambda rule: (rule.rule, rule.region), value)


RULE_METRICS: tuple[StateMetric[RuleState], ...] = (
    _rule(
        "discovery_up",
        "1 if the last discovery run of the rule in the Region could list and describe every pool, else 0. The label "
        "rule is the index of the rule in the configuration, counted from 0.",
        ShardAggregation.MIN,
        attrgetter("up"),
    ),
    _rule(
        "discovery_pools",
        "Number of pools read because of the discovery rule. Pools of explicit entries or earlier rules are not "
        "counted.",
        ShardAggregation.MAX,
        attrgetter("pools"),
    ),
    _rule(
        "discovery_last_success_timestamp_seconds",
        "Unix time of the end of the last discovery run of the rule in the Region that could list and describe every "
        "pool. Absent before the first such run.",
        ShardAggregation.MIN,
        attrgetter("last_success"),
    ),
)
