"""Scheduler of pool discovery: runs the searches of each rule at the rule's interval, one search per Region.

A failed listing keeps the previously discovered pools. Only a successful listing removes a pool.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from typing import Protocol

import structlog

from exporter.aws.api import PoolDirectory
from exporter.clock import Clock
from exporter.collect.pool_search import DiscoveryCompleteness, DiscoveryResult, PoolNames, assign_pools, find_pools
from exporter.collect.scheduler import SweepScheduler
from exporter.config.settings import PoolSettings, RuleSettings, Search, Settings, TargetSettings
from exporter.errors import AwsError, Cancelled, ConfigError, Reason
from exporter.observers import DiscoveryObserver, NullObserver
from exporter.retry import DEFAULT_RETRY_POLICY, RetryPolicy

FIRST_RETRY_SECONDS = 30.0
"""Delay in seconds before the first retry of a failed run. Doubles with each failure, up to the rule's interval."""

STALLED_AFTER_SECONDS = 300.0
"""Seconds without a heartbeat after which the scheduler counts as stalled."""

FAIRNESS_KEY = "discovery"
"""Fairness key of all discovery requests in the rate budgets. It cannot be a pool ID."""

log = structlog.get_logger()


class ConnectDirectory(Protocol):
    """Factory of pool directories, one per account and Region."""

    def __call__(self, target: TargetSettings, fairness_key: str, cancelled: Callable[[], bool]) -> PoolDirectory:
        """Return the directory, which polls `cancelled` while it waits.

        Raises `AwsError` if the account cannot be accessed.
        """
        ...


@dataclass(frozen=True, slots=True)
class RuleState:
    """Discovery status of one rule in one Region."""

    rule: str
    """Index of the rule in the configuration."""
    region: str
    pools: int
    """Number of pools swept because of this rule. Excludes pools of the `pools` section and of earlier rules."""
    up: bool
    """True if the last run was complete."""
    last_success: float | None
    """End of the last complete run, in seconds of wall time."""
    reason: Reason | None
    """Reason why the last run was incomplete; None if it was complete or has not ended yet."""


@dataclass(frozen=True, slots=True)
class _QueryState:
    """Result of the runs of one search so far."""

    pools: PoolNames = field(default_factory=dict)
    has_run: bool = False
    was_complete: bool = False
    """True if at least one run was complete."""
    up: bool = False
    last_success: float | None = None
    reason: Reason | None = None
    failures: int = 0
    """Number of consecutive failed runs."""


class _Query:
    """Periodic search and its result."""

    def __init__(self, search: Search, job: str, before: Iterable[_Query]) -> None:
        """Start with the pools that the searches in `before` found in the same Region and whose names match.

        The first run replaces them.
        """
        self.search = search
        self.job = job
        there = [one.state.pools for one in before if one.search.target.region == search.target.region]
        known = {id_: name for pools in there for id_, name in pools.items()}
        self.state: _QueryState = _QueryState({id_: name for id_, name in known.items() if search.fits_name(name)})
        self.cancelled = threading.Event()


@dataclass(frozen=True, slots=True)
class _PlannedQuery:
    """Assignment of one search to its rule."""

    query: _Query
    index: int
    rule: RuleSettings

    @property
    def labels(self) -> tuple[str, str]:
        return str(self.index), self.query.search.target.region


@dataclass(frozen=True, slots=True)
class DiscoveryPlan:
    """Pools and rules of one configuration, with the current discovery results."""

    explicit: tuple[PoolSettings, ...] = ()
    places: tuple[_PlannedQuery, ...] = ()

    @property
    def pools(self) -> tuple[PoolSettings, ...]:
        """All pools to sweep."""
        return (*self.explicit, *(pool for share in self._shares() for pool in share))

    @property
    def completeness(self) -> DiscoveryCompleteness:
        """Completeness of the discovery results."""
        seen = [place.query.state for place in self.places]
        if not all(one.has_run for one in seen):
            return DiscoveryCompleteness.PENDING
        return DiscoveryCompleteness.SETTLED if all(one.was_complete for one in seen) else DiscoveryCompleteness.PARTIAL

    def states(self) -> tuple[RuleState, ...]:
        """Return the status of each rule in each of its Regions."""
        return tuple(
            RuleState(*place.labels, len(share), seen.up, seen.last_success, seen.reason)
            for place, share in zip(self.places, self._shares(), strict=True)
            for seen in (place.query.state,)
        )

    def _shares(self) -> list[tuple[PoolSettings, ...]]:
        found = [(place.rule, place.query.search, place.query.state.pools) for place in self.places]
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
        self._numbers = count()
        self._current = DiscoveryPlan()
        self._changed: Callable[[], None] = _nobody
        self._scheduler = SweepScheduler(_DiscoverySchedule(observer), clock, "discovery")

    @property
    def current(self) -> DiscoveryPlan:
        """The active arrangement, with the current results."""
        return self._current

    def states(self) -> tuple[RuleState, ...]:
        """Return the status of each rule in each of its Regions, in the order of the configuration."""
        return self._current.states()

    def start(self, changed: Callable[[], None]) -> None:
        """Start the scheduled runs.

        `changed` is called after each run. It raises `ConfigError` if the discovered pools cannot be applied.
        """
        self._changed = changed
        self._scheduler.start()

    def stop(self) -> None:
        """Stop scheduling runs. A run in progress stops at its next step."""
        self._scheduler.stop()
        for place in self._current.places:
            place.query.cancelled.set()

    def plan(self, settings: Settings) -> DiscoveryPlan:
        """Return the arrangement for new settings without applying it.

        A search that exists already keeps its results. A new search starts with the pools that removed searches
        found in the same Region and whose names match; its first run replaces them.
        """
        queries = _by_search(self._current)
        keys = Counter[Search]()
        wanted = []
        for index, rule in enumerate(settings.discovery):
            for search in rule.searches:
                wanted.append((index, rule, search, keys[search]))
                keys[search] += 1
        kept = {(search, number): queries.pop((search, number), None) for _, _, search, number in wanted}
        return DiscoveryPlan(
            settings.pools,
            tuple(
                _PlannedQuery(kept[search, number] or self._new_query(search, queries.values()), index, rule)
                for index, rule, search, number in wanted
            ),
        )

    def apply(self, arrangement: DiscoveryPlan) -> None:
        """Apply another arrangement and start the first run of each new search. Must not be called concurrently."""
        before = {place.query: place for place in self._current.places}
        self._current = arrangement
        self._observer.rules_changed({place.labels for place in arrangement.places})
        for place in arrangement.places:
            old = before.pop(place.query, None)
            if old is None:
                self._scheduler.add(place.query.job, place.rule.interval, partial(self._run_query, place.query))
            elif old.rule.interval != place.rule.interval:
                self._scheduler.set_interval(place.query.job, place.rule.interval)
        for query in before:
            self._scheduler.remove(query.job)
            query.cancelled.set()

    def stalled_reason(self) -> str | None:
        """Return a message if the scheduler has sent no heartbeat for five minutes, else None."""
        if self._scheduler.seconds_since_heartbeat() > STALLED_AFTER_SECONDS:
            return "the scheduler of discovery has shown no life for 5 minutes"
        return None

    def _new_query(self, search: Search, before: Iterable[_Query]) -> _Query:
        return _Query(search, f"{search.target.region}-{next(self._numbers)}", before)

    def _run_query(self, query: _Query) -> float | None:
        """Run the search once. Return the retry delay in seconds if the run was incomplete, else None."""
        reason: Reason | None = None
        try:
            found = self._query(query)
        except Cancelled:
            return None
        except AwsError as error:
            reason = error.reason
            query.state = _failed(query.state, reason)
            self._warn(query, error)
        except Exception:
            reason = Reason.OTHER
            query.state = _failed(query.state, reason)
            self._observer.unexpected_error("discovery")
            log.exception("looking for pools failed unexpectedly", region=query.search.target.region)
        else:
            reason = self._record(query, found)
        return self._finish(query, reason)

    def _finish(self, query: _Query, reason: Reason | None) -> float | None:
        try:
            self._changed()
        except ConfigError as error:
            reason = Reason.OTHER
            query.state = _failed(query.state, reason)
            log.error("the pools that were found cannot be read", region=query.search.target.region, error=str(error))
        place = self._place_of(query)
        if place is not None:
            self._observer.discovery_finished(*place.labels, reason)
        return None if reason is None else FIRST_RETRY_SECONDS * 2 ** min(query.state.failures - 1, 20)

    def _query(self, query: _Query) -> DiscoveryResult:
        directory = self._connect(query.search.target, FAIRNESS_KEY, query.cancelled.is_set)
        ask = self._retry_policy.retrier(self._retry_policy.first_attempts, lambda seconds: _wait(query, seconds))
        return find_pools(query.search, directory, ask, query.state.pools)

    def _record(self, query: _Query, found: DiscoveryResult) -> Reason | None:
        before = query.state
        if before.pools != found.pools or not before.has_run:
            log.info(
                "looked for pools",
                rule=self._rule_of(query),
                region=query.search.target.region,
                pools=len(found.pools),
                joined=len(found.pools.keys() - before.pools.keys()),
                vanished=len(before.pools.keys() - found.pools.keys()),
            )
        if found.fault is not None:
            query.state = _failed(replace(before, pools=found.pools), found.fault.reason)
            self._warn(query, found.fault)
            return found.fault.reason
        now = self._clock.wall()
        query.state = _QueryState(found.pools, has_run=True, was_complete=True, up=True, last_success=now)
        return None

    def _warn(self, query: _Query, error: AwsError) -> None:
        log.warning(
            "not every pool could be looked at; what was known of the others stays",
            rule=self._rule_of(query),
            region=query.search.target.region,
            reason=error.reason.value,
            error=str(error),
        )

    def _rule_of(self, query: _Query) -> int | None:
        place = self._place_of(query)
        return None if place is None else place.index

    def _place_of(self, query: _Query) -> _PlannedQuery | None:
        """Return the place of a search, or None if a reload has removed it."""
        return next((place for place in self._current.places if place.query is query), None)


class _DiscoverySchedule(NullObserver):
    """`ScheduleObserver` that ignores late and missed runs, because the next run returns the same pools."""

    def __init__(self, observer: DiscoveryObserver) -> None:
        self._observer = observer

    def unexpected_error(self, component: str) -> None:
        """Forward the error to the discovery observer."""
        self._observer.unexpected_error(component)


def _failed(seen: _QueryState, reason: Reason) -> _QueryState:
    return replace(seen, has_run=True, up=False, reason=reason, failures=seen.failures + 1)


def _by_search(arrangement: DiscoveryPlan) -> dict[tuple[Search, int], _Query]:
    """Map each search to its watch. A number per search distinguishes rules with equal searches."""
    keys = Counter[Search]()
    queries = {}
    for place in arrangement.places:
        search = place.query.search
        queries[search, keys[search]] = place.query
        keys[search] += 1
    return queries


def _wait(query: _Query, seconds: float) -> None:
    if query.cancelled.wait(seconds):
        raise Cancelled("nobody looks there any more")


def _nobody() -> None:
    """Do nothing. Placeholder for the callback that `Discovery.start` sets."""
