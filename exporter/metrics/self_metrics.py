"""The exporter's metrics about itself, updated by observer calls from aws and collect."""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterable
from threading import Lock

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.samples import Sample

from exporter.aws.api import Category, Operation
from exporter.errors import Reason
from exporter.metrics import self_specs as specs
from exporter.metrics.catalog import CATALOG
from exporter.metrics.pool_specs import POOL
from exporter.metrics.spec import MetricType, SelfMetric
from exporter.observers import Target

_REASONS = tuple(reason.value for reason in Reason)

_SWEEP_OPERATIONS = (Operation.DESCRIBE_USER_POOL, Operation.LIST_USERS, Operation.ADMIN_LIST_DEVICES)
"""Operations of every sweep. Duration series of other operations, 14 each, are created by their first request."""

_POOL_COUNTERS: dict[SelfMetric, list[tuple[str, ...]]] = {
    specs.SWEEPS: [()],
    specs.SWEEP_FAILURES: [(reason,) for reason in _REASONS],
    specs.SWEEP_OVERRUNS: [()],
    specs.SWEEP_RUNS_MISSED: [()],
    specs.USER_READ_FAILURES: [(reason,) for reason in _REASONS],
    specs.USERS_VANISHED: [()],
    specs.USERS_SKIPPED: [(reason.value,) for reason in specs.SkipReason],
}
"""Counters of a pool, each with all values of its labels after the pool."""

_TARGET_COUNTERS = (specs.AWS_REQUESTS, specs.AWS_REQUEST_FAILURES, specs.RATE_LIMIT_WAIT)
"""Counters of an account and Region."""


class SelfMetrics:
    """Metrics updated as an `AwsObserver`, `SweepObserver` and `DiscoveryObserver`. Thread-safe.

    Events of pools that are not configured are ignored. Otherwise, a sweep that finishes after its pool was removed
    would create the pool's series again.
    """

    def __init__(self, *, version: str, revision: str = "unknown", shards: int = 1, shard_ordinal: int = 0) -> None:
        self.registry = CollectorRegistry()
        self._lock = Lock()
        self._pools: set[str] = set()
        self._targets: dict[Target, int] = {}
        self._account_ids: dict[Target, Target] = {}
        self._rule_regions: frozenset[tuple[str, str]] = frozenset()
        self._counters: dict[SelfMetric, Counter] = {}
        self._gauges: dict[SelfMetric, Gauge] = {}
        self._histograms: dict[SelfMetric, Histogram] = {}
        for metric in specs.SELF_METRICS:
            self._register(metric)
        build = (version, revision, platform.python_version())
        self._gauges[specs.BUILD_INFO].labels(*build).set(1)
        self._set(specs.SHARDS, shards)
        self._set(specs.SHARD_ORDINAL, shard_ordinal)
        for code in specs.STATUS_CODES:
            self._counters[specs.HTTP_REQUESTS].labels(str(code))
        for component in specs.Component:
            self._counters[specs.UNEXPECTED_FAILURES].labels(component.value)
        for spec in CATALOG:
            self._counters[specs.METRIC_FAILURES].labels(spec.name)

    def _register(self, metric: SelfMetric) -> None:
        spec = metric.spec
        match spec.type:
            case MetricType.COUNTER:
                self._counters[metric] = Counter(spec.name, spec.help, spec.labels, registry=self.registry)
            case MetricType.GAUGE:
                self._gauges[metric] = Gauge(spec.name, spec.help, spec.labels, registry=self.registry)
            case _:
                self._histograms[metric] = Histogram(
                    spec.name, spec.help, spec.labels, buckets=metric.buckets, registry=self.registry
                )

    @property
    def collectors(self) -> Iterable[tuple[str, Counter | Gauge | Histogram]]:
        """Yield the name and the collector of each metric, in the order of the catalog."""
        for metric in specs.SELF_METRICS:
            yield metric.spec.name, self._counters.get(metric) or self._gauges.get(metric) or self._histograms[metric]

    # Pools, targets and discovery rules

    def pool_added(self, pool_id: str) -> None:
        """Create all counters of a pool that is now configured, at 0."""
        with self._lock:
            self._pools.add(pool_id)
            for metric, label_values in _POOL_COUNTERS.items():
                for values in label_values:
                    self._counters[metric].labels(pool_id, *values)

    def pool_removed(self, pool_id: str) -> None:
        """Remove the counters of a pool that is no longer configured."""
        with self._lock:
            self._pools.discard(pool_id)
            for metric in _POOL_COUNTERS:
                self._counters[metric].remove_by_labels({POOL: pool_id})

    def target_added(self, target: Target) -> None:
        """Add a reference to an account and Region; the first one creates all counters, at 0.

        References are counted because all accounts with an unknown id share the account `unknown`.
        """
        with self._lock:
            self._add_target(target)

    def target_removed(self, target: Target) -> None:
        """Remove a reference to an account and Region; the last one removes the counters."""
        with self._lock:
            self._remove_target(self._account_ids.get(target, target))

    def target_resolved(self, unknown: Target, known: Target) -> None:
        """Move a target to its account id, which is now known.

        Counts of `unknown` are carried over to the new labels. Durations start from 0, because observations cannot be
        added to a histogram in bulk. While another account still uses `unknown`, its counts cannot be attributed and
        are not carried over. After the last one has left, later events of `unknown` count for `known`.
        """
        with self._lock:
            self._add_target(known)
            if self._targets.get(unknown) == 1:
                self._carry_over(unknown, known)
            self._remove_target(unknown)
            if unknown not in self._targets:
                self._account_ids[unknown] = known

    def rules_changed(self, rule_regions: Collection[tuple[str, str]]) -> None:
        """Create the counters of new pairs of rule and Region, at 0, and remove those that are no longer searched."""
        with self._lock:
            failures = self._counters[specs.DISCOVERY_FAILURES]
            for rule, region in self._rule_regions.difference(rule_regions):
                failures.remove_by_labels({specs.RULE: rule, specs.REGION: region})
            self._rule_regions = frozenset(rule_regions)
            for rule, region in rule_regions:
                for reason in _REASONS:
                    failures.labels(rule, region, reason)

    def _add_target(self, target: Target) -> None:
        self._account_ids.pop(target, None)
        self._targets[target] = self._targets.get(target, 0) + 1
        labels = (target.account_id, target.region)
        for operation in Operation:
            self._counters[specs.AWS_REQUESTS].labels(*labels, operation.value)
            for reason in _REASONS:
                self._counters[specs.AWS_REQUEST_FAILURES].labels(*labels, operation.value, reason)
        for operation in _SWEEP_OPERATIONS:
            self._durations(target, operation.value)
        for category in Category:
            self._counters[specs.RATE_LIMIT_WAIT].labels(*labels, category.value)

    def _durations(self, target: Target, operation: str) -> Histogram:
        """Return the histogram of one operation; the first call creates its series."""
        return self._histograms[specs.AWS_REQUEST_DURATION].labels(target.account_id, target.region, operation)

    def _remove_target(self, target: Target) -> None:
        references = self._targets.pop(target, 0)
        if references > 1:
            self._targets[target] = references - 1
            return
        labels = {specs.ACCOUNT: target.account_id, specs.REGION: target.region}
        for metric in _TARGET_COUNTERS:
            self._counters[metric].remove_by_labels(labels)
        self._histograms[specs.AWS_REQUEST_DURATION].remove_by_labels(labels)

    def _carry_over(self, unknown: Target, known: Target) -> None:
        old = {specs.ACCOUNT: unknown.account_id, specs.REGION: unknown.region}
        new = {specs.ACCOUNT: known.account_id, specs.REGION: known.region}
        for metric in _TARGET_COUNTERS:
            for sample in self.samples(metric):
                if sample.value and old.items() <= sample.labels.items():
                    self._counters[metric].labels(**{**sample.labels, **new}).inc(sample.value)
                    if "operation" in sample.labels:
                        self._durations(known, sample.labels["operation"])

    def samples(self, metric: SelfMetric) -> list[Sample]:
        """Return the samples of a counter or gauge, without the `_created` samples."""
        (family,) = (self._counters.get(metric) or self._gauges[metric]).collect()
        return [sample for sample in family.samples if sample.name == metric.spec.name]

    def _resolve(self, target: Target) -> Target:
        """Return the target whose labels are used. A target not added before is added, so that no request is lost."""
        named = self._account_ids.get(target, target)
        if named not in self._targets:
            self._add_target(named)
        return named

    # AwsObserver

    def request_finished(
        self, target: Target, operation: str, seconds: float, reason: Reason | None, *, attempted: bool
    ) -> None:
        """Count a request. If it never left the process, count a failure only, without request and duration."""
        with self._lock:
            target = self._resolve(target)
            durations = self._durations(target, operation)
            labels = (target.account_id, target.region, operation)
            if attempted:
                self._counters[specs.AWS_REQUESTS].labels(*labels).inc()
                durations.observe(seconds)
            if reason is not None:
                self._counters[specs.AWS_REQUEST_FAILURES].labels(*labels, reason.value).inc()

    def rate_limit_waited(self, target: Target, category: str, seconds: float) -> None:
        """Add the time that a request waited for the rate limiter."""
        with self._lock:
            target = self._resolve(target)
            self._counters[specs.RATE_LIMIT_WAIT].labels(target.account_id, target.region, category).inc(seconds)

    # DiscoveryObserver

    def discovery_finished(self, rule: str, region: str, reason: Reason | None) -> None:
        """Count a discovery run that failed, entirely or in part; `reason` is None after success."""
        with self._lock:
            if reason is not None and (rule, region) in self._rule_regions:
                self._counters[specs.DISCOVERY_FAILURES].labels(rule, region, reason.value).inc()

    # SweepObserver

    def sweep_finished(self, pool_id: str, reason: Reason | None) -> None:
        """Count a sweep, and a failure if `reason` is not None."""
        self._count(specs.SWEEPS, pool_id)
        if reason is not None:
            self._count(specs.SWEEP_FAILURES, pool_id, reason.value)

    def sweep_overran(self, pool_id: str) -> None:
        """Count a sweep that was still in progress when the next was due."""
        self._count(specs.SWEEP_OVERRUNS, pool_id)

    def sweep_missed(self, pool_id: str) -> None:
        """Count a sweep that was not started in time."""
        self._count(specs.SWEEP_RUNS_MISSED, pool_id)

    def user_read_failed(self, pool_id: str, reason: Reason) -> None:
        """Count a user that could not be read."""
        self._count(specs.USER_READ_FAILURES, pool_id, reason.value)

    def users_vanished(self, pool_id: str, users: int) -> None:
        """Count users that were deleted, or are absent from a complete enumeration."""
        self._count(specs.USERS_VANISHED, pool_id, amount=users)

    def user_skipped(self, pool_id: str, reason: str) -> None:
        """Count a user that was skipped on purpose; `reason` is one of `SkipReason`."""
        self._count(specs.USERS_SKIPPED, pool_id, specs.SkipReason(reason).value)

    # Process

    def configuration_loaded(self, *, successful: bool, now: float) -> None:
        """Record an attempt to load the configuration that ended at wall time `now`, in seconds."""
        self._set(specs.RELOAD_SUCCESSFUL, successful)
        if successful:
            self._set(specs.RELOAD_SUCCESS_TIMESTAMP, now)

    def identity_exposed(self, *, exposed: bool) -> None:
        """Record whether raw user names are served without authentication beyond loopback."""
        self._set(specs.IDENTITY_EXPOSED, exposed)

    def state_failed(self) -> None:
        """Count a failure to read or write the state file."""
        self._counters[specs.STATE_ERRORS].inc()

    def scrape_finished(self, seconds: float) -> None:
        """Observe the time in seconds that a scrape took to render and compress."""
        self._histograms[specs.SCRAPE_DURATION].observe(seconds)

    def response_sent(self, code: int) -> None:
        """Count an HTTP response with this status code."""
        self._counters[specs.HTTP_REQUESTS].labels(str(code)).inc()

    def metric_failed(self, metric: str) -> None:
        """Count a page from which a metric was omitted because computing it failed."""
        self._counters[specs.METRIC_FAILURES].labels(metric).inc()

    def unexpected_error(self, component: str) -> None:
        """Count an unexpected error; `component` is one of `Component`."""
        self._counters[specs.UNEXPECTED_FAILURES].labels(specs.Component(component).value).inc()

    def _count(self, metric: SelfMetric, pool_id: str, *labels: str, amount: int = 1) -> None:
        with self._lock:
            if pool_id in self._pools:
                self._counters[metric].labels(pool_id, *labels).inc(amount)

    def _set(self, metric: SelfMetric, value: float) -> None:
        self._gauges[metric].set(value)
