from __future__ import annotations

import threading
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from exporter.aws.api import CognitoApi, Operation
from exporter.collect.pools import STALLED_AFTER_SECONDS
from exporter.config.load import load_settings
from exporter.config.settings import Detail, IdentityMode, Limits, PoolSettings, Settings, TargetSettings
from exporter.daemon.app import App, shows_raw_names
from exporter.errors import AwsError, ConfigError, Denied
from exporter.options import ListenAddress, ServeOptions
from tests.fakes import FakeCognito, FakePool, ManualClock, eventually
from tests.unit.collect.listed_pools import POOL_ID, device, settings

RATES = dict.fromkeys(("UserResourceRead", "UserList", "UserPoolRead", "UserPoolResourceRead"), 1000.0)
LOOPBACK, EVERYWHERE = ListenAddress("127.0.0.1", 0), ListenAddress("", 0)
EXPOSURE = "raw user names are served without authentication beyond loopback"


def pool(**changes: Any) -> PoolSettings:
    """A pool whose first sweep starts at once."""
    return settings(**{"refresh_interval": 1.0, **changes})


def configured(*pools: PoolSettings) -> Settings:
    return Settings(pools, Limits(dict(RATES), series=1000))


def options(*addresses: ListenAddress, probe: ListenAddress | None = None) -> ServeOptions:
    return ServeOptions(Path(), addresses or (LOOPBACK,), probe_listen_address=probe)


def get(address: ListenAddress, path: str) -> tuple[int, str]:
    connection = HTTPConnection(address.host, address.port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


class Gate:
    """Holds up every description."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.error: AwsError | None = None

    def __call__(self, operation: Operation, _subject: str) -> AwsError | None:
        if operation is Operation.DESCRIBE_USER_POOL:
            assert self.opened.wait(10)
            return self.error
        return None


class Running:
    """The whole daemon over the fake."""

    def __init__(self, clock: ManualClock | None = None) -> None:
        self.api = FakeCognito({POOL_ID: FakePool(users={"ann": (device("a"), device("b"))})})
        self.api.fault = self.gate = Gate()
        self.reached: list[TargetSettings] = []
        probe = ListenAddress("127.0.0.1", 0)
        self.app = App(configured(pool()), options(probe=probe), make_api=self._make_api, clock=clock)

    def _make_api(self, target: TargetSettings) -> CognitoApi:
        self.reached.append(target)
        return self.api

    def get(self, path: str) -> tuple[int, str]:
        return get(self.app.addresses[0], path)

    def value(self, name: str, **labels: str) -> float | None:
        """A sample of the page."""
        wanted = {"user_pool_id": POOL_ID, **labels}
        families = text_string_to_metric_families(self.get("/metrics")[1])
        samples = (sample for family in families for sample in family.samples)
        return next((sample.value for sample in samples if (sample.name, sample.labels) == (name, wanted)), None)


@contextmanager
def running(clock: ManualClock | None = None) -> Iterator[Running]:
    daemon = Running(clock)
    daemon.app.start()
    try:
        yield daemon
    finally:
        daemon.gate.opened.set()
        daemon.app.stop()


def test_ready_once_the_pool_was_described_and_healthy_all_along() -> None:
    with running() as daemon:
        assert daemon.get("/-/ready") == (503, "not every pool was contacted yet\n")
        assert daemon.get("/-/healthy")[0] == 200
        assert daemon.value("cognito_user_pool_up") == 0
        daemon.gate.opened.set()
        assert eventually(lambda: daemon.get("/-/ready")[0] == 200)
        assert daemon.get("/-/healthy")[0] == 200
        assert daemon.reached == [TargetSettings("eu-west-1")]


def test_what_the_fake_holds_stands_on_the_page() -> None:
    with running() as daemon:
        daemon.gate.opened.set()
        assert eventually(lambda: daemon.value("cognito_user_pool_devices", remembered_status="remembered") == 2)


def test_a_denied_pool_is_ready_and_healthy_and_down() -> None:
    with running() as daemon:
        daemon.gate.error = Denied("DescribeUserPool", "AccessDeniedException")
        daemon.gate.opened.set()
        assert eventually(lambda: daemon.get("/-/ready")[0] == 200)
        assert daemon.get("/-/healthy")[0] == 200
        assert daemon.value("cognito_user_pool_state", state="denied") == 1


def test_without_a_sign_of_life_it_is_not_healthy() -> None:
    clock = ManualClock()
    with running(clock) as daemon:
        assert daemon.get("/-/healthy") == (200, "healthy\n")
        daemon.app._pool_manager._schedule._scheduler.pause()  # its time is turned, too
        clock.advance(STALLED_AFTER_SECONDS + 1)
        assert daemon.get("/-/healthy") == (503, "the scheduler has shown no life for 5 minutes\n")


def test_the_probe_address_answers_the_two_probes_and_nothing_else() -> None:
    with running() as daemon:
        (probe,) = daemon.app._servers[1].bound
        assert probe != daemon.app.addresses[0]
        assert get(probe, "/-/healthy")[0] == 200
        assert get(probe, "/-/ready")[0] == 503
        assert get(probe, "/metrics")[0] == 404
        assert get(probe, "/")[0] == 404


def test_a_file_that_changed_during_the_start_is_read_again_and_the_log_says_why(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"pools:\n  - id: {POOL_ID}\n")
    app = App(load_settings(path), ServeOptions(path, (LOOPBACK,)), make_api=lambda _target: FakeCognito({}))
    app.start()
    try:
        with capture_logs() as logs:
            app.catch_up()
            path.write_text(f"pools:\n  - id: {POOL_ID}\n    refresh_interval: 2h\n")
            app.catch_up()
            assert eventually(lambda: bool(reloads(logs)))
    finally:
        app.stop()
    assert reloads(logs) == ["changed during the start"]


def reloads(logs: list[MutableMapping[str, Any]]) -> list[str]:
    """Why the configuration was reloaded, by the log."""
    return [entry["cause"] for entry in logs if entry["event"] == "configuration reloaded"]


def test_after_the_stop_nobody_listens() -> None:
    with running() as daemon:
        address = daemon.app.addresses[0]
        daemon.gate.opened.set()
    with pytest.raises(ConnectionRefusedError):
        get(address, "/-/healthy")


@pytest.mark.parametrize(
    ("identity", "detail", "shown"),
    [
        (IdentityMode.RAW, Detail.USER, True),
        (IdentityMode.RAW, Detail.DEVICE, True),
        (IdentityMode.RAW, Detail.POOL, False),
        (IdentityMode.HMAC, Detail.USER, False),
        (IdentityMode.HMAC, Detail.DEVICE, False),
    ],
)
def test_raw_names_stand_on_the_page_where_asked_for_in_detail(
    identity: IdentityMode, detail: Detail, shown: bool
) -> None:
    others = pool(id="eu-west-1_Other", identity=IdentityMode.HMAC)
    assert shows_raw_names(configured(others, pool(identity=identity, detail=detail))) is shown


def test_without_pools_no_raw_name_is_shown() -> None:
    assert not shows_raw_names(configured())


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("localhost", True),
        ("", False),
        ("0.0.0.0", False),  # noqa: S104 - nothing listens there
        ("::", False),
        ("192.0.2.1", False),
        ("localhost.example.com", False),
        ("metrics", False),
    ],
)
def test_which_addresses_only_this_machine_can_reach(host: str, loopback: bool) -> None:
    assert ListenAddress(host, 10617).is_loopback is loopback


def exposed(app: App) -> float | None:
    return app._own.registry.get_sample_value("cognito_exporter_identity_exposed")


RAW, KEYED = pool(detail=Detail.USER), pool(detail=Detail.USER, identity=IdentityMode.HMAC)


@pytest.mark.parametrize(
    ("shown", "addresses", "warned"),
    [
        (RAW, (EVERYWHERE,), True),
        (RAW, (LOOPBACK, EVERYWHERE), True),
        (RAW, (LOOPBACK,), False),
        (RAW, (LOOPBACK, ListenAddress("::1", 0)), False),
        (KEYED, (EVERYWHERE,), False),
        (pool(detail=Detail.POOL), (EVERYWHERE,), False),
    ],
)
def test_raw_names_beyond_loopback_are_warned_of(
    shown: PoolSettings, addresses: tuple[ListenAddress, ...], warned: bool
) -> None:
    with capture_logs() as logs:
        app = App(configured(shown), options(*addresses), make_api=lambda _: FakeCognito())
    warnings = [entry["event"] for entry in logs if entry["log_level"] == "warning"]
    assert warnings == ([EXPOSURE] if warned else [])
    assert exposed(app) == float(warned)


def test_raw_names_are_warned_of_when_they_become_so_and_not_at_each_reload(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    hashed = "pools:\n  - id: eu-west-1_AbCdEfGhI\n"
    raw = f"{hashed}    detail: user\n    identity: raw\n"
    file.write_text(raw)
    with capture_logs() as logs:
        app = App(load_settings(file), replace(options(EVERYWHERE), config_file=file), make_api=lambda _: FakeCognito())
        for text in (raw, raw, hashed, raw, raw):
            file.write_text(text)
            assert app._reloader.reload("request") is None
            assert exposed(app) == float(text == raw)
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == [EXPOSURE, EXPOSURE]


def test_a_key_that_is_gone_is_a_fault_of_the_configuration(tmp_path: Path) -> None:
    keyed = pool(detail=Detail.USER, identity=IdentityMode.HMAC, identity_key_file=tmp_path / "gone")
    with pytest.raises(ConfigError, match=r"^the key of the user labels cannot be used: .*No such file"):
        App(configured(keyed), options(), make_api=lambda _: FakeCognito())


def test_an_address_that_is_taken_is_told() -> None:
    with running() as daemon:
        taken = App(configured(pool()), options(daemon.app.addresses[0]), make_api=lambda _: FakeCognito())
        with pytest.raises(OSError, match="in use"):
            taken.start()


def test_a_state_file_that_is_one_of_the_web_configuration_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    web, state = tmp_path / "web.yml", tmp_path / "state.db"
    web.write_text("{}\n")
    state.symlink_to(web)
    flags = replace(options(), config_file=tmp_path / "config.yaml", web_config_file=web)
    with pytest.raises(ConfigError) as caught:
        App(replace(configured(pool()), state_path=state), flags)
    assert caught.value.problems == (
        f"{tmp_path}/config.yaml: state.path: a file of the web configuration, expected a file of its own",
    )
    assert web.read_text() == "{}\n"
    assert {file.name for file in tmp_path.iterdir()} == {"web.yml", "state.db"}


def test_app_returns_free_memory_after_a_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    returned = threading.Event()
    monkeypatch.setattr("exporter.daemon.app.give_back", returned.set)
    with running() as daemon:
        daemon.gate.opened.set()
        assert returned.wait(10)
