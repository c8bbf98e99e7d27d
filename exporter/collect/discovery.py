"""Scheduler of pool discovery: runs the searches of each rule at the rule's interval, one search per Region.

A failed listing keeps the previously discovered pools. Only a successful listing removes a pool.
"""

from __future__ import annotations

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Protocol

import structlog

from exporter.aws.api import PoolDirectory
from exporter.clock import Clock
from exporter.collect.pool_search import DiscoveryCompleteness, DiscoveryResult, PoolNames, assign_pools, find_pools
from exporter.collect.scheduler import SweepScheduler, retry_delay
from exporter.collect.snapshot import RuleState
from exporter.config.settings import PoolSettings, RuleSettings, Search, Settings, TargetSettings
from exporter.errors import AwsError, Cancelled, ConfigError, Reason
from exporter.observers import DiscoveryObserver, NullObserver
from exporter.retry import DEFAULT_RETRY_POLICY, RetryPolicy

FAIRNESS_KEY = "discovery"
"""Fairness key of all discovery requests in the rate limiters. It cannot be a pool ID."""

log = structlog.get_logger()


class ConnectDirectory(Protocol):
    """Factory of pool directories, one per account and Region."""

    def __call__(self, target: TargetSettings, fairness_key: str, cancelled: Callable[[], bool]) -> PoolDirectory:
        """Return the directory, which polls `cancelled` while it waits.

        Raises `AwsError` if the account cannot be accessed.
        """
        ...


@dataclass(frozen=True, slots=True)
class _QueryState:
    """Result of a query's runs so far."""

    pools: PoolNames = field(default_factory=dict)
    has_run: bool = False
    was_complete: bool = False
    """True if at least one run was complete."""
    up: bool = False
    last_success: float | None = None
    reason: Reason | None = None
    failures: int = 0
    """Number of consecutive failed runs."""

    def failed(self, reason: Reason) -> _QueryState:
        """Return the state after another failed run."""
        return replace(self, has_run=True, up=False, reason=reason, failures=self.failures + 1)


class _Query:
    """Search that runs periodically, and its result."""

    def __init__(self, search: Search, job_id: str, pools: PoolNames) -> None:
        """Start with pools that are known already. The first run replaces them."""
        self.search = search
        self.job_id = job_id
        self.state = _QueryState(pools)
        self.cancelled = threading.Event()

    @property
    def region(self) -> str:
        return self.search.target.region

    def sleep(self, seconds: float) -> None:
        """Wait. Raises `Cancelled` if the query was removed."""
        if self.cancelled.wait(seconds):
            raise Cancelled("discovery was canceled")


@dataclass(frozen=True, slots=True)
class _PlannedQuery:
    """Query with the rule that it belongs to."""

    query: _Query
    index: int
    """Index of the rule in the configuration."""
    rule: RuleSettings

    @property
    def labels(self) -> tuple[str, str]:
        """Rule and Region, as in the labels of metrics."""
        return str(self.index), self.query.region


@dataclass(frozen=True, slots=True)
class DiscoveryPlan:
    """Pools and rules of one configuration, with the current discovery results."""

    explicit: tuple[PoolSettings, ...] = ()
    """Pools of the `pools` section."""
    queries: tuple[_PlannedQuery, ...] = ()

    @property
    def pools(self) -> tuple[PoolSettings, ...]:
        """All pools to sweep."""
        return (*self.explicit, *(pool for pools in self._assigned() for pool in pools))

    @property
    def completeness(self) -> DiscoveryCompleteness:
        """Completeness of the discovery results."""
        states = [planned.query.state for planned in self.queries]
        if not all(state.has_run for state in states):
            return DiscoveryCompleteness.PENDING
        if not all(state.was_complete for state in states):
            return DiscoveryCompleteness.PARTIAL
        return DiscoveryCompleteness.SETTLED

    def states(self) -> tuple[RuleState, ...]:
        """Return the status of each rule in each of its Regions."""
        return tuple(
            RuleState(*planned.labels, len(pools), state.up, state.last_success, state.reason)
            for planned, pools in zip(self.queries, self._assigned(), strict=True)
            for state in (planned.query.state,)
        )

    def _assigned(self) -> list[tuple[PoolSettings, ...]]:
        found = [(planned.rule, planned.query.search, planned.query.state.pools) for planned in self.queries]
        return assign_pools(self.explicit, found)


class Discovery:
    """Discovery service. The active rules can be replaced while it runs."""

    def __init__(
        self,
        connect: ConnectDirectory,
        observer: DiscoveryObserver,
        clock: Clock,
        *,
        retry_policy: RetryPolicy = DEFAULT_RETRY_POLICY,
    ) -> None:
        self._connect = connect
        self._observer = observer
        self._clock = clock
        self._retry_policy = retry_policy
        self._job_numbers = count()
        self._current = DiscoveryPlan()
        self._on_change: Callable[[], None] = lambda: None
        self._scheduler = SweepScheduler(_ScheduleObserver(observer), clock, "discovery")

    @property
    def current(self) -> DiscoveryPlan:
        """The active plan, with the current results."""
        return self._current

    def states(self) -> tuple[RuleState, ...]:
        """Return the status of each rule in each of its Regions, in the order of the configuration."""
        return self._current.states()

    def start(self, on_change: Callable[[], None]) -> None:
        """Start the scheduled runs.

        `on_change` is called after each run. It raises `ConfigError` if the discovered pools cannot be applied.
        """
        self._on_change = on_change
        self._scheduler.start()

    def stop(self) -> None:
        """Stop scheduling runs. A run in progress stops at its next step."""
        self._scheduler.stop()
        for planned in self._current.queries:
            planned.query.cancelled.set()

    def plan(self, settings: Settings) -> DiscoveryPlan:
        """Return the plan for new settings without applying it.

        An unchanged search keeps its query, and thus its results, even if the index of its rule changes. A new search
        starts with the pools that removed searches found in the same account and Region and whose names match.
        """
        unused: defaultdict[Search, deque[_Query]] = defaultdict(deque)
        for planned in self._current.queries:
            unused[planned.query.search].append(planned.query)
        wanted = [(index, rule, search) for index, rule in enumerate(settings.discovery) for search in rule.searches]
        kept = [unused[search].popleft() if unused[search] else None for _, _, search in wanted]
        removed = [query for queries in unused.values() for query in queries]
        return DiscoveryPlan(
            settings.pools,
            tuple(
                _PlannedQuery(query or self._new_query(search, removed), index, rule)
                for (index, rule, search), query in zip(wanted, kept, strict=True)
            ),
        )

    def apply(self, plan: DiscoveryPlan) -> None:
        """Replace the active plan and start the first run of each new query. Must not be called concurrently."""
        old = {planned.query: planned.rule for planned in self._current.queries}
        self._current = plan
        self._observer.rules_changed({planned.labels for planned in plan.queries})
        for planned in plan.queries:
            query, interval = planned.query, planned.rule.interval
            old_rule = old.pop(query, None)
            if old_rule is None:
                self._scheduler.add(query.job_id, interval, partial(self._run_query, query))
            elif old_rule.interval != interval:
                self._scheduler.set_interval(query.job_id, interval)
        for query in old:
            self._scheduler.remove(query.job_id)
            query.cancelled.set()

    def stalled_reason(self) -> str | None:
        """Return a message if the scheduler has sent no heartbeat for five minutes, else None."""
        return "the discovery scheduler has sent no heartbeat for 5 minutes" if self._scheduler.is_stalled() else None

    def _new_query(self, search: Search, removed: Iterable[_Query]) -> _Query:
        known: dict[str, str] = {}
        for query in removed:
            if _location(query.search.target) == _location(search.target):
                known |= query.state.pools
        pools = {pool_id: name for pool_id, name in known.items() if search.fits_name(name)}
        return _Query(search, f"{search.target.region}-{next(self._job_numbers)}", pools)

    def _run_query(self, query: _Query) -> float | None:
        """Run the search once. Return the retry delay in seconds if the run was incomplete, else None."""
        try:
            reason = self._record(query, self._query(query))
        except Cancelled:
            return None
        except AwsError as error:
            reason = error.reason
            query.state = query.state.failed(reason)
            self._warn(query, error)
        except Exception:
            reason = Reason.OTHER
            query.state = query.state.failed(reason)
            self._observer.unexpected_error("discovery")
            log.exception("unexpected error in pool discovery", region=query.region)
        return self._finish(query, reason)

    def _query(self, query: _Query) -> DiscoveryResult:
        directory = self._connect(query.search.target, FAIRNESS_KEY, query.cancelled.is_set)
        retry = self._retry_policy.retrier(self._retry_policy.first_attempts, query.sleep)
        return find_pools(query.search, directory, retry, query.state.pools)

    def _record(self, query: _Query, found: DiscoveryResult) -> Reason | None:
        """Record the result of a run. Return the reason if it is incomplete, else None."""
        before = query.state
        if before.pools != found.pools or not before.has_run:
            log.info(
                "discovered pools changed",
                rule=self._rule_of(query),
                region=query.region,
                pools=len(found.pools),
                added=len(found.pools.keys() - before.pools.keys()),
                removed=len(before.pools.keys() - found.pools.keys()),
            )
        if found.error is not None:
            query.state = replace(before, pools=found.pools).failed(found.error.reason)
            self._warn(query, found.error)
            return found.error.reason
        now = self._clock.wall()
        query.state = _QueryState(found.pools, has_run=True, was_complete=True, up=True, last_success=now)
        return None

    def _finish(self, query: _Query, reason: Reason | None) -> float | None:
        """Apply the discovered pools and report the run. Return the retry delay in seconds if it failed, else None."""
        try:
            self._on_change()
        except ConfigError as error:
            reason = Reason.OTHER
            query.state = query.state.failed(reason)
            log.error("cannot apply discovered pools", region=query.region, error=str(error))
        planned = self._planned(query)
        if planned is not None:
            self._observer.discovery_finished(*planned.labels, reason)
        return None if reason is None else retry_delay(query.state.failures)

    def _warn(self, query: _Query, error: AwsError) -> None:
        log.warning(
            "pool discovery incomplete; keeping previously discovered pools",
            rule=self._rule_of(query),
            region=query.region,
            reason=error.reason.value,
            error=str(error),
        )

    def _rule_of(self, query: _Query) -> int | None:
        planned = self._planned(query)
        return None if planned is None else planned.index

    def _planned(self, query: _Query) -> _PlannedQuery | None:
        """Return the query's part of the active plan, or None if a reload has removed it."""
        return next((planned for planned in self._current.queries if planned.query is query), None)


class _ScheduleObserver(NullObserver):
    """`ScheduleObserver` that ignores late and missed runs, because the next run returns the same pools."""

    def __init__(self, observer: DiscoveryObserver) -> None:
        self._observer = observer

    def unexpected_error(self, component: str) -> None:
        """Forward the error to the discovery observer."""
        self._observer.unexpected_error(component)


def _location(target: TargetSettings) -> tuple[str, str | None, list[str]]:
    """Return the Region, the endpoint, and the role's ARN up to the account."""
    return target.region, target.endpoint_url, (target.role_arn or "").split(":")[:5]
