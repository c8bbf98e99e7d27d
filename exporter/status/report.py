"""The status of exporter and pools as a pure function of what others have published, and the time."""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from exporter.clock import Clock
from exporter.collect.snapshot import PoolData, PoolView, SweepFailure, SweepProgress
from exporter.config import settings as config
from exporter.errors import Reason
from exporter.metrics import self_specs as own_metrics
from exporter.metrics.pool_specs import POOL
from exporter.metrics.self_metrics import SelfMetrics
from exporter.metrics.spec import RateLimitView, RuleView, SelfMetric
from exporter.metrics.text import clean
from exporter.model import PoolState, RememberedStatus
from exporter.shard import Shard
from exporter.status import document as status

OVERDUE_INTERVALS = 1.5
"""As in the alert CognitoDeviceSweepFailing."""

_STATES = tuple(PoolState)
_NOT_OVERDUE = frozenset({PoolState.MISSING, PoolState.DENIED})


class Budget(RateLimitView, Protocol):
    """A rate budget as it stands now."""

    @property
    def used(self) -> float:
        """Requests per second over the last seconds."""
        ...


class Rule(RuleView, Protocol):
    """A rule of discovery in one Region as it stands now."""

    @property
    def reason(self) -> Reason | None:
        """Why the last look did not see everything; None when it did, and before the first."""
        ...


@dataclass(frozen=True, slots=True)
class Sources:
    """Who knows what stands in the status; asked anew each time."""

    settings: Callable[[], config.Settings]
    views: Callable[[], Sequence[PoolView]]
    next_sweeps: Callable[[], Mapping[str, float]]
    """By pool: wall time in seconds."""
    budgets: Callable[[], Iterable[Budget]]
    own: SelfMetrics
    clock: Clock
    version: str
    revision: str
    shard: Shard
    started: float
    """Wall time in seconds."""
    rules: Callable[[], Sequence[Rule]] = tuple
    """In the order of the configuration."""

    def report(self) -> status.Status:
        """The status now."""
        now = self.clock.wall()
        counted = _Counted(self.own)
        due = self.next_sweeps()
        pools = [_pool(view, counted, due.get(view.settings.id), now) for view in self.views()]
        pools.sort(key=_worst_first)
        rules = sorted(map(_rule, self.rules()), key=lambda one: (one.up, one.reason is None))
        return status.Status(
            schema_version=status.SCHEMA_VERSION,
            generated=moment(now),
            build=status.Build(version=self.version, revision=self.revision, python_version=platform.python_version()),
            process=self._process(counted, now),
            configuration=_configuration(self.settings(), counted),
            summary=_summary(pools, rules),
            pools=pools,
            discovery=rules,
            budgets=sorted(map(_budget, self.budgets()), key=lambda one: (one.aws_account_id, one.aws_region)),
        )

    def _process(self, counted: _Counted, now: float) -> status.Process:
        return status.Process(
            started=moment(self.started),
            uptime_seconds=round(max(0.0, now - self.started), 3),
            shard_ordinal=self.shard.ordinal,
            shards=self.shard.count,
            identity_exposed=bool(counted.total(own_metrics.IDENTITY_EXPOSED)),
            unexpected_failures=int(counted.total(own_metrics.UNEXPECTED_FAILURES)),
            state_errors=int(counted.total(own_metrics.STATE_ERRORS)),
        )


class _Counted:
    """What the exporter has counted about itself, read once."""

    def __init__(self, own: SelfMetrics) -> None:
        self._collectors = dict(own.collectors)
        self._sweeps = self._by_pool(own_metrics.SWEEP_FAILURES)
        self._users = self._by_pool(own_metrics.USER_READ_FAILURES)

    def total(self, metric: SelfMetric) -> float:
        """The sum over all samples."""
        return sum(value for _, value in self._samples(metric))

    def failures(self, pool_id: str) -> status.Failures:
        """Those of one pool."""
        return status.Failures(sweeps=self._sweeps.get(pool_id, {}), users=self._users.get(pool_id, {}))

    def _by_pool(self, metric: SelfMetric) -> dict[str, dict[Reason, int]]:
        found: dict[str, dict[Reason, int]] = defaultdict(dict)
        for labels, value in self._samples(metric):
            if value:
                found[labels[POOL]][Reason(labels["reason"])] = int(value)
        return found

    def _samples(self, metric: SelfMetric) -> Iterable[tuple[Mapping[str, str], float]]:
        name = metric.spec.name
        for family in self._collectors[name].collect():
            for sample in family.samples:
                if sample.name == name:  # and not when it was created
                    yield sample.labels, sample.value


def moment(seconds: float) -> datetime:
    """Wall time in seconds as a date, in whole milliseconds: nothing here is known more exactly."""
    return datetime.fromtimestamp(round(seconds, 3), UTC)


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else moment(seconds)


def _worst_first(pool: status.Pool) -> tuple[int, bool, bool, str, str]:
    return _STATES.index(pool.state), not pool.overdue, not pool.users_not_read, pool.name or "", pool.id


def _pool(view: PoolView, counted: _Counted, due: float | None, now: float) -> status.Pool:
    seen, failure = view.description, view.last_failure
    return status.Pool(
        id=view.settings.id,
        name=None if seen is None else clean(seen.name),
        aws_account_id=None if seen is None else seen.account_id,
        aws_region=view.settings.region,
        state=view.state,
        overdue=_is_overdue(view, now),
        device_tracking=None if seen is None else seen.tracking,
        mfa=None if seen is None else seen.mfa,
        mfa_bypass=None if seen is None else seen.mfa_bypass,
        estimated_users=None if seen is None else seen.estimated_users,
        users=None if view.data is None else view.data.users,
        devices=None if view.data is None else _devices(view.data),
        sweep=None if view.progress is None else _sweep(view.progress),
        next_sweep=_moment(due),
        last_sweep_duration_seconds=None if view.last_sweep_seconds is None else round(view.last_sweep_seconds, 3),
        last_sweep_success=_moment(view.last_success),
        oldest_observation=_moment(view.oldest_observation),
        last_failure=None if failure is None else _failure(failure),
        users_not_read=view.users_not_read,
        failures_since_start=counted.failures(view.settings.id),
        settings=_pool_settings(view.settings),
    )


def _is_overdue(view: PoolView, now: float) -> bool:
    if view.last_success is None or view.state in _NOT_OVERDUE:
        return False
    return now - view.last_success > OVERDUE_INTERVALS * view.settings.refresh_interval


def _devices(data: PoolData) -> status.Devices:
    counts = {state.value: data.devices.get(state, 0) for state in RememberedStatus}
    return status.Devices(total=sum(counts.values()), **counts)


def _sweep(progress: SweepProgress) -> status.Sweep:
    done, expected, remaining = progress.users_done, progress.users_expected, progress.remaining_seconds
    return status.Sweep(
        users_done=done,
        users_expected=expected,
        progress_ratio=None if expected is None else round(min(1.0, done / max(1, expected)), 4),
        remaining_seconds=None if remaining is None else round(remaining, 3),
    )


def _failure(failure: SweepFailure) -> status.Failure:
    return status.Failure(reason=failure.reason, time=moment(failure.moment))


def _pool_settings(settings: config.PoolSettings) -> status.PoolSettings:
    return status.PoolSettings(
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


def _selection(users: config.UserSelection) -> status.Selection:
    if users.usernames is not None:
        return status.Selection(kind="usernames", count=len(users.usernames))
    if users.groups is not None:
        return status.Selection(kind="groups", count=len(users.groups))
    return status.Selection(kind="everyone" if users.is_everyone else "filter", count=None)


def _configuration(settings: config.Settings, counted: _Counted) -> status.Configuration:
    return status.Configuration(
        last_reload_successful=bool(counted.total(own_metrics.RELOAD_SUCCESSFUL)),
        loaded=moment(counted.total(own_metrics.RELOAD_SUCCESS_TIMESTAMP)),
        series_limit=settings.limits.series,
        state_file=settings.state_path is not None,
        rates=[_rate(category, rate) for category, rate in settings.limits.rate.items()],
    )


def _rate(category: str, rate: float | config.Share) -> status.Rate:
    if isinstance(rate, config.Share):
        return status.Rate(category=category, requests_per_second=None, quota_share_ratio=rate.fraction)
    return status.Rate(category=category, requests_per_second=rate, quota_share_ratio=None)


def _rule(rule: Rule) -> status.Rule:
    return status.Rule(
        index=int(rule.rule),
        aws_region=rule.region,
        pools=rule.pools,
        up=rule.up,
        last_success=_moment(rule.last_success),
        reason=rule.reason,
    )


def _summary(pools: Sequence[status.Pool], rules: Sequence[status.Rule]) -> status.Summary:
    by_state = dict.fromkeys(_STATES, 0)
    for pool in pools:
        by_state[pool.state] += 1
    return status.Summary(
        pools=len(pools),
        pools_by_state=by_state,
        pools_overdue=sum(pool.overdue for pool in pools),
        pools_sweeping=sum(pool.sweep is not None for pool in pools),
        discovery_rules=len({rule.index for rule in rules}),
        discovery_rules_failing=len({rule.index for rule in rules if rule.reason is not None}),
        users=sum(pool.users or 0 for pool in pools),
        devices=sum(pool.devices.total for pool in pools if pool.devices is not None),
    )


def _budget(budget: Budget) -> status.Budget:
    return status.Budget(
        aws_account_id=budget.target.account_id,
        aws_region=budget.target.region,
        category=str(budget.category),
        used_requests_per_second=round(budget.used, 3),
        current_requests_per_second=round(budget.current, 3),
        configured_requests_per_second=round(budget.configured, 3),
        quota_requests_per_second=budget.quota,
        quota_provisioned=budget.provisioned,
    )
