"""Prometheus that has scraped the exporter's demo, for PromQL tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import requests

from grafana.prometheus.__main__ import RULES
from tests.tools import required_tool

SCRAPE_INTERVAL = 5
"""Seconds."""
SCRAPES = 4
"""Scrapes after the end of the first sweeps; `rate` and `increase` need two."""
PATIENCE = 90
"""Timeout in seconds for the demo's first sweeps, which take about 20."""
STEP = 1
JOB = "cognito-device-exporter"


@dataclass(frozen=True, slots=True)
class Prometheus:
    """Prometheus server and the start time of its data."""

    url: str
    since: float
    """Seconds since the epoch, before the first scrape."""

    def range(self, expr: str) -> list[dict[str, Any]]:
        """Return the series of an expression over the whole time range.

        Raises `requests.HTTPError` if Prometheus rejects the expression.
        """
        parameters = {"query": expr, "start": self.since, "end": time.time(), "step": STEP}
        return self._result("query_range", parameters)

    def instant(self, expr: str) -> list[dict[str, Any]]:
        """Return the current series of an expression."""
        return self._result("query", {"query": expr})

    def _result(self, kind: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        answer = requests.post(f"{self.url}/api/v1/{kind}", data=parameters, timeout=10)
        answer.raise_for_status()
        result: list[dict[str, Any]] = answer.json()["data"]["result"]
        return result


@pytest.fixture(params=["promtool", "promtool3"])
def promtool(request: pytest.FixtureRequest) -> str:
    """Both versions of promtool: since Prometheus 3, a range excludes its start."""
    return required_tool(request.param)


@pytest.fixture(scope="session")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Run a Prometheus until it has scraped the demo during and after its first sweeps."""
    program = required_tool("prometheus")
    directory = tmp_path_factory.mktemp("prometheus")
    exporter, server = _free_address(), _free_address()
    (directory / "prometheus.yml").write_text(_configuration(exporter), encoding="utf-8")
    demo = [sys.executable, "-m", "exporter", "demo", f"--web.listen-address={exporter}"]
    prometheus = [
        program,
        f"--config.file={directory / 'prometheus.yml'}",
        f"--storage.tsdb.path={directory / 'data'}",
        f"--web.listen-address={server}",
    ]
    since = time.time()
    with _running(demo, directory / "demo.log"), _running(prometheus, directory / "prometheus.log"):
        prometheus_api = Prometheus(f"http://{server}", since)
        _wait_until(lambda: _has_been_scraped(prometheus_api), f"see the logs in {directory}")
        yield prometheus_api


def _configuration(exporter: str) -> str:
    return f"""
global:
  scrape_interval: {SCRAPE_INTERVAL}s
  evaluation_interval: {SCRAPE_INTERVAL}s
rule_files:
  - {RULES}
scrape_configs:
  - job_name: {JOB}
    static_configs:
      - targets: ["{exporter}"]
"""


def _has_been_scraped(prometheus_api: Prometheus) -> bool:
    """Return whether every pool with devices has been swept and scraped often enough since."""
    swept = "cognito_exporter_last_sweep_success_timestamp_seconds"
    waiting = 'cognito_user_pool_state{state=~"unread|failing|denied|missing"} == 1'
    window = f"[{SCRAPE_INTERVAL * SCRAPES}s]"
    try:
        times = prometheus_api.instant(f"min(count_over_time({swept}{window})) >= {SCRAPES}")
        return bool(times) and not prometheus_api.instant(waiting)
    except requests.RequestException:
        return False  # it is about to start


@contextmanager
def _running(command: list[str], log: Path) -> Iterator[None]:
    # With this PATH the demo does not find a Prometheus to start; the one of the test is enough.
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "PATH": str(Path(sys.executable).parent)}
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment)
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=10)


def _free_address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def _wait_until(condition: Callable[[], bool], hint: str) -> None:
    deadline = time.monotonic() + PATIENCE
    pause = Event()
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"Prometheus has not scraped the demo's first sweeps within {PATIENCE} s: {hint}")
        pause.wait(0.5)
