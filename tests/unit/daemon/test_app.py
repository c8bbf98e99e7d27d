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
from exporter.collect.scheduler import SweepScheduler
from exporter.config.load import load_settings
from exporter.config.settings import Detail, IdentityMode, Limits, PoolSettings, Settings, TargetSettings
from exporter.daemon.app import App
from exporter.errors import AwsError, ConfigError, Denied
from exporter.options import ListenAddress, ServeOptions
from tests.fakes import FakeCognito, FakePool, eventually
from tests.unit.collect.listed_pools import POOL_ID, device, settings

RATES = dict.fromkeys(("UserResourceRead", "UserList", "UserPoolRead", "UserPoolResourceRead"), 1000.0)
LOOPBACK = ListenAddress("127.0.0.1", 0)


def pool(**changes: Any) -> PoolSettings:
    """A pool whose first sweep starts immediately."""
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
    """Blocks every DescribeUserPool until `opened` is set."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.error: AwsError | None = None

    def __call__(self, operation: Operation, _subject: str) -> AwsError | None:
        if operation is Operation.DESCRIBE_USER_POOL:
            assert self.opened.wait(10)
            return self.error
        return None


class Running:
    """The daemon over the fake."""

    def __init__(self) -> None:
        self.api = FakeCognito({POOL_ID: FakePool(users={"ann": (device("a"), device("b"))})})
        self.api.fault = self.gate = Gate()
        self.reached: list[TargetSettings] = []
        probe = ListenAddress("127.0.0.1", 0)
        self.app = App(configured(pool()), options(probe=probe), make_api=self._make_api)

    def _make_api(self, target: TargetSettings) -> CognitoApi:
        self.reached.append(target)
        return self.api

    def get(self, path: str) -> tuple[int, str]:
        return get(self.app.addresses[0], path)

    def value(self, name: str, **labels: str) -> float | None:
        """Return a sample of the page."""
        wanted = {"user_pool_id": POOL_ID, **labels}
        families = text_string_to_metric_families(self.get("/metrics")[1])
        samples = (sample for family in families for sample in family.samples)
        return next((sample.value for sample in samples if (sample.name, sample.labels) == (name, wanted)), None)


@contextmanager
def running() -> Iterator[Running]:
    daemon = Running()
    daemon.app.start()
    try:
        yield daemon
    finally:
        daemon.gate.opened.set()
        daemon.app.stop()


def test_app_is_ready_once_the_pool_was_described() -> None:
    with running() as daemon:
        assert daemon.get("/-/ready") == (503, "not every pool was contacted yet\n")
        assert daemon.get("/-/healthy")[0] == 200
        assert daemon.value("cognito_user_pool_up") == 0
        daemon.gate.opened.set()
        assert eventually(lambda: daemon.get("/-/ready")[0] == 200)
        assert daemon.get("/-/healthy")[0] == 200
        assert daemon.reached == [TargetSettings("eu-west-1")]


def test_metrics_page_shows_the_devices() -> None:
    with running() as daemon:
        daemon.gate.opened.set()
        assert eventually(lambda: daemon.value("cognito_user_pool_devices", remembered_status="remembered") == 2)


def test_app_with_a_denied_pool_is_ready_and_healthy() -> None:
    with running() as daemon:
        daemon.gate.error = Denied("DescribeUserPool", "AccessDeniedException")
        daemon.gate.opened.set()
        assert eventually(lambda: daemon.get("/-/ready")[0] == 200)
        assert daemon.get("/-/healthy")[0] == 200
        assert daemon.value("cognito_user_pool_state", state="denied") == 1


def test_app_with_a_stalled_scheduler_is_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as daemon:
        assert daemon.get("/-/healthy") == (200, "healthy\n")
        monkeypatch.setattr(SweepScheduler, "is_stalled", lambda _self: True)
        assert daemon.get("/-/healthy") == (503, "the scheduler has sent no heartbeat for 5 minutes\n")


def test_probe_address_serves_only_the_probes() -> None:
    with running() as daemon:
        pages, probe = daemon.app.addresses
        assert probe != pages
        assert get(probe, "/-/healthy")[0] == 200
        assert get(probe, "/-/ready")[0] == 503
        assert get(probe, "/metrics")[0] == 404
        assert get(probe, "/")[0] == 404


def test_file_changed_during_startup_is_reloaded(tmp_path: Path) -> None:
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
    assert reloads(logs) == ["changed during startup"]


def reloads(logs: list[MutableMapping[str, Any]]) -> list[str]:
    """Return the causes of the logged reloads."""
    return [entry["cause"] for entry in logs if entry["event"] == "configuration reloaded"]


def test_stopped_app_refuses_connections() -> None:
    with running() as daemon:
        address = daemon.app.addresses[0]
        daemon.gate.opened.set()
    with pytest.raises(ConnectionRefusedError):
        get(address, "/-/healthy")


def test_missing_identity_key_is_a_config_error(tmp_path: Path) -> None:
    keyed = pool(detail=Detail.USER, identity=IdentityMode.HMAC, identity_key_file=tmp_path / "gone")
    with pytest.raises(ConfigError, match=r"^cannot use identity key: .*No such file"):
        App(configured(keyed), options(), make_api=lambda _: FakeCognito())


def test_address_in_use_raises_os_error() -> None:
    with running() as daemon:
        taken = App(configured(pool()), options(daemon.app.addresses[0]), make_api=lambda _: FakeCognito())
        with pytest.raises(OSError, match="in use"):
            taken.start()


def test_state_file_that_is_a_web_file_is_left_unchanged(tmp_path: Path) -> None:
    web, state = tmp_path / "web.yml", tmp_path / "state.db"
    web.write_text("{}\n")
    state.symlink_to(web)
    flags = replace(options(), config_file=tmp_path / "config.yaml", web_config_file=web)
    with pytest.raises(ConfigError) as caught:
        App(replace(configured(pool()), state_path=state), flags)
    assert caught.value.problems == (
        f"{tmp_path}/config.yaml: state.path: a file of the web configuration, expected a separate file",
    )
    assert web.read_text() == "{}\n"
    assert {file.name for file in tmp_path.iterdir()} == {"web.yml", "state.db"}


def test_app_returns_free_memory_after_a_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    returned = threading.Event()
    monkeypatch.setattr("exporter.daemon.app.trim_heap", returned.set)
    with running() as daemon:
        daemon.gate.opened.set()
        assert returned.wait(10)
