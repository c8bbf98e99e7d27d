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
from exporter.observers import DiscoveryObserver
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
    looked: bool = False
    whole: bool = False
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
        there = [one.seen.pools for one in before if one.search.target.region == search.target.region]
        known = {id_: name for pools in there for id_, name in pools.items()}
        self.seen: _QueryState = _QueryState({id_: name for id_, name in known.items() if search.fits_name(name)})
        self.cancelled = threading.Event()


@dataclass(frozen=True, slots=True)
class _Place:
    """Assignment of one search to its rule."""

    watch: _Query
    index: int
    rule: RuleSettings

    @property
    def labels(self) -> tuple[str, str]:
        return str(self.index), self.watch.search.target.region


@dataclass(frozen=True, slots=True)
class DiscoveryPlan:
    """Pools and rules of one configuration, with the current discovery results."""

    explicit: tuple[PoolSettings, ...] = ()
    places: tuple[_Place, ...] = ()

    @property
    def pools(self) -> tuple[PoolSettings, ...]:
        """All pools to sweep."""
        return (*self.explicit, *(pool for share in self._shares() for pool in share))

    @property
    def completeness(self) -> DiscoveryCompleteness:
        """Completeness of the discovery results."""
        seen = [place.watch.seen for place in self.places]
        if not all(one.looked for one in seen):
            return DiscoveryCompleteness.PENDING
        return DiscoveryCompleteness.SETTLED if all(one.whole for one in seen) else DiscoveryCompleteness.PARTIAL

    def states(self) -> tuple[RuleState, ...]:
        """Return the status of each rule in each of its Regions."""
        return tuple(
            RuleState(*place.labels, len(share), seen.up, seen.last_success, seen.reason)
            for place, share in zip(self.places, self._shares(), strict=True)
            for seen in (place.watch.seen,)
        )

    def _shares(self) -> list[tuple[PoolSettings, ...]]:
        found = [(place.rule, place.watch.search, place.watch.seen.pools) for place in self.places]
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
        self._schedule = SweepScheduler(_OfLooks(observer), clock, "look")

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
        self._schedule.start()

    def stop(self) -> None:
        """Stop scheduling runs. A run in progress stops at its next step."""
        self._schedule.stop()
        for place in self._current.places:
            place.watch.cancelled.set()

    def plan(self, settings: Settings) -> DiscoveryPlan:
        """Return the arrangement for new settings without applying it.

        A search that exists already keeps its results. A new search starts with the pools that removed searches
        found in the same Region and whose names match; its first run replaces them.
        """
        watches = _by_search(self._current)
        keys = Counter[Search]()
        wanted = []
        for index, rule in enumerate(settings.discovery):
            for search in rule.searches:
                wanted.append((index, rule, search, keys[search]))
                keys[search] += 1
        kept = {(search, number): watches.pop((search, number), None) for _, _, search, number in wanted}
        return DiscoveryPlan(
            settings.pools,
            tuple(
                _Place(kept[search, number] or self._watch(search, watches.values()), index, rule)
                for index, rule, search, number in wanted
            ),
        )

    def adopt(self, arrangement: DiscoveryPlan) -> None:
        """Apply another arrangement and start the first run of each new search. Must not be called concurrently."""
        before = {place.watch: place for place in self._current.places}
        self._current = arrangement
        self._observer.rules_changed({place.labels for place in arrangement.places})
        for place in arrangement.places:
            old = before.pop(place.watch, None)
            if old is None:
                self._schedule.add(place.watch.job, place.rule.interval, partial(self._look, place.watch))
            elif old.rule.interval != place.rule.interval:
                self._schedule.set_interval(place.watch.job, place.rule.interval)
        for watch in before:
            self._schedule.remove(watch.job)
            watch.cancelled.set()

    def stalled_reason(self) -> str | None:
        """Return a message if the scheduler has sent no heartbeat for five minutes, else None."""
        if self._schedule.seconds_since_heartbeat() > STALLED_AFTER_SECONDS:
            return "the scheduler of discovery has shown no life for 5 minutes"
        return None

    def _watch(self, search: Search, before: Iterable[_Query]) -> _Query:
        return _Query(search, f"{search.target.region}-{next(self._numbers)}", before)

    def _look(self, watch: _Query) -> float | None:
        """Run the search once. Return the retry delay in seconds if the run was incomplete, else None."""
        reason: Reason | None = None
        try:
            found = self._found(watch)
        except Cancelled:
            return None
        except AwsError as error:
            reason = error.reason
            watch.seen = _failed(watch.seen, reason)
            self._warn(watch, error)
        except Exception:
            reason = Reason.OTHER
            watch.seen = _failed(watch.seen, reason)
            self._observer.unexpected_error("discovery")
            log.exception("looking for pools failed unexpectedly", region=watch.search.target.region)
        else:
            reason = self._record(watch, found)
        return self._finish(watch, reason)

    def _finish(self, watch: _Query, reason: Reason | None) -> float | None:
        try:
            self._changed()
        except ConfigError as error:
            reason = Reason.OTHER
            watch.seen = _failed(watch.seen, reason)
            log.error("the pools that were found cannot be read", region=watch.search.target.region, error=str(error))
        place = self._place_of(watch)
        if place is not None:
            self._observer.discovery_finished(*place.labels, reason)
        return None if reason is None else FIRST_RETRY_SECONDS * 2 ** min(watch.seen.failures - 1, 20)

    def _found(self, watch: _Query) -> DiscoveryResult:
        directory = self._connect(watch.search.target, FAIRNESS_KEY, watch.cancelled.is_set)
        ask = self._retry_policy.retrier(self._retry_policy.first_attempts, lambda seconds: _wait(watch, seconds))
        return find_pools(watch.search, directory, ask, watch.seen.pools)

    def _record(self, watch: _Query, found: DiscoveryResult) -> Reason | None:
        before = watch.seen
        if before.pools != found.pools or not before.looked:
            log.info(
                "looked for pools",
                rule=self._rule_of(watch),
                region=watch.search.target.region,
                pools=len(found.pools),
                joined=len(found.pools.keys() - before.pools.keys()),
                vanished=len(before.pools.keys() - found.pools.keys()),
            )
        if found.fault is not None:
            watch.seen = _failed(replace(before, pools=found.pools), found.fault.reason)
            self._warn(watch, found.fault)
            return found.fault.reason
        watch.seen = _QueryState(found.pools, looked=True, whole=True, up=True, last_success=self._clock.wall())
        return None

    def _warn(self, watch: _Query, error: AwsError) -> None:
        log.warning(
            "not every pool could be looked at; what was known of the others stays",
            rule=self._rule_of(watch),
            region=watch.search.target.region,
            reason=error.reason.value,
            error=str(error),
        )

    def _rule_of(self, watch: _Query) -> int | None:
        place = self._place_of(watch)
        return None if place is None else place.index

    def _place_of(self, watch: _Query) -> _Place | None:
        """Return the place of a search, or None if a reload has removed it."""
        return next((place for place in self._current.places if place.watch is watch), None)


class _OfLooks:
    """`ScheduleObserver` that ignores late and missed runs, because the next run returns the same pools."""

    def __init__(self, observer: DiscoveryObserver) -> None:
        self._observer = observer

    def sweep_overran(self, _job: str, /) -> None:
        """Do nothing."""

    def sweep_missed(self, _job: str, /) -> None:
        """Do nothing."""

    def unexpected_error(self, component: str, /) -> None:
        """Forward the error to the discovery observer."""
        self._observer.unexpected_error(component)


def _failed(seen: _QueryState, reason: Reason) -> _QueryState:
    return replace(seen, looked=True, up=False, reason=reason, failures=seen.failures + 1)


def _by_search(arrangement: DiscoveryPlan) -> dict[tuple[Search, int], _Query]:
    """Map each search to its watch. A number per search distinguishes rules with equal searches."""
    keys = Counter[Search]()
    watches = {}
    for place in arrangement.places:
        search = place.watch.search
        watches[search, keys[search]] = place.watch
        keys[search] += 1
    return watches


def _wait(watch: _Query, seconds: float) -> None:
    if watch.cancelled.wait(seconds):
        raise Cancelled("nobody looks there any more")


def _nobody() -> None:
    """Do nothing. Placeholder for the callback that `Discovery.start` sets."""
