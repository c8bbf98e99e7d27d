"""The whole exporter with a web configuration."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from exporter.clock import SystemClock
from exporter.config.load import load_settings
from exporter.config.settings import Detail, Limits, Settings
from exporter.daemon.app import App
from exporter.errors import ConfigError
from exporter.metrics.self_specs import STATUS_CODES
from exporter.options import ListenAddress, ServeOptions
from exporter.web.access import Authenticator
from exporter.web.handler import RequestHandler
from exporter.web.server import WebServer
from tests.fakes import FakeCognito, FakePool, ManualClock, eventually
from tests.harness import environment
from tests.integration.web_serving import (
    LOOPBACK,
    MUTUAL,
    PASSWORD,
    TLS,
    USERS,
    fetch,
    hashed,
    write_certificate,
    write_web,
)
from tests.unit.collect.listed_pools import POOL_ID, settings

EVERYWHERE = ListenAddress("", 0)
EXPOSURE = "raw user names are exposed without authentication on a non-loopback address"
RATES = dict.fromkeys(("UserResourceRead", "UserList", "UserPoolRead", "UserPoolResourceRead"), 1000.0)
RAW = Settings((settings(detail=Detail.USER),), Limits(dict(RATES), series=1000))


def app(web: Path | None, *, clock: ManualClock | None = None, probe: ListenAddress | None = None) -> App:
    options = ServeOptions(Path(), (EVERYWHERE,), probe_listen_address=probe, web_config_file=web)
    return App(RAW, options, make_api=lambda _: FakeCognito({POOL_ID: FakePool()}), clock=clock)


@contextmanager
def running(started: App) -> Iterator[App]:
    started.start()
    try:
        yield started
    finally:
        started.stop()


def exposed(of: App) -> float | None:
    return of.metrics.registry.get_sample_value("cognito_exporter_identity_exposed")


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({}, 1),
        ({"tls_server_config": TLS}, 1),
        ({"tls_server_config": {**MUTUAL, "client_auth_type": "VerifyClientCertIfGiven"}}, 1),
        ({"tls_server_config": MUTUAL}, 0),
        (USERS, 0),
    ],
)
def test_raw_names_are_exposed_without_authentication(
    tmp_path: Path, sections: dict[str, Any], expected: float
) -> None:
    write_certificate(tmp_path)
    with capture_logs() as logs:
        assert exposed(app(write_web(tmp_path, **sections))) == expected
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == [EXPOSURE] * int(expected)


@pytest.mark.parametrize("path", ["/", "/api/v1/status", "/?state=failing", "/api/v1/status?x=1"])
def test_status_requires_authentication(tmp_path: Path, path: str) -> None:
    with running(app(write_web(tmp_path, **USERS))) as daemon:
        url = f"http://127.0.0.1:{daemon.addresses[0].port}{path}"
        for user in ((), ("--user", "alice:wrong"), ("--user", f"bob:{PASSWORD}")):
            refused = fetch(url, *user)
            assert (refused.status, POOL_ID in refused.body) == (401, False)
        allowed = fetch(url, "--user", f"alice:{PASSWORD}")
        assert allowed.status == 200
        if "?state" not in path:
            assert POOL_ID in allowed.body


def response_counts(page: str) -> dict[str, float]:
    """Return the number of responses by status code from a metrics page, without zeros."""
    counted = re.findall(r'^cognito_exporter_http_requests_total\{code="([^"]*)"\} (.*)$', page, re.MULTILINE)
    assert {int(code) for code, _ in counted} == set(STATUS_CODES)
    return {code: float(count) for code, count in counted if float(count)}


def test_failed_login_is_counted_without_the_client(tmp_path: Path) -> None:
    with running(app(write_web(tmp_path, **USERS))) as daemon:
        url, user = f"http://127.0.0.1:{daemon.addresses[0].port}/metrics", ("--user", f"alice:{PASSWORD}")
        assert response_counts(fetch(url, *user).body) == {}, "a page is counted after it is rendered"
        assert fetch(url, "--user", "mallory:guess").status == 401
        page = fetch(url, *user).body
        assert response_counts(page) == {"200": 1, "401": 1}
        assert fetch(url, "--user", "alice:guess").status == fetch(url).status == 401
        page = fetch(url, *user).body
        assert response_counts(page) == {"200": 2, "401": 3}
        assert not re.search("alice|mallory|guess", page)


def test_plain_http_on_a_tls_port_is_counted_as_400(tmp_path: Path) -> None:
    write_certificate(tmp_path)
    with running(app(write_web(tmp_path, tls_server_config=TLS), probe=LOOPBACK)) as daemon:
        guarded, _ = (address.port for address in daemon.addresses)
        assert fetch(f"http://127.0.0.1:{guarded}/metrics").status == 400
        assert response_counts(fetch(f"https://127.0.0.1:{guarded}/metrics", "--insecure").body) == {"400": 1}


def test_every_response_is_counted_by_its_status(tmp_path: Path) -> None:
    limit = {"rate_limit": {"interval": "1h", "burst": 6}}
    with running(app(write_web(tmp_path, **limit), clock=ManualClock(), probe=LOOPBACK)) as daemon:
        own, probes = (f"http://127.0.0.1:{address.port}" for address in daemon.addresses)
        assert response_counts(fetch(f"{own}/metrics").body) == {}
        asked = (
            (404, f"{own}/none"),
            (405, f"{own}/metrics", "-X", "POST"),
            (403, f"{own}/-/reload", "-X", "POST"),
            (431, f"{own}/-/healthy", *(word for number in range(101) for word in ("-H", f"X-{number}: y"))),
            (501, f"{own}/-/healthy", "-H", "Transfer-Encoding: gzip"),
            (413, f"{own}/-/healthy", "-X", "GET", "--data", "x" * 70_000),
            (400, f"{own}/-/healthy", "-H", "Host:"),
            (200, f"{probes}/-/healthy"),
            (404, f"{probes}/metrics"),
        )
        for status, *arguments in asked:
            assert fetch(*map(str, arguments)).status == status
        page = fetch(f"{own}/metrics").body
        expected = Counter([200, *(status for status, *_ in asked)])
        assert response_counts(page) == {str(status): count for status, count in expected.items()}
        assert [fetch(f"{own}/none").status for _ in range(2)] == [404, 429]
        refused = daemon.metrics.registry.get_sample_value("cognito_exporter_http_requests_total", {"code": "429"})
        assert refused == 1


def test_connection_above_the_limit_is_counted_as_503() -> None:
    statuses: list[int] = []
    clock = SystemClock()
    handler = RequestHandler({}, Authenticator(clock), on_error=lambda: None, on_response=statuses.append)
    server = WebServer([LOOPBACK], handler, clock, max_connections=0)
    server.start()
    try:
        assert fetch(f"http://{server.bound[0]}/").status == 503
    finally:
        server.stop()
    assert statuses == [503]


def test_exposure_follows_the_web_configuration(tmp_path: Path) -> None:
    with running(app(write_web(tmp_path, **USERS))) as daemon:
        url = f"http://127.0.0.1:{daemon.addresses[0].port}/metrics"
        assert fetch(url).status == 401
        assert exposed(daemon) == 0
        (tmp_path / "web.yml").write_text("{}")
        assert eventually(lambda: fetch(url).status == 200)
        assert "\ncognito_exporter_identity_exposed 1" in fetch(url).body
        write_web(tmp_path, **USERS)
        assert eventually(lambda: fetch(url).status == 401)
        assert exposed(daemon) == 0


def test_invalid_web_configuration_is_rejected_at_startup(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"web\.yml:1: tls_server_config\.cert_file: missing"):
        app(write_web(tmp_path, tls_server_config={"key_file": "x"}))


def test_probe_address_requires_no_authentication(tmp_path: Path) -> None:
    write_certificate(tmp_path)
    with running(app(write_web(tmp_path, tls_server_config=MUTUAL, **USERS), probe=LOOPBACK)) as daemon:
        _, address = daemon.addresses
        assert fetch(f"http://{address}/-/healthy").status == 200
        assert fetch(f"http://{address}/-/ready").status in {200, 503}
        assert fetch(f"http://{address}/metrics").status == 404
        assert fetch(f"https://127.0.0.1:{daemon.addresses[0].port}/-/healthy", "--insecure").status == 0


def test_reload_includes_the_web_configuration(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("pools: [{id: eu-west-1_AbCdEfGhI}]\n")
    web = write_web(tmp_path, **USERS)
    options = ServeOptions(file, (LOOPBACK,), web_config_file=web, enable_lifecycle=True)
    daemon = App(RAW, options, make_api=lambda _: FakeCognito({POOL_ID: FakePool()}), clock=ManualClock())
    with running(daemon):
        url, user = f"http://{daemon.addresses[0]}/-/reload", ("--user", f"alice:{PASSWORD}")
        assert fetch(url, "-X", "POST").status == 401
        web.write_text("basic_auth_users: {}")
        refused = fetch(url, "-X", "POST", *user)
        assert refused.status == 500
        assert "basic_auth_users: empty" in refused.body
        write_web(tmp_path, basic_auth_users={"bob": hashed()})
        assert fetch(url, "-X", "POST", *user).status == 200
        assert fetch(url, "-X", "POST", *user).status == 401


def test_rejected_reload_is_retried_when_the_web_file_is_fixed(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("pools: [{id: eu-west-1_AbCdEfGhI}]\n")
    web = write_web(tmp_path, **USERS)
    options = ServeOptions(file, (LOOPBACK,), web_config_file=web, auto_reload_interval=0, enable_lifecycle=True)
    daemon = App(load_settings(file), options, make_api=lambda _: FakeCognito({POOL_ID: FakePool()}))
    with running(daemon):
        file.write_text("pools: [")
        web.write_text("basic_auth_users: {}\n")
        url = f"http://{daemon.addresses[0]}"
        rejected = fetch(f"{url}/-/reload", "-X", "POST", "--user", f"alice:{PASSWORD}")
        assert rejected.status == 500
        assert "config.yaml:1:9: not YAML" in rejected.body
        assert "web.yml:1: basic_auth_users: empty" in rejected.body
        assert reloaded(daemon) == 0
        file.write_text("pools: [{id: eu-west-1_AbCdEfGhI, refresh_interval: 3h}]\n")
        assert reloaded(daemon) == 0, "still invalid"
        write_web(tmp_path, **USERS, rate_limit={"interval": "1s", "burst": 100})
        assert eventually(lambda: reloaded(daemon) == 1)
        page = fetch(f"{url}/metrics", "--user", f"alice:{PASSWORD}").body
        assert re.search(r"^cognito_exporter_refresh_interval_seconds\{.*\} 10800(\.0)?$", page, re.MULTILINE)


def reloaded(daemon: App) -> float | None:
    return daemon.metrics.registry.get_sample_value("cognito_exporter_config_last_reload_successful")


def test_invalid_web_configuration_exits_with_2(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("pools: [{id: eu-west-1_AbCdEfGhI}]\n")
    (tmp_path / "web.yml").write_text("basic_auth_users:\n  alice: secret-of-alice\n")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "exporter",
            f"--config.file={tmp_path}/config.yaml",
            f"--web.config.file={tmp_path}/web.yml",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
        env=environment("http://127.0.0.1:9"),
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"{tmp_path}/web.yml:2: basic_auth_users: the hash of user 1 is not a bcrypt hash")
    assert "alice" not in done.stderr
