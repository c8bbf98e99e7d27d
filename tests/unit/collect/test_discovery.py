"""Rules gone by again and again: arrangements, changes, failures."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from exporter.aws.rate.limited_api import PoolLister
from exporter.collect.discovery import FIRST_RETRY_SECONDS, Discovery, _Query
from exporter.collect.pool_search import DiscoveryCompleteness
from exporter.config.settings import Limits, PoolSettings, RuleSettings, Search, Settings, TargetSettings
from exporter.errors import AwsError, ConfigError, Denied
from exporter.retry import RetryPolicy
from tests.fakes import FakeAccount, FakeCognito, FakePool, OffsetClock, RecordingObserver, eventually
from tests.unit.collect.listed_pools import settings as pool_settings

IRELAND, OHIO = TargetSettings("eu-west-1"), TargetSettings("us-east-2")
SHOP, BANK, FAR = "eu-west-1_Shop", "eu-west-1_Bank", "us-east-2_Far"
FAST_RETRIES = RetryPolicy(first_attempts=1)
DENIED = Denied("ListUserPools", "AccessDeniedException")


def rule(*targets: TargetSettings, name: str | None = None, interval: float = 600.0) -> RuleSettings:
    searches = tuple(Search(target, name, ()) for target in targets or (IRELAND,))
    return RuleSettings(searches, interval, pool_settings(id=""))


def configured(*rules: RuleSettings, pools: tuple[PoolSettings, ...] = ()) -> Settings:
    return Settings(pools, Limits({}, series=0), discovery=rules)


class World:
    """A directory per Region, and what was heard."""

    def __init__(self) -> None:
        self.clock = OffsetClock()
        self.heard = RecordingObserver()
        self.apis = {
            IRELAND: FakeCognito({SHOP: FakePool("prod-shop"), BANK: FakePool("prod-bank")}),
            OHIO: FakeCognito({FAR: FakePool("far")}),
        }
        self.unreachable: set[TargetSettings] = set()
        self.error: AwsError | Exception = DENIED
        self.refused: ConfigError | None = None
        self.changes = 0
        self.discovery = Discovery(self._connect, self.heard, self.clock, retry_policy=FAST_RETRIES)

    def _connect(self, target: TargetSettings, fairness_key: str, cancelled: Callable[[], bool]) -> PoolLister:
        if target in self.unreachable:
            raise self.error
        return PoolLister(self.apis[target], fairness_key, FakeAccount(observer=self.heard), self.clock, cancelled)

    def apply(self, *rules: RuleSettings, pools: tuple[PoolSettings, ...] = ()) -> None:
        self.discovery.apply(self.discovery.plan(configured(*rules, pools=pools)))

    def changed(self) -> None:
        self.changes += 1
        if self.refused is not None:
            raise self.refused

    def read(self) -> set[str]:
        return {pool.id for pool in self.discovery.current.pools}

    def look(self, target: TargetSettings = IRELAND) -> float | None:
        """One look, without waiting for the schedule."""
        watch: _Query = next(
            place.query for place in self.discovery.current.places if place.query.search.target == target
        )
        return self.discovery._run_query(watch)

    def completeness(self) -> DiscoveryCompleteness:
        return self.discovery.current.completeness


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def running(world: World) -> Iterator[World]:
    world.discovery.start(world.changed)
    yield world
    world.discovery.stop()


def test_every_region_is_looked_at_soon_and_what_it_has_is_told(running: World) -> None:
    running.apply(rule(IRELAND, OHIO))
    assert eventually(lambda: running.read() == {SHOP, BANK, FAR})
    assert eventually(lambda: running.changes == 2)
    assert eventually(lambda: running.heard.heard["looked", "0", "us-east-2", "None"] == 1)
    assert running.heard.heard["rules", "0 in eu-west-1", "0 in us-east-2"] == 1


def test_looks_come_again_at_their_interval(running: World) -> None:
    running.apply(rule(interval=1.0))
    assert eventually(lambda: running.read() == {SHOP, BANK})
    del running.apis[IRELAND].pools[BANK]
    assert eventually(lambda: running.read() == {SHOP})


def test_the_outlook(world: World) -> None:
    assert world.completeness() is DiscoveryCompleteness.SETTLED, "without rules nothing can come to light"
    world.apply(rule(IRELAND, OHIO))
    world.unreachable = {OHIO}
    world.look(IRELAND)
    assert world.completeness() is DiscoveryCompleteness.PENDING
    world.look(OHIO)
    assert world.completeness() is DiscoveryCompleteness.PARTIAL
    world.unreachable = set()
    world.look(OHIO)
    assert world.completeness() is DiscoveryCompleteness.SETTLED
    world.unreachable = {OHIO}
    world.look(OHIO)
    assert world.completeness() is DiscoveryCompleteness.SETTLED, "what was seen once is known"


def test_a_failure_keeps_the_pools_and_is_tried_again_less_and_less_often(world: World) -> None:
    world.apply(rule())
    assert world.look() is None
    world.unreachable = {IRELAND}
    assert [world.look() for _ in range(3)] == [FIRST_RETRY_SECONDS, 2 * FIRST_RETRY_SECONDS, 4 * FIRST_RETRY_SECONDS]
    assert world.read() == {SHOP, BANK}
    (state,) = world.discovery.states()
    assert (state.up, state.pools, state.reason) == (False, 2, DENIED.reason)
    assert state.last_success is not None
    world.unreachable = set()
    assert world.look() is None
    assert world.discovery.states()[0].up
    world.unreachable = {IRELAND}
    assert world.look() == FIRST_RETRY_SECONDS


def test_what_nobody_foresaw_is_told_and_keeps_the_pools(world: World) -> None:
    world.apply(rule())
    world.look()
    world.unreachable, world.error = {IRELAND}, RuntimeError("nobody foresaw this")
    assert world.look() == FIRST_RETRY_SECONDS
    assert world.heard.heard["unexpected", "discovery"] == 1
    assert world.heard.heard["looked", "0", "eu-west-1", "other"] == 1
    assert world.read() == {SHOP, BANK}


def test_pools_that_cannot_be_read_are_a_failure_of_the_look(running: World) -> None:
    running.refused = ConfigError(["the key cannot be used"])
    running.apply(rule())
    assert eventually(lambda: running.heard.heard["looked", "0", "eu-west-1", "other"] == 1)
    assert not running.discovery.states()[0].up


def test_a_rule_that_looks_for_the_same_keeps_what_it_found_wherever_it_stands(world: World) -> None:
    world.apply(rule(OHIO), rule(IRELAND, name="shop"))
    world.look(IRELAND)
    calls = world.apis[IRELAND].calls.total()
    world.apply(rule(IRELAND, name="shop", interval=60.0))
    assert world.read() == {SHOP}
    assert world.completeness() is DiscoveryCompleteness.SETTLED
    assert world.apis[IRELAND].calls.total() == calls
    assert [(state.rule, state.pools, state.up) for state in world.discovery.states()] == [("0", 1, True)]


def test_a_changed_rule_takes_over_what_fits_until_it_has_looked(world: World) -> None:
    world.apply(rule(name="^prod-"))
    world.look()
    world.apply(rule(name="shop$"))
    assert (world.read(), world.completeness()) == ({SHOP}, DiscoveryCompleteness.PENDING)
    world.unreachable = {IRELAND}
    world.look()
    assert world.read() == {SHOP}, "no listing has said that it is gone"
    world.unreachable = set()
    world.apis[IRELAND].pools = {BANK: FakePool("other-shop")}
    world.look()
    assert world.read() == {BANK}


def test_another_region_takes_nothing_over(world: World) -> None:
    world.apply(rule(IRELAND))
    world.look()
    world.apply(rule(OHIO))
    assert world.read() == set()


def test_two_rules_for_the_same_are_told_apart_by_their_order(world: World) -> None:
    world.apply(rule(), rule())
    world.look()
    assert [state.pools for state in world.discovery.states()] == [2, 0]
    world.apply(rule(), rule())
    assert [state.up for state in world.discovery.states()] == [True, False]


def test_an_arrangement_changes_nothing_until_it_is_adopted(world: World) -> None:
    world.apply(rule())
    world.look()
    other = world.discovery.plan(configured(rule(OHIO)))
    assert world.read() == {SHOP, BANK}
    assert other.pools == ()


def test_a_look_whose_rule_was_removed_tells_of_no_rule(world: World) -> None:
    world.apply(rule())
    (place,) = world.discovery.current.places
    world.apply()
    world.discovery._run_query(place.query)
    assert not any(key[0] == "looked" for key in world.heard.heard)
    assert world.read() == set()
