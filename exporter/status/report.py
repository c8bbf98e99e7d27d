"""Status report, built from published snapshots and the current time."""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from exporter.aws.api import RateLimiterState
from exporter.clock import Clock
from exporter.collect.snapshot import PoolData, PoolView, RuleState, SweepFailure, SweepProgress
from exporter.config import settings as config
from exporter.errors import Reason
from exporter.metrics import self_specs
from exporter.metrics.pool_specs import POOL
from exporter.metrics.self_metrics import SelfMetrics
from exporter.metrics.spec import SelfMetric
from exporter.metrics.text import clean
from exporter.model import PoolState, RememberedStatus
from exporter.shard import Shard
from exporter.status import document

OVERDUE_INTERVALS = 1.5
"""As in the alert CognitoDeviceSweepFailing."""

_STATES = tuple(PoolState)
_NEVER_OVERDUE = frozenset({PoolState.MISSING, PoolState.DENIED})


@dataclass(frozen=True, slots=True)
class StatusReporter:
    """Builds status reports. The callables return what is currently published."""

    settings: Callable[[], config.Settings]
    pools: Callable[[], Sequence[PoolView]]
    next_sweeps: Callable[[], Mapping[str, float]]
    """Wall time in seconds by pool."""
    rate_limits: Callable[[], Iterable[RateLimiterState]]
    self_metrics: SelfMetrics
    clock: Clock
    version: str
    revision: str
    shard: Shard
    started: float
    """Wall time in seconds."""
    rules: Callable[[], Sequence[RuleState]] = tuple
    """In the order of the configuration."""

    def report(self) -> document.Status:
        """Return the current status."""
        now = self.clock.wall()
        next_sweeps = self.next_sweeps()
        sweep_failures = self._failures_by_pool(self_specs.SWEEP_FAILURES)
        user_failures = self._failures_by_pool(self_specs.USER_READ_FAILURES)
        pools = [
            _pool(
                view,
                next_sweeps.get(view.settings.id),
                document.Failures(sweeps=sweep_failures[view.settings.id], users=user_failures[view.settings.id]),
                now,
            )
            for view in self.pools()
        ]
        pools.sort(key=_severity)
        rules = sorted(map(_rule, self.rules()), key=lambda rule: (rule.up, rule.reason is None))
        limits = sorted(
            map(_rate_limit, self.rate_limits()), key=lambda limit: (limit.aws_account_id, limit.aws_region)
        )
        return document.Status(
            schema_version=document.SCHEMA_VERSION,
            generated=_timestamp(now),
            build=document.Build(
                version=self.version, revision=self.revision, python_version=platform.python_version()
            ),
            process=self._process(now),
            configuration=self._configuration(),
            summary=_summary(pools, rules),
            pools=pools,
            discovery=rules,
            budgets=limits,
        )

    def _process(self, now: float) -> document.Process:
        return document.Process(
            started=_timestamp(self.started),
            uptime_seconds=round(max(0.0, now - self.started), 3),
            shard_ordinal=self.shard.ordinal,
            shards=self.shard.count,
            identity_exposed=bool(self._total(self_specs.IDENTITY_EXPOSED)),
            unexpected_failures=int(self._total(self_specs.UNEXPECTED_FAILURES)),
            state_errors=int(self._total(self_specs.STATE_ERRORS)),
        )

    def _configuration(self) -> document.Configuration:
        settings = self.settings()
        return document.Configuration(
            last_reload_successful=bool(self._total(self_specs.RELOAD_SUCCESSFUL)),
            loaded=_timestamp(self._total(self_specs.RELOAD_SUCCESS_TIMESTAMP)),
            series_limit=settings.limits.series,
            state_file=settings.state_path is not None,
            rates=[_rate(category, rate) for category, rate in settings.limits.rate.items()],
        )

    def _total(self, metric: SelfMetric) -> float:
        return sum(sample.value for sample in self.self_metrics.samples(metric))

    def _failures_by_pool(self, metric: SelfMetric) -> defaultdict[str, dict[Reason, int]]:
        failures: defaultdict[str, dict[Reason, int]] = defaultdict(dict)
        for sample in self.self_metrics.samples(metric):
            if sample.value:
                failures[sample.labels[POOL]][Reason(sample.labels["reason"])] = int(sample.value)
        return failures


def _timestamp(seconds: float) -> datetime:
    """Convert wall time in seconds to a UTC time in whole milliseconds."""
    return datetime.fromtimestamp(round(seconds, 3), UTC)


def _optional_timestamp(seconds: float | None) -> datetime | None:
    return None if seconds is None else _timestamp(seconds)


def _severity(pool: document.Pool) -> tuple[int, bool, bool, str, str]:
    """Return the sort key of a pool; the most severe sorts first."""
    return _STATES.index(pool.state), not pool.overdue, not pool.users_not_read, pool.name or "", pool.id


def _pool(view: PoolView, next_sweep: float | None, failures: document.Failures, now: float) -> document.Pool:
    description, failure = view.description, view.last_failure
    return document.Pool(
        id=view.settings.id,
        name=None if description is None else clean(description.name),
        aws_account_id=None if description is None else description.account_id,
        aws_region=view.settings.region,
        state=view.state,
        overdue=_is_overdue(view, now),
        device_tracking=None if description is None else description.tracking,
        mfa=None if description is None else description.mfa,
        mfa_bypass=None if description is None else description.mfa_bypass,
        estimated_users=None if description is None else description.estimated_users,
        users=None if view.data is None else view.data.users,
        devices=None if view.data is None else _devices(view.data),
        sweep=None if view.progress is None else _sweep(view.progress),
        next_sweep=_optional_timestamp(next_sweep),
        last_sweep_duration_seconds=None if view.last_sweep_seconds is None else round(view.last_sweep_seconds, 3),
        last_sweep_success=_optional_timestamp(view.last_success),
        oldest_observation=_optional_timestamp(view.oldest_observation),
        last_failure=None if failure is None else _failure(failure),
        users_not_read=view.users_not_read,
        failures_since_start=failures,
        settings=_pool_settings(view.settings),
    )


def _failure(failure: SweepFailure) -> document.Failure:
    return document.Failure(reason=failure.reason, time=_timestamp(failure.failed_at))


def _is_overdue(view: PoolView, now: float) -> bool:
    if view.last_success is None or view.state in _NEVER_OVERDUE:
        return False
    return now - view.last_success > OVERDUE_INTERVALS * view.settings.refresh_interval


def _devices(data: PoolData) -> document.Devices:
    counts = {status.value: data.devices.get(status, 0) for status in RememberedStatus}
    return document.Devices(total=sum(counts.values()), **counts)


def _sweep(progress: SweepProgress) -> document.Sweep:
    done, expected, remaining = progress.users_done, progress.users_expected, progress.remaining_seconds
    return document.Sweep(
        users_done=done,
        users_expected=expected,
        progress_ratio=None if expected is None else round(min(1.0, done / max(1, expected)), 4),
        remaining_seconds=None if remaining is None else round(remaining, 3),
    )


def _pool_settings(settings: config.PoolSettings) -> document.PoolSettings:
    return document.PoolSettings(
        refresh_interval_seconds=settings.refresh_interval,
        max_staleness_seconds=settings.max_staleness,
        stale_after=[threshold.label for threshold in settings.stale_after],
        detail=settings.detail.value,
        identity=settings.identity.value,
        users=_selection(settings.users),
        skip_federated_users=settings.skip_federated_users,
        device_age_series=settings.device_age_series,
        device_attributes=list(settings.device_attributes),
        assumes_role=settings.target.role_arn is not None,
        custom_endpoint=settings.target.endpoint_url is not None,
    )


def _selection(users: config.UserSelection) -> document.Selection:
    if users.usernames is not None:
        return document.Selection(kind="usernames", count=len(users.usernames))
    if users.groups is not None:
        return document.Selection(kind="groups", count=len(users.groups))
    return document.Selection(kind="everyone" if users.is_everyone else "filter", count=None)


def _rate(category: str, rate: float | config.Share) -> document.Rate:
    if isinstance(rate, config.Share):
        return document.Rate(category=category, requests_per_second=None, quota_share_ratio=rate.fraction)
    return document.Rate(category=category, requests_per_second=rate, quota_share_ratio=None)


def _rule(rule: RuleState) -> document.DiscoveryRule:
    return document.DiscoveryRule(
        index=int(rule.rule),
        aws_region=rule.region,
        pools=rule.pools,
        up=rule.up,
        last_success=_optional_timestamp(rule.last_success),
        reason=rule.reason,
    )


def _rate_limit(limit: RateLimiterState) -> document.RateLimit:
    return document.RateLimit(
        aws_account_id=limit.target.account_id,
        aws_region=limit.target.region,
        category=str(limit.category),
        used_requests_per_second=round(limit.used, 3),
        current_requests_per_second=round(limit.current, 3),
        configured_requests_per_second=round(limit.configured, 3),
        quota_requests_per_second=limit.quota,
        quota_provisioned=limit.provisioned,
    )


def _summary(pools: Sequence[document.Pool], rules: Sequence[document.DiscoveryRule]) -> document.Summary:
    by_state = dict.fromkeys(_STATES, 0)
    for pool in pools:
        by_state[pool.state] += 1
    return document.Summary(
        pools=len(pools),
        pools_by_state=by_state,
        pools_overdue=sum(pool.overdue for pool in pools),
        pools_sweeping=sum(pool.sweep is not None for pool in pools),
        discovery_rules=len({rule.index for rule in rules}),
        discovery_rules_failing=len({rule.index for rule in rules if rule.reason is not None}),
        users=sum(pool.users or 0 for pool in pools),
        devices=sum(pool.devices.total for pool in pools if pool.devices is not None),
    )
