from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trustme
from structlog.testing import capture_logs

from exporter.aws.api import Category, CognitoApi
from exporter.aws.rate.limiters import RateLimiters
from exporter.aws.targets import TargetClients
from exporter.collect.discovery import Discovery
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
from exporter.config.web.load import load_web_settings
from exporter.config.web.settings import WebSettings
from exporter.daemon.active_config import ActiveConfig, ConfigFile, WebConfigFile
from exporter.errors import ConfigError
from exporter.metrics.self_metrics import SelfMetrics
from exporter.options import ListenAddress, ServeOptions
from exporter.shard import UNSHARDED, Shard
from tests.fakes import FakeCognito, FakePool, OffsetClock, eventually
from tests.unit.collect.listed_pools import device, settings

FIRST, SECOND = "eu-west-1_First", "us-east-2_Second"
LOOPBACK, EVERYWHERE = ListenAddress("127.0.0.1", 0), ListenAddress("", 0)
IRELAND, OHIO = TargetSettings("eu-west-1"), TargetSettings("us-east-2")
NO_WEB, WITH_USERS = WebSettings(), WebSettings(users={b"alice": b"hash"})
RATES: dict[str, Any] = {category.value: 1000.0 for category in Category}


def pool(pool_id: str, **changes: Any) -> PoolSettings:
    target = IRELAND if pool_id == FIRST else OHIO
    return settings(**{"id": pool_id, "target": target, "refresh_interval": 3600.0, "detail": Detail.USER, **changes})


def configured(*pools: PoolSettings, rates: dict[str, Any] | None = None, state: Path | None = None) -> Settings:
    return Settings(pools, Limits(rates or RATES, series=100), state)


class Exposure:
    """Records the exposure of raw names; while `held` is set, the report blocks."""

    def __init__(self) -> None:
        self.reports: list[bool] = []
        self.held: threading.Event | None = None

    def identity_exposed(self, *, exposed: bool) -> None:
        self.reports.append(exposed)
        if self.held is not None:
            assert self.held.wait(10)


class World:
    """The parts that a configuration is applied to, over the fake."""

    def __init__(
        self,
        first: Settings,
        shard: Shard = UNSHARDED,
        web: WebSettings = NO_WEB,
        addresses: tuple[ListenAddress, ...] = (LOOPBACK,),
    ) -> None:
        self.clock = OffsetClock()
        self.own = SelfMetrics(version="test")
        self.api = FakeCognito({name: FakePool(users={"ann": (device("a"),)}) for name in (FIRST, SECOND)})
        self.budgets = RateLimiters(first.limits.rate, self.clock)
        self.clients = TargetClients(self._make, self.budgets, self.own, self.clock)
        self.pools = PoolManager(self.clients.reader, self.own, self.clock, shard=shard)
        self.exposure = Exposure()
        self.discovery = Discovery(self.clients.directory, self.own, self.clock)
        options = ServeOptions(Path("config.yaml"), addresses, shard=shard)
        self.active = ActiveConfig(first, web, options, self.pools, self.discovery, self.clients, self.exposure)

    def _make(self, _target: TargetSettings) -> CognitoApi:
        return self.api

    def regions(self) -> set[str]:
        return {state.target.region for state in self.budgets.states()}

    def shown(self) -> list[str]:
        return [view.settings.id for view in self.pools.views()]

    def shown_users(self) -> int:
        """Number of users shown, over all pools."""
        return sum(len(view.data.rows) for view in self.pools.views() if view.data is not None)

    def has_metric_of(self, region: str) -> bool:
        """Return whether a metric has the Region as a label."""
        return any(
            region in sample.labels.values() for family in self.own.registry.collect() for sample in family.samples
        )


def test_apply_replaces_pools_and_clients() -> None:
    one, two = configured(pool(FIRST)), configured(pool(SECOND))
    world = World(one)
    assert (world.active.settings, world.shown(), world.regions()) == (one, [FIRST], {"eu-west-1"})
    world.active.apply(two)
    assert (world.active.settings, world.shown(), world.regions()) == (two, [SECOND], {"us-east-2"})


def test_generation_increases_with_each_applied_configuration(
    tmp_path: Path,
) -> None:
    one, two = configured(pool(FIRST)), configured(pool(SECOND))
    world = World(one)
    assert world.active.generation == 1
    world.exposure.held = threading.Event()
    applying = threading.Thread(target=world.active.apply, args=(two,))
    applying.start()
    assert eventually(lambda: len(world.exposure.reports) == 2)
    assert world.active.generation == 2
    world.exposure.held.set()
    applying.join(10)
    assert world.active.generation == 2
    with pytest.raises(ConfigError):
        world.active.apply(configured(pool(FIRST, identity=IdentityMode.HMAC, identity_key_file=tmp_path / "gone")))
    assert world.active.generation == 2


def test_rates_apply_to_existing_and_new_rate_limiters() -> None:
    world = World(configured(pool(FIRST)))
    world.active.apply(configured(pool(FIRST), pool(SECOND), rates=RATES | {"UserList": 7.0}))
    rates = {(s.target.region, s.configured) for s in world.budgets.states() if s.category is Category.USER_LIST}
    assert rates == {("eu-west-1", 7.0), ("us-east-2", 7.0)}


def test_rejected_configuration_changes_nothing(tmp_path: Path) -> None:
    one = configured(pool(FIRST))
    world = World(one)
    before = world.clients.reader(pool(FIRST), lambda: False)
    keyed = pool(SECOND, identity=IdentityMode.HMAC, identity_key_file=tmp_path / "gone")
    with pytest.raises(ConfigError, match=r"cannot use identity key: .*No such file"):
        world.active.apply(configured(keyed))
    assert (world.active.settings, world.shown(), world.regions()) == (one, [FIRST], {"eu-west-1"})
    assert not world.has_metric_of("us-east-2")
    assert world.clients.reader(pool(FIRST), lambda: False).account is before.account, "unchanged"
    world.pools.start()
    assert eventually(lambda: world.shown_users() == 1)
    world.pools.stop()


@pytest.mark.parametrize(("before", "after"), [(None, "b.db"), ("a.db", None), ("a.db", "b.db")])
def test_changed_state_file_is_rejected(tmp_path: Path, before: str | None, after: str | None) -> None:
    paths = [None if name is None else tmp_path / name for name in (before, after)]
    world = World(configured(pool(FIRST), state=paths[0]))
    with pytest.raises(ConfigError) as caught:
        world.active.apply(configured(pool(FIRST), state=paths[1]))
    now, then = (path or "null" for path in paths)
    assert caught.value.problems == (f"state.path: cannot change without a restart, expected {now} (found {then})",)


def test_shards_without_a_shared_key_are_rejected() -> None:
    world = World(configured(pool(FIRST, detail=Detail.POOL)), Shard(0, 2))
    keyless = configured(pool(FIRST, identity=IdentityMode.HMAC), state=None)
    with pytest.raises(ConfigError, match="needs a key that all shards share"):
        world.active.apply(keyless)


def test_request_after_removal_of_its_target_adds_no_metric() -> None:
    world = World(configured(pool(FIRST), pool(SECOND)))
    reader = world.clients.reader(pool(SECOND), lambda: False)
    reader.describe()
    assert world.has_metric_of("us-east-2")
    world.active.apply(configured(pool(FIRST)))
    assert not world.has_metric_of("us-east-2")
    reader.describe()
    assert not world.has_metric_of("us-east-2")
    assert world.has_metric_of("eu-west-1")


def test_sweep_after_removal_of_its_target_is_not_a_failure() -> None:
    world = World(configured(pool(FIRST), pool(SECOND)))
    late = world.pools._pools[SECOND]
    world.active.apply(configured(pool(FIRST)))
    late._cancelled = threading.Event()  # as if it had checked just before
    with capture_logs() as logs:
        assert late.sweep() is None
    assert logs == []


def test_apply_after_stop_is_rejected() -> None:
    world = World(configured(pool(FIRST)))
    world.pools.start()
    world.discovery.start(world.active.apply_discovery)
    world.active.stop()
    with pytest.raises(ConfigError, match=r"^the exporter is stopping$"):
        world.active.apply(configured(pool(SECOND)))


def test_stop_waits_a_limited_time_for_a_reload() -> None:
    world = World(configured(pool(FIRST)))
    world.exposure.held = threading.Event()
    applying = threading.Thread(target=world.active.apply, args=(configured(pool(SECOND)),))
    applying.start()
    with capture_logs() as logs:
        world.active.stop()
    world.exposure.held.set()
    applying.join(10)
    assert [entry["event"] for entry in logs] == ["stopping without waiting for a reload in progress"]


def test_discovered_pools_are_swept_until_stop() -> None:
    rule = RuleSettings((Search(IRELAND, "shop", ()),), 3600.0, pool(FIRST, id=TEMPLATE_ID))
    world = World(Settings((), Limits(RATES, series=100), discovery=(rule,)))
    world.api.pools[FIRST].name = "shop"
    assert not world.pools.is_ready(), "discovery is pending"
    (planned,) = world.discovery.current.queries
    found = threading.Event()
    world.discovery.start(found.set)
    assert found.wait(10)
    assert world.shown() == [], "not applied yet"
    assert world.active.generation == 1
    world.active.apply_discovery()
    assert world.active.generation == 2
    assert world.shown() == [FIRST]
    world.active.apply_discovery()
    assert world.active.generation == 2, "unchanged"
    assert world.shown_users() == 0
    world.pools.start()
    assert eventually(lambda: world.shown_users() == 1)
    assert world.pools.is_ready()
    world.active.stop()
    planned.query.state = replace(planned.query.state, pools={})
    world.active.apply_discovery()
    assert (world.shown(), world.active.generation) == ([FIRST], 2), "stopped"


YAML = "pools:\n  - id: eu-west-1_First\n"


def file_of(tmp_path: Path, text: str = YAML) -> tuple[World, ConfigFile]:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    world = World(parse_settings(text, str(path)))
    return world, ConfigFile(path, world.active)


def test_config_file_is_checked_before_it_is_applied(tmp_path: Path) -> None:
    world, file = file_of(tmp_path)
    (tmp_path / "config.yaml").write_text(YAML + "  - id: us-east-2_Second\n")
    apply: Callable[[], None] = file.read()
    assert world.shown() == [FIRST]
    apply()
    assert world.shown() == [FIRST, SECOND]


def test_config_file_with_another_state_file_is_rejected(tmp_path: Path) -> None:
    _world, file = file_of(tmp_path)
    path = tmp_path / "config.yaml"
    path.write_text(f"{YAML}state:\n  path: other.db\n")
    with pytest.raises(ConfigError) as caught:
        file.read()
    (fault,) = caught.value.problems
    assert fault.startswith(f"{path}: state.path: cannot change without a restart, expected null (found ")


def test_config_file_is_active_if_its_settings_are_equal(tmp_path: Path) -> None:
    _, file = file_of(tmp_path)
    assert file.is_active()
    (tmp_path / "config.yaml").write_text(f"# the same\n{YAML}")
    assert file.is_active()
    (tmp_path / "config.yaml").write_text(f"{YAML}    refresh_interval: 5m\n")
    assert not file.is_active()
    (tmp_path / "config.yaml").unlink()
    assert not file.is_active()


def test_files_include_those_of_a_rejected_configuration(tmp_path: Path) -> None:
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


def test_files_include_a_directory_but_not_a_state_file(tmp_path: Path) -> None:
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


def test_files_include_those_of_an_unapplied_configuration(tmp_path: Path) -> None:
    _, file = file_of(tmp_path)
    key = tmp_path / "a.key"
    key.touch(0o600)
    key.write_text("the key of these tests")
    (tmp_path / "config.yaml").write_text(f"{YAML}    detail: user\n    identity_key_file: a.key\n")
    apply = file.read()
    assert file.files() == (tmp_path / "config.yaml", key)
    key.unlink()
    with pytest.raises(ConfigError, match="cannot use identity key"):
        apply()
    assert file.files() == (tmp_path / "config.yaml", key)


def test_files_are_the_configuration_and_its_keys(tmp_path: Path) -> None:
    for name in ("a.key", "b.key"):
        (tmp_path / name).touch(0o600)
        (tmp_path / name).write_text("the key of these tests")
    text = f"defaults: {{identity_key_file: b.key}}\n{YAML}    identity_key_file: a.key\n  - id: us-east-2_Second\n"
    world, file = file_of(tmp_path, text)
    assert file.files() == (tmp_path / "config.yaml", tmp_path / "a.key", tmp_path / "b.key")
    world.active.apply(replace(world.active.settings, pools=()))
    assert file.files() == (tmp_path / "config.yaml",)


EXPOSURE = "raw user names are exposed without authentication on a non-loopback address"
RAW, KEYED = pool(FIRST), pool(FIRST, identity=IdentityMode.HMAC)


@pytest.mark.parametrize(
    ("shown", "addresses", "web", "exposed"),
    [
        (RAW, (EVERYWHERE,), NO_WEB, True),
        (RAW, (LOOPBACK, EVERYWHERE), NO_WEB, True),
        (RAW, (LOOPBACK,), NO_WEB, False),
        (RAW, (LOOPBACK, ListenAddress("::1", 0)), NO_WEB, False),
        (RAW, (EVERYWHERE,), WITH_USERS, False),
        (KEYED, (EVERYWHERE,), NO_WEB, False),
        (pool(FIRST, detail=Detail.POOL), (EVERYWHERE,), NO_WEB, False),
    ],
)
def test_raw_names_without_authentication_are_reported(
    shown: PoolSettings, addresses: tuple[ListenAddress, ...], web: WebSettings, exposed: bool
) -> None:
    with capture_logs() as logs:
        world = World(configured(shown), web=web, addresses=addresses)
    assert world.exposure.reports == [exposed]
    assert [entry["event"] for entry in logs] == ([EXPOSURE] if exposed else [])


def test_exposure_is_logged_once_and_not_at_each_reload() -> None:
    raw, keyed = configured(RAW), configured(KEYED)
    with capture_logs() as logs:
        world = World(raw, addresses=(EVERYWHERE,))
        for settings_ in (raw, raw, keyed, raw, raw):
            world.active.apply(settings_)
    assert world.exposure.reports == [True, True, True, False, True, True]
    assert [entry["event"] for entry in logs] == [EXPOSURE, EXPOSURE]


def test_exposure_follows_the_web_configuration() -> None:
    world = World(configured(RAW), web=WITH_USERS, addresses=(EVERYWHERE,))
    world.active.apply_web(NO_WEB)
    assert world.active.web == NO_WEB
    world.active.apply_web(WITH_USERS)
    assert world.exposure.reports == [False, True, False]


HASH = "$2y$10$QOauhQNbBCuQDKes6eFzPeMqBSjb7Mr5DUmpZ/VcEd00UAV/LDeSi"


def web_file(tmp_path: Path) -> tuple[Path, WebConfigFile, list[WebSettings]]:
    path = tmp_path / "web.yml"
    path.write_text("{}\n")
    applied: list[WebSettings] = []
    return path, WebConfigFile(path, load_web_settings(path), applied.append), applied


def test_web_file_is_checked_before_it_is_applied(tmp_path: Path) -> None:
    path, file, applied = web_file(tmp_path)
    assert file.is_active()
    path.write_text(f"basic_auth_users: {{alice: {HASH}}}\n")
    assert not file.is_active()
    apply = file.read()
    assert applied == []
    apply()
    assert [settings.users for settings in applied] == [{b"alice": HASH.encode()}]
    assert file.is_active()


def test_web_file_rejected_is_watched_with_the_files_it_names(tmp_path: Path) -> None:
    path, file, applied = web_file(tmp_path)
    assert file.files() == (path,)
    path.write_text("tls_server_config: {cert_file: server.pem, key_file: server.pem}\n")
    with pytest.raises(ConfigError):
        file.read()
    assert file.files() == (path, tmp_path / "server.pem")
    assert applied == []
    path.unlink()
    assert not file.is_active()


def test_web_file_logs_its_protection_and_no_user(tmp_path: Path) -> None:
    ca = trustme.CA()
    expired = ca.issue_cert("localhost", not_after=datetime(2020, 1, 1, tzinfo=UTC))
    (tmp_path / "ca.pem").write_bytes(ca.cert_pem.bytes())
    (tmp_path / "server.pem").write_bytes(expired.private_key_and_cert_chain_pem.bytes())
    certificate = "cert_file: server.pem, key_file: server.pem"
    with capture_logs() as logs:
        path, file, _ = web_file(tmp_path)
        for client in ("", ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem"):
            path.write_text(f"tls_server_config: {{{certificate}{client}}}\nbasic_auth_users: {{alice: {HASH}}}\n")
            file.read()()
    entry = {"log_level": "info", "path": str(path)}
    expected = [
        {"event": "web configuration loaded", "tls": False, "client_certificates": False, "users": 0, **entry},
        {"event": "web configuration reloaded", "tls": True, "client_certificates": False, "users": 1, **entry},
        {"event": "web configuration reloaded", "tls": True, "client_certificates": True, "users": 1, **entry},
    ]
    warning = {
        "event": "web configuration may not work for all clients",
        "reason": "clients reject the certificate: certificate has expired",
        "log_level": "warning",
        "path": str(path),
    }
    assert logs == [expected[0], expected[1], warning, expected[2], warning]
