"""Looks for the pools of each rule at its interval, every Region on its own.

What cannot be listed keeps the pools that it had: only a listing that has succeeded takes a pool away.
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
from exporter.collect.pool_search import Found, Names, Outlook, look, shared_out
from exporter.collect.scheduler import Schedule
from exporter.collect.sweeping.workers import PATIENCE, Patience
from exporter.config.settings import PoolSettings, RuleSettings, Search, Settings, TargetSettings
from exporter.errors import AwsError, Cancelled, ConfigError, Reason
from exporter.observers import DiscoveryObserver

FIRST_RETRY = 30.0
"""Seconds until a look that failed is taken again; doubling with each failure, up to the interval."""

SILENCE_SECONDS = 300.0
"""Without a sign of life for so long, the scheduler is taken for dead."""

TURN = "discovery"
"""Whose turns the requests of all rules take in the rate budgets; no pool has this id."""

log = structlog.get_logger()


class ConnectDirectory(Protocol):
    """Opens the directory of an account and Region; raises `AwsError` when that is not possible."""

    def __call__(self, target: TargetSettings, turn: str, cancelled: Callable[[], bool]) -> PoolDirectory:
        """The directory; it asks `cancelled` while it waits."""
        ...


@dataclass(frozen=True, slots=True)
class RuleState:
    """How one rule stands in one Region."""

    rule: str
    """Its index in the configuration."""
    region: str
    pools: int
    """Those that are read because of it: neither `pools` nor a rule before it has them."""
    up: bool
    """Whether the last look saw everything."""
    last_success: float | None
    """When the last look ended that saw everything: wall time in seconds."""
    reason: Reason | None
    """Why the last look did not."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the looks at one Region have given so far."""

    pools: Names = field(default_factory=dict)
    looked: bool = False
    whole: bool = False
    """Whether some look saw everything."""
    up: bool = False
    last_success: float | None = None
    reason: Reason | None = None
    failures: int = 0
    """In a row."""


class _Watch:
    """One search, done again and again."""

    def __init__(self, search: Search, job: str, before: Iterable[_Watch]) -> None:
        """Until it has looked for itself, it stands for what others have found in its Region that may be its own."""
        self.search = search
        self.job = job
        there = [one.seen.pools for one in before if one.search.target.region == search.target.region]
        known = {id_: name for pools in there for id_, name in pools.items()}
        self.seen: _Seen = _Seen({id_: name for id_, name in known.items() if search.fits_name(name)})
        self.cancelled = threading.Event()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one rule looks."""

    watch: _Watch
    index: int
    rule: RuleSettings

    @property
    def labels(self) -> tuple[str, str]:
        return str(self.index), self.watch.search.target.region


@dataclass(frozen=True, slots=True)
class Arrangement:
    """The pools and rules of one configuration, with what the rules have found by now."""

    explicit: tuple[PoolSettings, ...] = ()
    places: tuple[_Place, ...] = ()

    @property
    def pools(self) -> tuple[PoolSettings, ...]:
        """All pools to be read."""
        return (*self.explicit, *(pool for share in self._shares() for pool in share))

    @property
    def outlook(self) -> Outlook:
        """Whether further pools may come to light."""
        seen = [place.watch.seen for place in self.places]
        if not all(one.looked for one in seen):
            return Outlook.PENDING
        return Outlook.SETTLED if all(one.whole for one in seen) else Outlook.PARTIAL

    def states(self) -> tuple[RuleState, ...]:
        """How each rule stands in each of its Regions."""
        return tuple(
            RuleState(*place.labels, len(share), seen.up, seen.last_success, seen.reason)
            for place, share in zip(self.places, self._shares(), strict=True)
            for seen in (place.watch.seen,)
        )

    def _shares(self) -> list[tuple[PoolSettings, ...]]:
        found = [(place.rule, place.watch.search, place.watch.seen.pools) for place in self.places]
        return shared_out(self.explicit, found)


class Discovery:
    """The rules in force; others can be put in their place while they are gone by."""

    def __init__(
        self, connect: ConnectDirectory, observer: DiscoveryObserver, clock: Clock, *, patience: Patience = PATIENCE
    ) -> None:
        self._connect = connect
        self._observer = observer
        self._clock = clock
        self._patience = patience
        self._numbers = count()
        self._current = Arrangement()
        self._changed: Callable[[], None] = _nobody
        self._schedule = Schedule(_OfLooks(observer), clock, "look")

    @property
    def current(self) -> Arrangement:
        """What is in force, with what was found by now."""
        return self._current

    def states(self) -> tuple[RuleState, ...]:
        """How each rule stands in each of its Regions, in the order of the configuration."""
        return self._current.states()

    def start(self, changed: Callable[[], None]) -> None:
        """Begin to look; `changed` is called after each look and may raise `ConfigError`: its pools cannot be read."""
        self._changed = changed
        self._schedule.start()

    def stop(self) -> None:
        """Take no more looks; one under way ends at its next step."""
        self._schedule.stop()
        for place in self._current.places:
            place.watch.cancelled.set()

    def arranged(self, settings: Settings) -> Arrangement:
        """How these settings would stand; nothing changes yet.

        A rule that looks for the same as one of now keeps what that has found. Another takes over what was found in
        its Region under a name that fits, until it has looked for itself.
        """
        watches = _by_search(self._current)
        keys = Counter[Search]()
        wanted = []
        for index, rule in enumerate(settings.discovery):
            for search in rule.searches:
                wanted.append((index, rule, search, keys[search]))
                keys[search] += 1
        kept = {(search, number): watches.pop((search, number), None) for _, _, search, number in wanted}
        return Arrangement(
            settings.pools,
            tuple(
                _Place(kept[search, number] or self._watch(search, watches.values()), index, rule)
                for index, rule, search, number in wanted
            ),
        )

    def adopt(self, arrangement: Arrangement) -> None:
        """Go by another arrangement from now on: what is new looks at once. Not to be called by two threads at once."""
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

    def silence(self) -> str | None:
        """That the scheduler has shown no life for five minutes; None when all is well."""
        if self._schedule.silent_seconds() > SILENCE_SECONDS:
            return "the scheduler of discovery has shown no life for 5 minutes"
        return None

    def _watch(self, search: Search, before: Iterable[_Watch]) -> _Watch:
        return _Watch(search, f"{search.target.region}-{next(self._numbers)}", before)

    def _look(self, watch: _Watch) -> float | None:
        """One look; the seconds after which to try again when it did not see everything."""
        reason: Reason | None = None
        try:
            found = self._found(watch)
        except Cancelled:
            return None
        except AwsError as error:
            reason = error.reason
            watch.seen = _failed(watch.seen, reason)
            self._tell(watch, error)
        except Exception:
            reason = Reason.OTHER
            watch.seen = _failed(watch.seen, reason)
            self._observer.failed_unexpectedly("discovery")
            log.exception("looking for pools failed unexpectedly", region=watch.search.target.region)
        else:
            reason = self._note(watch, found)
        return self._after(watch, reason)

    def _after(self, watch: _Watch, reason: Reason | None) -> float | None:
        try:
            self._changed()
        except ConfigError as error:
            reason = Reason.OTHER
            watch.seen = _failed(watch.seen, reason)
            log.error("the pools that were found cannot be read", region=watch.search.target.region, error=str(error))
        place = self._place_of(watch)
        if place is not None:
            self._observer.look_ended(*place.labels, reason)
        return None if reason is None else FIRST_RETRY * 2 ** min(watch.seen.failures - 1, 20)

    def _found(self, watch: _Watch) -> Found:
        directory = self._connect(watch.search.target, TURN, watch.cancelled.is_set)
        ask = self._patience.retrier(self._patience.first_attempts, lambda seconds: _wait(watch, seconds))
        return look(watch.search, directory, ask, watch.seen.pools)

    def _note(self, watch: _Watch, found: Found) -> Reason | None:
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
            self._tell(watch, found.fault)
            return found.fault.reason
        watch.seen = _Seen(found.pools, looked=True, whole=True, up=True, last_success=self._clock.wall())
        return None

    def _tell(self, watch: _Watch, error: AwsError) -> None:
        log.warning(
            "not every pool could be looked at; what was known of the others stays",
            rule=self._rule_of(watch),
            region=watch.search.target.region,
            reason=error.reason.value,
            error=str(error),
        )

    def _rule_of(self, watch: _Watch) -> int | None:
        place = self._place_of(watch)
        return None if place is None else place.index

    def _place_of(self, watch: _Watch) -> _Place | None:
        """None when a reload has taken it away."""
        return next((place for place in self._current.places if place.watch is watch), None)


class _OfLooks:
    """`exporter.collect.scheduler.ScheduleObserver`: a late look is no news, as the next one sees the same."""

    def __init__(self, observer: DiscoveryObserver) -> None:
        self._observer = observer

    def sweep_overran(self, _job: str, /) -> None:
        """No news."""

    def sweep_missed(self, _job: str, /) -> None:
        """No news."""

    def failed_unexpectedly(self, component: str, /) -> None:
        """Tell."""
        self._observer.failed_unexpectedly(component)


def _failed(seen: _Seen, reason: Reason) -> _Seen:
    return replace(seen, looked=True, up=False, reason=reason, failures=seen.failures + 1)


def _by_search(arrangement: Arrangement) -> dict[tuple[Search, int], _Watch]:
    """Two rules may look for the same: they are told apart by their order."""
    keys = Counter[Search]()
    watches = {}
    for place in arrangement.places:
        search = place.watch.search
        watches[search, keys[search]] = place.watch
        keys[search] += 1
    return watches


def _wait(watch: _Watch, seconds: float) -> None:
    if watch.cancelled.wait(seconds):
        raise Cancelled("nobody looks there any more")


def _nobody() -> None:
    """Nobody is to hear of changes before the start."""
