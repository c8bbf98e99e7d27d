"""From a device unused for 90 days to a notification, through Prometheus and Alertmanager."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from time import time
from typing import Any

import pytest
import yaml

from exporter.emulator.emulator import Emulator
from exporter.emulator.seed import SEED_PASSWORD, AgeDistribution, DeviceMix
from grafana.prometheus.render import rule_file
from grafana.prometheus.thresholds import THRESHOLDS, Timing
from tests.fakes import eventually
from tests.harness import config, free_port, serving
from tests.tools import required_tool

DAY = 86_400
ALERT = "CognitoDeviceMfaBypassStale"
POOL = "shop"
USER = "alice"
SECONDS_YOUNGER = 8.0
"""Seconds until a new device reaches 90 days; everything has started before that."""

HASTE = Timing(lookback="5s", for_short="1s", for_medium="1s", for_long="1s", keep_firing_for="1s")
"""Durations of the rules, shortened for the test; expressions and thresholds are unchanged."""


class Webhook:
    """Webhook receiver that records every alert, in order."""

    def __init__(self) -> None:
        told: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["alerts"])
                self.send_response_only(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.told = told
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def last(self) -> dict[str, Any] | None:
        """Return the last notification about the alert."""
        return next((alert for alert in reversed(self.told) if alert["labels"]["alertname"] == ALERT), None)

    def was_told(self, status: str) -> bool:
        last = self.last()
        return last is not None and last["status"] == status


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    hook = Webhook()
    thread = Thread(target=hook.server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield hook
    hook.server.shutdown()
    thread.join()
    hook.server.server_close()


@pytest.mark.timeout(60)
def test_stale_device_is_alerted_until_it_signs_in(emulator: Emulator, webhook: Webhook, tmp_path: Path) -> None:
    programs = required_tool("prometheus"), required_tool(_alertmanager_name())
    age = AgeDistribution.constant(90 * DAY - SECONDS_YOUNGER)
    made = time()
    pool_id = emulator.seed_pool(POOL, users=[USER], devices=DeviceMix(per_user={1: 1.0}, ages=age, remembered_share=1))
    with _watched(emulator, pool_id, webhook, programs, tmp_path):
        assert eventually(lambda: webhook.was_told("firing"), within=30), _logs(tmp_path)
        assert time() - made > SECONDS_YOUNGER
        _sign_in(emulator, pool_id)
        assert eventually(lambda: webhook.was_told("resolved"), within=20), _logs(tmp_path)
    fired = next(alert for alert in webhook.told if alert["labels"]["alertname"] == ALERT)
    assert fired["labels"] == {
        "alertname": ALERT,
        "job": "cognito",
        "severity": "warning",
        "threshold": "90d",
        "user_pool_id": pool_id,
        "user_pool_name": POOL,
    }
    description = fired["annotations"]["description"]
    assert description.startswith(f"1 remembered devices of user pool {POOL} ({pool_id}) have not authenticated ")
    assert description.endswith("; expected at most 0.")


@contextmanager
def _watched(
    emulator: Emulator, pool_id: str, webhook: Webhook, programs: tuple[str, str], directory: Path
) -> Iterator[None]:
    """Run exporter, Prometheus and Alertmanager for the pool."""
    prometheus, alertmanager = programs
    receiver, server = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    with ExitStack() as stack:
        settings = config(emulator.url, pool_id, refresh_interval="1s")
        exporter = stack.enter_context(serving(settings, directory, emulator.url)).url.removeprefix("http://")
        _write(directory / "rules.yaml", rule_file(THRESHOLDS, HASTE))
        _write(directory / "prometheus.yaml", _prometheus_configuration(exporter, receiver))
        _write(directory / "alertmanager.yaml", _alertmanager_configuration(webhook))
        alertmanager_command = [
            alertmanager,
            f"--config.file={directory / 'alertmanager.yaml'}",
            f"--storage.path={directory / 'alertmanager'}",
            f"--web.listen-address={receiver}",
            "--cluster.listen-address=",
        ]
        prometheus_command = [
            prometheus,
            f"--config.file={directory / 'prometheus.yaml'}",
            f"--storage.tsdb.path={directory / 'prometheus'}",
            f"--web.listen-address={server}",
            "--rules.alert.resend-delay=1s",
        ]
        stack.enter_context(_running(alertmanager_command, directory / "alertmanager.log"))
        stack.enter_context(_running(prometheus_command, directory / "prometheus.log"))
        yield


def _prometheus_configuration(exporter: str, alertmanager: str) -> dict[str, Any]:
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": ["rules.yaml"],
        "scrape_configs": [{"job_name": "cognito", "static_configs": [{"targets": [exporter]}]}],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
    }


def _alertmanager_configuration(webhook: Webhook) -> dict[str, Any]:
    return {
        "route": {"receiver": "test", "group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h"},
        "receivers": [{"name": "test", "webhook_configs": [{"url": webhook.url, "send_resolved": True}]}],
    }


def _sign_in(emulator: Emulator, pool_id: str) -> None:
    """Sign in with the user's only device."""
    (device,) = emulator.truth(pool_id).users[USER]
    client = emulator.call("CreateUserPoolClient", {"UserPoolId": pool_id, "ClientName": "test"})
    emulator.call(
        "AdminInitiateAuth",
        {
            "UserPoolId": pool_id,
            "ClientId": client["UserPoolClient"]["ClientId"],
            "AuthFlow": "ADMIN_USER_PASSWORD_AUTH",
            "AuthParameters": {"USERNAME": USER, "PASSWORD": SEED_PASSWORD, "DEVICE_KEY": device.key},
        },
    )


@contextmanager
def _running(command: list[str], log_file: Path) -> Iterator[None]:
    with log_file.open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield
        finally:
            process.terminate()


def _alertmanager_name() -> str:
    """Debian renames the program."""
    return "prometheus-alertmanager" if shutil.which("prometheus-alertmanager") else "alertmanager"


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


def _logs(directory: Path) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(directory.glob("*.log")))
