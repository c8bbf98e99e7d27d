from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter.aws.api import Category, CognitoApi
from exporter.aws.rate.limiters import RateLimiters
from exporter.aws.targets import TargetClients
from exporter.collect.discovery import Discovery
from exporter.collect.pool_search import DiscoveryCompleteness
from exporter.collect.pools import PoolManager
from exporter.config.load import parse_settings
from exporter.config.settings import (
    TEMPLATE_ID,
    Detail,
    IdentityMode,
    Limits,
    PoolSettings,
    RuleSettings,
    Search,
    Settings,
    TargetSettings,
)
from exporter.daemon.active_config import ActiveConfig, ConfigurationFile
from exporter.errors import ConfigError
from exporter.metrics.self_metrics import SelfMetrics
from exporter.shard import UNSHARDED, Shard
from tests.fakes import FakeCognito, FakePool, OffsetClock, eventually
from tests.unit.collect.listed_pools import device, settings

FIRST, SECOND = "eu-west-1_First", "us-east-2_Second"
IRELAND, OHIO = TargetSettings("eu-west-1"), TargetSettings("us-east-2")
RATES: dict[str, Any] = {category.value: 1000.0 for category in Category}


def pool(pool_id: str, **changes: Any) -> PoolSettings:
    target = IRELAND if pool_id == FIRST else OHIO
    return settings(**{"id": pool_id, "target": target, "refresh_interval": 3600.0, "detail": Detail.USER, **changes})


def configured(*pools: PoolSettings, rates: dict[str, Any] | None = None, state: Path | None = None) -> Settings:
    return Settings(pools, Limits(rates or RATES, series=100), state)


class World:
    """The parts that a configuration is put in force in, over the fake."""

    def __init__(self, first: Settings, shard: Shard = UNSHARDED) -> None:
        self.clock = OffsetClock()
        self.own = SelfMetrics(version="test")
        self.api = FakeCognito({name: FakePool(users={"ann": (device("a"),)}) for name in (FIRST, SECOND)})
        self.budgets = RateLimiters(first.limits.rate, self.clock)
        self.connections = TargetClients(self._make, self.budgets, self.own, self.clock)
        self.fleet = PoolManager(self.connections.reader, self.own, self.clock, shard=shard)
        self.applied: list[Settings] = []
        self.held: threading.Event | None = None
        self.discovery = Discovery(self.connections.directory, self.own, self.clock)
        self.in_force = ActiveConfig(
            first, self.fleet, self.discovery, self.connections, shard=shard, applied=self._record
        )

    def _record(self, settings: Settings) -> None:
        self.applied.append(settings)
        if self.held is not None:
            assert self.held.wait(10)

    def _make(self, _target: TargetSettings) -> CognitoApi:
        return self.api

    def regions(self) -> set[str]:
        return {state.target.region for state in self.budgets.states()}

    def shown(self) -> list[str]:
        return [view.settings.id for view in self.fleet.views()]

    def told_rows(self) -> int:
        """Users shown of all pools."""
        return sum(len(view.data.rows) for view in self.fleet.views() if view.data is not None)

    def told_of(self, region: str) -> bool:
        """Whether a metric has the Region among its labels."""
        return any(
            region in sample.labels.values() for family in self.own.registry.collect() for sample in family.samples
        )


def test_the_first_and_every_other_configuration_is_in_force_and_told() -> None:
    one, two = configured(pool(FIRST)), configured(pool(SECOND))
    world = World(one)
    assert (world.in_force.settings, world.shown(), world.regions()) == (one, [FIRST], {"eu-west-1"})
    world.in_force.apply(two)
    assert (world.in_force.settings, world.shown(), world.regions()) == (two, [SECOND], {"us-east-2"})
    assert world.applied == [one, two]


def test_the_edition_rises_with_each_configuration_that_came_into_force_and_before_anybody_is_told(
    tmp_path: Path,
) -> None:
    one, two = configured(pool(FIRST)), configured(pool(SECOND))
    world = World(one)
    assert world.in_force.generation == 1
    world.held = threading.Event()
    applying = threading.Thread(target=world.in_force.apply, args=(two,))
    applying.start()
    assert eventually(lambda: world.applied == [one, two])
    assert world.in_force.generation == 2
    world.held.set()
    applying.join(10)
    assert world.in_force.generation == 2
    with pytest.raises(ConfigError):
        world.in_force.apply(configured(pool(FIRST, identity=IdentityMode.HMAC, identity_key_file=tmp_path / "gone")))
    assert world.in_force.generation == 2


def test_rates_hold_for_the_budgets_that_are_there_and_those_that_come() -> None:
    world = World(configured(pool(FIRST)))
    world.in_force.apply(configured(pool(FIRST), pool(SECOND), rates=RATES | {"UserList": 7.0}))
    rates = {(s.target.region, s.configured) for s in world.budgets.states() if s.category is Category.USER_LIST}
    assert rates == {("eu-west-1", 7.0), ("us-east-2", 7.0)}


def test_what_is_refused_changes_nothing_and_leaves_every_pool_its_connection(tmp_path: Path) -> None:
    one = configured(pool(FIRST))
    world = World(one)
    before = world.connections.reader(pool(FIRST), lambda: False)
    keyed = pool(SECOND, identity=IdentityMode.HMAC, identity_key_file=tmp_path / "gone")
    with pytest.raises(ConfigError, match=r"the key of the user labels cannot be used: .*No such file"):
        world.in_force.apply(configured(keyed))
    assert (world.in_force.settings, world.shown(), world.regions()) == (one, [FIRST], {"eu-west-1"})
    assert not world.told_of("us-east-2")
    assert world.connections.reader(pool(FIRST), lambda: False)._account is before._account, "the same all along"
    assert world.fleet._pools[FIRST].sweep() is None
    assert world.applied == [one]


@pytest.mark.parametrize(("before", "after"), [(None, "b.db"), ("a.db", None), ("a.db", "b.db")])
def test_the_state_file_is_that_of_the_start(tmp_path: Path, before: str | None, after: str | None) -> None:
    paths = [None if name is None else tmp_path / name for name in (before, after)]
    world = World(configured(pool(FIRST), state=paths[0]))
    with pytest.raises(ConfigError) as caught:
        world.in_force.apply(configured(pool(FIRST), state=paths[1]))
    now, then = (path or "null" for path in paths)
    assert caught.value.problems == (f"state.path: cannot change without a restart, expected {now} (found {then})",)


def test_shards_refuse_labels_that_would_differ() -> None:
    world = World(configured(pool(FIRST, detail=Detail.POOL)), Shard(0, 2))
    keyless = configured(pool(FIRST, identity=IdentityMode.HMAC), state=None)
    with pytest.raises(ConfigError, match="needs a key that all shards share"):
        world.in_force.apply(keyless)


def test_what_ends_after_its_target_was_removed_brings_no_metric_back() -> None:
    world = World(configured(pool(FIRST), pool(SECOND)))
    reader = world.connections.reader(pool(SECOND), lambda: False)
    reader.describe()
    assert world.told_of("us-east-2")
    world.in_force.apply(configured(pool(FIRST)))
    assert not world.told_of("us-east-2")
    reader.describe()
    assert not world.told_of("us-east-2")
    assert world.told_of("eu-west-1")


def test_a_sweep_that_begins_when_its_target_is_gone_is_no_failure() -> None:
    world = World(configured(pool(FIRST), pool(SECOND)))
    late = world.fleet._pools[SECOND]
    world.in_force.apply(configured(pool(FIRST)))
    late._cancelled = threading.Event()  # as if it had just looked
    with capture_logs() as logs:
        assert late.sweep() is None
    assert logs == []


def test_after_the_stop_no_configuration_is_put_in_force() -> None:
    world = World(configured(pool(FIRST)))
    world.fleet.start()
    world.discovery.start(world.in_force.rediscovered)
    world.in_force.stop()
    with pytest.raises(ConfigError, match=r"^the exporter is stopping$"):
        world.in_force.apply(configured(pool(SECOND)))


def test_a_stop_waits_for_a_configuration_only_so_long() -> None:
    world = World(configured(pool(FIRST)))
    world.held = threading.Event()
    applying = threading.Thread(target=world.in_force.apply, args=(configured(pool(SECOND)),))
    applying.start()
    with capture_logs() as logs:
        world.in_force.stop()
    world.held.set()
    applying.join(10)
    assert [entry["event"] for entry in logs] == ["stopping in the middle of a reload"]


def test_what_a_rule_has_found_is_swept_from_then_on_until_the_stop() -> None:
    rule = RuleSettings((Search(IRELAND, "shop", ()),), 3600.0, pool(FIRST, id=TEMPLATE_ID))
    world = World(Settings((), Limits(RATES, series=100), discovery=(rule,)))
    world.api.pools[FIRST].name = "shop"
    (place,) = world.discovery.current.places
    completeness = [world.fleet._completeness]
    world.discovery._run_query(place.query)
    assert world.shown() == [], "nobody has told"
    assert world.in_force.generation == 1
    world.in_force.rediscovered()
    assert world.in_force.generation == 2
    assert world.shown() == [FIRST]
    assert [*completeness, world.fleet._completeness] == [DiscoveryCompleteness.PENDING, DiscoveryCompleteness.SETTLED]
    swept = world.in_force._swept
    assert swept is not None
    world.in_force.rediscovered()
    assert world.in_force._swept is swept, "nothing new"
    assert world.in_force.generation == 2
    assert world.told_rows() == 0
    world.fleet._pools[FIRST].sweep()
    assert world.told_rows() == 1
    world.fleet.start()
    world.discovery.start(world.in_force.rediscovered)
    world.in_force.stop()
    place.query.state = replace(place.query.state, pools={})
    world.in_force.rediscovered()
    assert world.shown() == [FIRST], "after the stop nothing changes"


YAML = "pools:\n  - id: eu-west-1_First\n"


def file_of(tmp_path: Path, text: str = YAML) -> tuple[World, ConfigurationFile]:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    world = World(parse_settings(text, str(path)))
    return world, ConfigurationFile(path, world.in_force)


def test_a_file_is_read_whole_before_it_is_put_in_force(tmp_path: Path) -> None:
    world, file = file_of(tmp_path)
    (tmp_path / "config.yaml").write_text(YAML + "  - id: us-east-2_Second\n")
    put_in_force: Callable[[], None] = file.read()
    assert world.shown() == [FIRST]
    put_in_force()
    assert world.shown() == [FIRST, SECOND]


def test_what_a_running_process_cannot_take_is_told_with_the_file(tmp_path: Path) -> None:
    _world, file = file_of(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text(f"{YAML}state:\n  path: other.db\n")
    with pytest.raises(ConfigError) as caught:
        file.read()
    (fault,) = caught.value.problems
    assert fault.startswith(f"{path}: state.path: cannot change without a restart, expected null (found ")


def test_whether_a_file_says_what_is_in_force(tmp_path: Path) -> None:
    _, file = file_of(tmp_path)
    assert file.is_in_force()
    (tmp_path / "config.yaml").write_text(f"# the same\n{YAML}")
    assert file.is_in_force()
    (tmp_path / "config.yaml").write_text(f"{YAML}    refresh_interval: 5m\n")
    assert not file.is_in_force()
    (tmp_path / "config.yaml").unlink()
    assert not file.is_in_force()


def test_while_a_file_is_refused_what_it_needs_is_among_the_files(tmp_path: Path) -> None:
    _, file = file_of(tmp_path)
    config, key, state = (tmp_path / name for name in ("config.yaml", "a.key", "states"))
    text = f"defaults: {{detail: user, identity_key_file: a.key}}\n{YAML}state: {{path: states/state.db}}\n"
    config.write_text(text)
    with pytest.raises(ConfigError):
        file.read()
    assert file.files() == (config, key, state)
    config.write_text("pools: [")
    with pytest.raises(ConfigError):
        file.read()
    assert file.files() == (config,)
    key.touch(0o600)
    key.write_text("the key of these tests")
    state.mkdir()
    config.write_text(text)
    with pytest.raises(ConfigError, match="cannot change without a restart"):
        file.read()
    assert file.files() == (config, key)


def test_a_directory_in_the_place_of_the_state_file_is_among_the_files_and_a_state_file_is_not(tmp_path: Path) -> None:
    _, file = file_of(tmp_path)
    config, state = tmp_path / "config.yaml", tmp_path / "state.db"
    config.write_text(f"limits: 7\n{YAML}state: {{path: state.db}}\n")
    for make, expected in ((state.touch, (config, tmp_path)), (state.mkdir, (config, tmp_path, state))):
        make()
        with pytest.raises(ConfigError):
            file.read()
        assert sorted(file.files()) == sorted(expected)
        if state.is_file():
            state.unlink()


def test_what_is_put_in_force_later_or_never_is_among_the_files_too(tmp_path: Path) -> None:
    _, file = file_of(tmp_path)
    key = tmp_path / "a.key"
    key.touch(0o600)
    key.write_text("the key of these tests")
    (tmp_path / "config.yaml").write_text(f"{YAML}    detail: user\n    identity_key_file: a.key\n")
    put_in_force = file.read()
    assert file.files() == (tmp_path / "config.yaml", key)
    key.unlink()
    with pytest.raises(ConfigError, match="the key of the user labels cannot be used"):
        put_in_force()
    assert file.files() == (tmp_path / "config.yaml", key)


def test_the_files_are_that_of_the_configuration_and_its_keys(tmp_path: Path) -> None:
    for name in ("a.key", "b.key"):
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_text("the key of these tests")
    text = f"defaults: {{identity_key_file: b.key}}\n{YAML}    identity_key_file: a.key\n  - id: us-east-2_Second\n"
    world, file = file_of(tmp_path, text)
    assert file.files() == (tmp_path / "config.yaml", tmp_path / "a.key", tmp_path / "b.key")
    world.in_force.apply(replace(world.in_force.settings, pools=()))
    assert file.files() == (tmp_path / "config.yaml",)
