from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from exporter.aws.rate.limited_api import PoolLister
from exporter.collect.discovery import Discovery, _Query
from exporter.collect.pool_search import DiscoveryCompleteness
from exporter.collect.scheduler import FIRST_RETRY_SECONDS
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
    """Discovery over one fake account per Region."""

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

    def pool_ids(self) -> set[str]:
        return {pool.id for pool in self.discovery.current.pools}

    def run_query(self, target: TargetSettings = IRELAND) -> float | None:
        """Run the query of a target once."""
        query: _Query = next(
            planned.query for planned in self.discovery.current.queries if planned.query.search.target == target
        )
        return self.discovery._run_query(query)

    def completeness(self) -> DiscoveryCompleteness:
        return self.discovery.current.completeness


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def running(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("exporter.collect.scheduler.START_JITTER_MAX", 0.01)
    world.discovery.start(world.changed)
    yield world
    world.discovery.stop()


def test_every_region_is_queried_and_reported(running: World) -> None:
    running.apply(rule(IRELAND, OHIO))
    assert eventually(lambda: running.pool_ids() == {SHOP, BANK, FAR})
    assert eventually(lambda: running.changes == 2)
    assert eventually(lambda: running.heard.heard["discovered", "0", "us-east-2", "None"] == 1)
    assert running.heard.heard["rules", "0 in eu-west-1", "0 in us-east-2"] == 1


def test_queries_run_at_their_interval(running: World) -> None:
    running.apply(rule(interval=1.0))
    assert eventually(lambda: running.pool_ids() == {SHOP, BANK})
    del running.apis[IRELAND].pools[BANK]
    assert eventually(lambda: running.pool_ids() == {SHOP})


def test_completeness_follows_the_runs_of_every_region(world: World) -> None:
    assert world.completeness() is DiscoveryCompleteness.SETTLED, "without rules"
    world.apply(rule(IRELAND, OHIO))
    world.unreachable = {OHIO}
    world.run_query(IRELAND)
    assert world.completeness() is DiscoveryCompleteness.PENDING
    world.run_query(OHIO)
    assert world.completeness() is DiscoveryCompleteness.PARTIAL
    world.unreachable = set()
    world.run_query(OHIO)
    assert world.completeness() is DiscoveryCompleteness.SETTLED
    world.unreachable = {OHIO}
    world.run_query(OHIO)
    assert world.completeness() is DiscoveryCompleteness.SETTLED, "stays complete"


def test_failure_keeps_the_pools_and_doubles_the_retry_delay(world: World) -> None:
    world.apply(rule())
    assert world.run_query() is None
    world.unreachable = {IRELAND}
    assert [world.run_query() for _ in range(3)] == [
        FIRST_RETRY_SECONDS,
        2 * FIRST_RETRY_SECONDS,
        4 * FIRST_RETRY_SECONDS,
    ]
    assert world.pool_ids() == {SHOP, BANK}
    (state,) = world.discovery.states()
    assert (state.up, state.pools, state.reason) == (False, 2, DENIED.reason)
    assert state.last_success is not None
    world.unreachable = set()
    assert world.run_query() is None
    assert world.discovery.states()[0].up
    world.unreachable = {IRELAND}
    assert world.run_query() == FIRST_RETRY_SECONDS


def test_unexpected_error_is_counted_and_keeps_the_pools(world: World) -> None:
    world.apply(rule())
    world.run_query()
    world.unreachable, world.error = {IRELAND}, RuntimeError("bug")
    assert world.run_query() == FIRST_RETRY_SECONDS
    assert world.heard.heard["unexpected", "discovery"] == 1
    assert world.heard.heard["discovered", "0", "eu-west-1", "other"] == 1
    assert world.pool_ids() == {SHOP, BANK}


def test_pools_that_cannot_be_applied_fail_the_run(running: World) -> None:
    running.refused = ConfigError(["the key cannot be used"])
    running.apply(rule())
    assert eventually(lambda: running.heard.heard["discovered", "0", "eu-west-1", "other"] == 1)
    assert not running.discovery.states()[0].up


def test_unchanged_search_keeps_its_pools_at_another_index(world: World) -> None:
    world.apply(rule(OHIO), rule(IRELAND, name="shop"))
    world.run_query(IRELAND)
    calls = world.apis[IRELAND].calls.total()
    world.apply(rule(IRELAND, name="shop", interval=60.0))
    assert world.pool_ids() == {SHOP}
    assert world.completeness() is DiscoveryCompleteness.SETTLED
    assert world.apis[IRELAND].calls.total() == calls
    assert [(state.rule, state.pools, state.up) for state in world.discovery.states()] == [("0", 1, True)]


def test_changed_rule_takes_over_matching_pools_until_it_runs(world: World) -> None:
    world.apply(rule(name="^prod-"))
    world.run_query()
    world.apply(rule(name="shop$"))
    assert (world.pool_ids(), world.completeness()) == ({SHOP}, DiscoveryCompleteness.PENDING)
    world.unreachable = {IRELAND}
    world.run_query()
    assert world.pool_ids() == {SHOP}, "no listing without it was complete"
    world.unreachable = set()
    world.apis[IRELAND].pools = {BANK: FakePool("other-shop")}
    world.run_query()
    assert world.pool_ids() == {BANK}


@pytest.mark.parametrize(
    ("target", "kept"),
    [
        (OHIO, set()),
        (TargetSettings("eu-west-1", endpoint_url="https://localhost:8443"), set()),
        (TargetSettings("eu-west-1", "arn:aws:iam::222222222222:role/reader"), set()),
        (TargetSettings("eu-west-1", "arn:aws:iam::111111111111:role/other"), {SHOP, BANK}),
        (TargetSettings("eu-west-1", "arn:aws:iam::111111111111:role/reader", external_id="id"), {SHOP, BANK}),
    ],
    ids=["Region", "endpoint", "account", "role", "external ID"],
)
def test_rule_takes_over_pools_of_the_same_place_only(world: World, target: TargetSettings, kept: set[str]) -> None:
    reader = TargetSettings("eu-west-1", "arn:aws:iam::111111111111:role/reader")
    world.apis[reader] = world.apis[IRELAND]
    world.apply(rule(reader))
    world.run_query(reader)
    world.apply(rule(target))
    assert world.pool_ids() == kept


def test_rules_with_equal_searches_are_matched_in_order(world: World) -> None:
    world.apply(rule(), rule())
    world.run_query()
    assert [state.pools for state in world.discovery.states()] == [2, 0]
    world.apply(rule(), rule())
    assert [state.up for state in world.discovery.states()] == [True, False]


def test_plan_changes_nothing_until_it_is_applied(world: World) -> None:
    world.apply(rule())
    world.run_query()
    other = world.discovery.plan(configured(rule(OHIO)))
    assert world.pool_ids() == {SHOP, BANK}
    assert other.pools == ()


def test_run_of_a_removed_rule_is_not_reported(world: World) -> None:
    world.apply(rule())
    (planned,) = world.discovery.current.queries
    world.apply()
    world.discovery._run_query(planned.query)
    assert not any(key[0] == "discovered" for key in world.heard.heard)
    assert world.pool_ids() == set()
