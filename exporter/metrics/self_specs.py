"""Metrics of the exporter about itself."""

from __future__ import annotations

from enum import StrEnum

from exporter.metrics.pool_specs import POOL
from exporter.metrics.spec import (
    BudgetMetric,
    BudgetView,
    Group,
    Kind,
    OverShards,
    OwnMetric,
    RuleMetric,
    RuleView,
    Spec,
)

ACCOUNT, REGION = "aws_account_id", "aws_region"
TARGET = (ACCOUNT, REGION)
RULE = "rule"
PLACE = (RULE, REGION)

CALL_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
SCRAPE_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


CODES = (200, 400, 401, 403, 404, 405, 413, 429, 431, 500, 501, 503)
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
    SCRAPE = "scrape"
    WEB = "web"
    RELOAD = "reload"


def _spec(
    name: str,
    meaning: str,
    over_shards: OverShards,
    group: Group,
    labels: tuple[str, ...] = (),
    *,
    kind: Kind = Kind.GAUGE,
) -> Spec:
    return Spec(f"cognito_exporter_{name}", meaning, over_shards, group, labels, kind)


def _gauge(name: str, meaning: str, over_shards: OverShards, *labels: str) -> OwnMetric:
    return OwnMetric(_spec(name, meaning, over_shards, Group.SELF, labels))


def _counter(name: str, meaning: str, group: Group, *labels: str) -> OwnMetric:
    return OwnMetric(_spec(name, meaning, OverShards.SUM, group, labels, kind=Kind.COUNTER))


def _histogram(name: str, meaning: str, group: Group, buckets: tuple[float, ...], *labels: str) -> OwnMetric:
    return OwnMetric(_spec(name, meaning, OverShards.SUM, group, labels, kind=Kind.HISTOGRAM), buckets)


SWEEPS = _counter("sweeps_total", "Sweeps finished, whatever the outcome.", Group.SWEEP, POOL)
SWEEP_FAILURES = _counter(
    "sweep_failures_total",
    "Sweeps that failed as a whole; the pool keeps its last values.",
    Group.SWEEP,
    POOL,
    "reason",
)
SWEEP_OVERRUNS = _counter("sweep_overruns_total", "Sweeps still under way when the next was due.", Group.SWEEP, POOL)
SWEEP_RUNS_MISSED = _counter(
    "sweep_runs_missed_total", "Sweeps that were due and were not started in time.", Group.SWEEP, POOL
)
USER_READ_FAILURES = _counter(
    "user_read_failures_total",
    "Users that could not be read in a sweep and keep their last values; such a sweep is no success.",
    Group.SWEEP,
    POOL,
    "reason",
)
USERS_VANISHED = _counter(
    "users_vanished_total",
    "Users who are gone, which is no failure: deleted between being listed and being asked, or absent from a "
    "complete enumeration.",
    Group.SWEEP,
    POOL,
)
USERS_SKIPPED = _counter(
    "users_skipped_total",
    "Users not asked on purpose: federated ones have no devices.",
    Group.SWEEP,
    POOL,
    "reason",
)

DISCOVERY_FAILURES = _counter(
    "discovery_failures_total",
    "Looks for pools that could not see everything; the pools of the rule stay as they were.",
    Group.DISCOVERY,
    *PLACE,
    "reason",
)

AWS_REQUESTS = _counter(
    "aws_requests_total",
    "Requests to AWS that left the process, retries included.",
    Group.AWS,
    *TARGET,
    "operation",
)
AWS_REQUEST_FAILURES = _counter(
    "aws_request_failures_total",
    "Requests to AWS that failed, by reason, those included that failed before they left the process.",
    Group.AWS,
    *TARGET,
    "operation",
    "error",
)
AWS_REQUEST_DURATION = _histogram(
    "aws_request_duration_seconds",
    "How long requests to AWS took, failed ones included, waiting for their turn excluded.",
    Group.AWS,
    CALL_BUCKETS,
    *TARGET,
    "operation",
)
RATE_LIMIT_WAIT = _counter(
    "rate_limit_wait_seconds_total",
    "Time that requests waited for their turn in the rate budget, added up over all requests in parallel.",
    Group.AWS,
    *TARGET,
    "category",
)

BUILD_INFO = _gauge(
    "build_info",
    "Always 1; the labels say which version runs, built from which revision, on which Python.",
    OverShards.EACH,
    "version",
    "revision",
    "python_version",
)
RELOAD_SUCCESSFUL = _gauge(
    "config_last_reload_successful",
    "1 when the last attempt to load the configuration succeeded, else 0 and the one before is in force.",
    OverShards.MIN,
)
RELOAD_SUCCESS_TIMESTAMP = _gauge(
    "config_last_reload_success_timestamp_seconds", "When the configuration in force was loaded.", OverShards.MIN
)
IDENTITY_EXPOSED = _gauge(
    "identity_exposed",
    "1 when raw user names are served without authentication beyond loopback, else 0.",
    OverShards.MAX,
)
SHARDS = _gauge("shards", "Into how many shards the deployment is configured to be split.", OverShards.MAX)
SHARD_ORDINAL = _gauge("shard_ordinal", "Which of the shards this is, counted from 0.", OverShards.EACH)
STATE_ERRORS = _counter(
    "state_errors_total",
    "Failures to read or write the state file; the exporter goes on from memory.",
    Group.SELF,
)
SCRAPE_DURATION = _histogram(
    "scrape_duration_seconds",
    "How long pages took to render and compress, waiting for a rendering shared with others included; the page under "
    "way is not in it.",
    Group.SELF,
    SCRAPE_BUCKETS,
)
HTTP_REQUESTS = _counter(
    "http_requests_total",
    "HTTP requests that were answered, scrapes and probes included, by status: 401 without the name and password of a "
    "user, 403 where reloading over HTTP is off, 429 above the configured rate, 503 where too many ask at once or a "
    "probe fails.",
    Group.SELF,
    "code",
)
METRIC_FAILURES = _counter(
    "metric_failures_total",
    "Scrapes that left a metric out because computing it failed; the log has the cause.",
    Group.SELF,
    "metric",
)
UNEXPECTED_FAILURES = _counter(
    "unexpected_failures_total",
    "Errors that no part of the program foresaw, each in the log with its cause: please report them.",
    Group.SELF,
    "component",
)

OWN_METRICS: tuple[OwnMetric, ...] = (
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

SERIES_DROPPED = _spec(
    "series_dropped",
    "User and device series left out of this page because limits.series is reached; whole users are left out.",
    OverShards.SUM,
    Group.SELF,
    (POOL, "reason"),
)


def _configured(budget: BudgetView) -> float:
    return budget.configured


def _current(budget: BudgetView) -> float:
    return budget.current


def _quota(budget: BudgetView) -> float | None:
    return budget.quota


def _provisioned(budget: BudgetView) -> float:
    return float(budget.provisioned)


BUDGET_METRICS: tuple[BudgetMetric, ...] = (
    BudgetMetric(
        _spec(
            "rate_limit_configured_requests_per_second",
            "Requests per second that this process may make at most, by AWS quota category.",
            OverShards.SUM,
            Group.AWS,
            (*TARGET, "category"),
        ),
        _configured,
    ),
    BudgetMetric(
        _spec(
            "rate_limit_current_requests_per_second",
            "Requests per second that this process allows itself now: lowered while AWS throttles, restored after.",
            OverShards.SUM,
            Group.AWS,
            (*TARGET, "category"),
        ),
        _current,
    ),
    BudgetMetric(
        _spec(
            "quota_requests_per_second",
            "Requests per second that AWS grants to all callers of the account and Region together.",
            OverShards.MAX,
            Group.AWS,
            (*TARGET, "category"),
        ),
        _quota,
    ),
    BudgetMetric(
        _spec(
            "quota_provisioned",
            "1 where AWS has told the quota (GetProvisionedLimit, asked where a rate is a share of it), 0 where "
            "quota_requests_per_second is AWS's documented default.",
            OverShards.MAX,
            Group.AWS,
            (*TARGET, "category"),
        ),
        _provisioned,
    ),
)


def _up(rule: RuleView) -> float:
    return float(rule.up)


def _pools(rule: RuleView) -> float:
    return rule.pools


def _last_success(rule: RuleView) -> float | None:
    return rule.last_success


RULE_METRICS: tuple[RuleMetric, ...] = (
    RuleMetric(
        _spec(
            "discovery_up",
            "1 when the last look of a rule of discovery at a Region saw everything, else 0; the rule is its index in "
            "the configuration, counted from 0.",
            OverShards.MIN,
            Group.DISCOVERY,
            PLACE,
        ),
        _up,
    ),
    RuleMetric(
        _spec(
            "discovery_pools",
            "Pools that are read because a rule of discovery stands for them, and no entry of the configuration before "
            "it does.",
            OverShards.MAX,
            Group.DISCOVERY,
            PLACE,
        ),
        _pools,
    ),
    RuleMetric(
        _spec(
            "discovery_last_success_timestamp_seconds",
            "When the last look of a rule of discovery at a Region ended that saw everything; absent before the first.",
            OverShards.MIN,
            Group.DISCOVERY,
            PLACE,
        ),
        _last_success,
    ),
)
