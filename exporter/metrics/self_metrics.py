"""The exporter's metrics about itself, updated by observer calls from aws and collect."""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterable
from threading import Lock

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.samples import Sample

from exporter.aws.api import Category, Operation
from exporter.errors import Reason
from exporter.metrics import self_specs as own
from exporter.metrics.catalogue import CATALOGUE
from exporter.metrics.pool_specs import POOL
from exporter.metrics.spec import MetricType, SelfMetric
from exporter.observers import Target

_REASONS = tuple(reason.value for reason in Reason)
_SKIPS = tuple(reason.value for reason in own.SkipReason)
_COMPONENTS = tuple(component.value for component in own.Component)
_OF_EVERY_TARGET = (Operation.DESCRIBE_USER_POOL.value, Operation.LIST_USERS.value, Operation.ADMIN_LIST_DEVICES.value)
"""Operations of every sweep. Duration series of other operations, 14 each, are created by their first request."""

_OPERATIONS = tuple(operation.value for operation in Operation)

_CATEGORIES = tuple(category.value for category in Category)

_OF_POOL: tuple[tuple[SelfMetric, tuple[str, ...] | None], ...] = (
    (own.SWEEPS, None),
    (own.SWEEP_FAILURES, _REASONS),
    (own.SWEEP_OVERRUNS, None),
    (own.SWEEP_RUNS_MISSED, None),
    (own.USER_READ_FAILURES, _REASONS),
    (own.USERS_VANISHED, None),
    (own.USERS_SKIPPED, _SKIPS),
)
"""Counters of a pool, each with the closed list of values of its second label, or None without one."""

_OF_TARGET = (own.AWS_REQUESTS, own.AWS_REQUEST_FAILURES, own.RATE_LIMIT_WAIT)
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
        self._operations: dict[Target, set[str]] = {}
        self._renamed: dict[Target, Target] = {}
        self._places: frozenset[tuple[str, str]] = frozenset()
        self._counters = {m.spec.name: self._counter(m) for m in own.SELF_METRICS if m.spec.kind is MetricType.COUNTER}
        self._gauges = {m.spec.name: self._gauge(m) for m in own.SELF_METRICS if m.spec.kind is MetricType.GAUGE}
        self._histograms = {
            m.spec.name: self._histogram(m) for m in own.SELF_METRICS if m.spec.kind is MetricType.HISTOGRAM
        }
        build = (version, revision, platform.python_version())
        self._gauges[own.BUILD_INFO.spec.name].labels(*build).set(1)
        self._set(own.SHARDS, shards)
        self._set(own.SHARD_ORDINAL, shard_ordinal)
        for code in own.CODES:
            self._of(own.HTTP_REQUESTS).labels(str(code))
        for component in _COMPONENTS:
            self._of(own.UNEXPECTED_FAILURES).labels(component)
        for spec in CATALOGUE:
            self._of(own.METRIC_FAILURES).labels(spec.name)

    @property
    def collectors(self) -> Iterable[tuple[str, Counter | Gauge | Histogram]]:
        """Yield the name and the collector of each metric, in the order of the catalogue."""
        for metric in own.SELF_METRICS:
            name = metric.spec.name
            yield name, self._counters.get(name) or self._gauges.get(name) or self._histograms[name]

    # Pools, targets and discovery rules

    def pool_added(self, pool_id: str) -> None:
        """Create all counters of a pool that is now configured, at 0."""
        with self._lock:
            self._pools.add(pool_id)
            for metric, values in _OF_POOL:
                for value in values or (None,):
                    self._of(metric).labels(*((pool_id,) if value is None else (pool_id, value)))

    def pool_removed(self, pool_id: str) -> None:
        """Remove the counters of a pool that is no longer configured."""
        with self._lock:
            self._pools.discard(pool_id)
            for metric, _ in _OF_POOL:
                self._of(metric).remove_by_labels({POOL: pool_id})

    def target_added(self, target: Target) -> None:
        """Add a reference to an account and Region; the first one creates all counters, at 0.

        References are counted because all accounts with an unknown id share the account `unknown`.
        """
        with self._lock:
            self._add_target(target)

    def target_removed(self, target: Target) -> None:
        """Remove a reference to an account and Region; the last one removes the counters."""
        with self._lock:
            self._remove_target(self._renamed.get(target, target))

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
                self._renamed[unknown] = known

    def rules_changed(self, places: Collection[tuple[str, str]]) -> None:
        """Create the counters of new places, at 0, and remove those of places that are no longer searched.

        A place is a pair of rule and Region.
        """
        with self._lock:
            failures = self._of(own.DISCOVERY_FAILURES)
            for rule, region in self._places.difference(places):
                failures.remove_by_labels({own.RULE: rule, own.REGION: region})
            self._places = frozenset(places)
            for place in places:
                for reason in _REASONS:
                    failures.labels(*place, reason)

    def _add_target(self, target: Target) -> None:
        self._renamed.pop(target, None)
        self._targets[target] = self._targets.get(target, 0) + 1
        self._operations.setdefault(target, set())
        for operation in _OPERATIONS:
            self._of(own.AWS_REQUESTS).labels(target.account_id, target.region, operation)
            for reason in _REASONS:
                self._of(own.AWS_REQUEST_FAILURES).labels(target.account_id, target.region, operation, reason)
        for operation in _OF_EVERY_TARGET:
            self._add_operation(target, operation)
        for category in _CATEGORIES:
            self._of(own.RATE_LIMIT_WAIT).labels(target.account_id, target.region, category)

    def _add_operation(self, target: Target, operation: str) -> None:
        if operation in self._operations[target]:
            return
        self._operations[target].add(operation)
        self._histograms[own.AWS_REQUEST_DURATION.spec.name].labels(target.account_id, target.region, operation)

    def _remove_target(self, target: Target) -> None:
        users = self._targets.pop(target, 0)
        if users > 1:
            self._targets[target] = users - 1
            return
        self._operations.pop(target, None)
        labels = {own.ACCOUNT: target.account_id, own.REGION: target.region}
        for metric in _OF_TARGET:
            self._of(metric).remove_by_labels(labels)
        self._histograms[own.AWS_REQUEST_DURATION.spec.name].remove_by_labels(labels)

    def _carry_over(self, unknown: Target, known: Target) -> None:
        for operation in self._operations[unknown]:
            self._add_operation(known, operation)
        old = {own.ACCOUNT: unknown.account_id, own.REGION: unknown.region}
        new = {own.ACCOUNT: known.account_id, own.REGION: known.region}
        for metric in _OF_TARGET:
            for sample in self.samples(metric):
                if sample.value and old.items() <= sample.labels.items():
                    self._of(metric).labels(**{**sample.labels, **new}).inc(sample.value)

    def samples(self, metric: SelfMetric) -> list[Sample]:
        """Return the samples of a counter or gauge, without the `_created` samples."""
        name = metric.spec.name
        (family,) = (self._counters.get(name) or self._gauges[name]).collect()
        return [sample for sample in family.samples if sample.name == name]

    def _shown(self, target: Target) -> Target:
        """Return the target whose labels are used. A target not added before is added, so that no request is lost."""
        shown = self._renamed.get(target, target)
        if shown not in self._targets:
            self._add_target(shown)
        return shown

    # AwsObserver

    def request_finished(
        self, target: Target, operation: str, seconds: float, reason: Reason | None, *, attempted: bool
    ) -> None:
        """Count a request. If it never left the process, count a failure only, without request and duration."""
        with self._lock:
            shown = self._shown(target)
            self._add_operation(shown, operation)
            labels = (shown.account_id, shown.region)
            if attempted:
                self._of(own.AWS_REQUESTS).labels(*labels, operation).inc()
                self._histograms[own.AWS_REQUEST_DURATION.spec.name].labels(*labels, operation).observe(seconds)
            if reason is not None:
                self._of(own.AWS_REQUEST_FAILURES).labels(*labels, operation, reason.value).inc()

    def rate_limit_waited(self, target: Target, category: str, seconds: float) -> None:
        """Add the time that a request waited for the rate limiter."""
        with self._lock:
            shown = self._shown(target)
            self._of(own.RATE_LIMIT_WAIT).labels(shown.account_id, shown.region, category).inc(seconds)

    # DiscoveryObserver

    def discovery_finished(self, rule: str, region: str, reason: Reason | None) -> None:
        """Count a discovery run that failed, entirely or in part; `reason` is None after success."""
        with self._lock:
            if reason is not None and (rule, region) in self._places:
                self._of(own.DISCOVERY_FAILURES).labels(rule, region, reason.value).inc()

    # SweepObserver

    def sweep_finished(self, pool_id: str, reason: Reason | None) -> None:
        """Count a sweep, and a failure if `reason` is not None."""
        self._count(own.SWEEPS, pool_id)
        if reason is not None:
            self._count(own.SWEEP_FAILURES, pool_id, reason.value)

    def sweep_overran(self, pool_id: str) -> None:
        """Count a sweep that was still in progress when the next was due."""
        self._count(own.SWEEP_OVERRUNS, pool_id)

    def sweep_missed(self, pool_id: str) -> None:
        """Count a sweep that was not started in time."""
        self._count(own.SWEEP_RUNS_MISSED, pool_id)

    def user_read_failed(self, pool_id: str, reason: Reason) -> None:
        """Count a user that could not be read."""
        self._count(own.USER_READ_FAILURES, pool_id, reason.value)

    def users_vanished(self, pool_id: str, users: int) -> None:
        """Count users that were deleted, or are absent from a complete enumeration."""
        self._count(own.USERS_VANISHED, pool_id, by=users)

    def user_skipped(self, pool_id: str, reason: str) -> None:
        """Count a user that was skipped on purpose; `reason` is one of `SkipReason`."""
        self._count(own.USERS_SKIPPED, pool_id, own.SkipReason(reason).value)

    # Process

    def configuration_loaded(self, *, successful: bool, now: float) -> None:
        """Record an attempt to load the configuration that ended at wall time `now`, in seconds."""
        self._set(own.RELOAD_SUCCESSFUL, successful)
        if successful:
            self._set(own.RELOAD_SUCCESS_TIMESTAMP, now)

    def identity_exposed(self, *, exposed: bool) -> None:
        """Record whether raw user names are served without authentication beyond loopback."""
        self._set(own.IDENTITY_EXPOSED, exposed)

    def state_failed(self) -> None:
        """Count a failure to read or write the state file."""
        self._of(own.STATE_ERRORS).inc()

    def scraped(self, seconds: float) -> None:
        """Observe the time in seconds that a scrape took to render and compress."""
        self._histograms[own.SCRAPE_DURATION.spec.name].observe(seconds)

    def request_answered(self, code: int) -> None:
        """Count an HTTP response with this status code."""
        self._of(own.HTTP_REQUESTS).labels(str(code)).inc()

    def metric_failed(self, metric: str) -> None:
        """Count a page from which a metric was omitted because computing it failed."""
        self._of(own.METRIC_FAILURES).labels(metric).inc()

    def unexpected_error(self, component: str) -> None:
        """Count an unexpected error; `component` is one of `Component`."""
        self._of(own.UNEXPECTED_FAILURES).labels(own.Component(component).value).inc()

    def _count(self, metric: SelfMetric, pool_id: str, *labels: str, by: int = 1) -> None:
        with self._lock:
            if pool_id in self._pools:
                self._of(metric).labels(pool_id, *labels).inc(by)

    def _of(self, metric: SelfMetric) -> Counter:
        return self._counters[metric.spec.name]

    def _set(self, metric: SelfMetric, value: float) -> None:
        self._gauges[metric.spec.name].set(value)

    def _counter(self, metric: SelfMetric) -> Counter:
        return Counter(metric.spec.name, metric.spec.help, metric.spec.labels, registry=self.registry)

    def _gauge(self, metric: SelfMetric) -> Gauge:
        return Gauge(metric.spec.name, metric.spec.help, metric.spec.labels, registry=self.registry)

    def _histogram(self, metric: SelfMetric) -> Histogram:
        spec = metric.spec
        return Histogram(spec.name, spec.help, spec.labels, buckets=metric.buckets, registry=self.registry)
