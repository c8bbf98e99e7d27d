"""Prometheus for the demo: it scrapes the exporter, evaluates the bundled rules, and exits with the demo."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import exporter
from exporter.commands.healthcheck import loopback
from exporter.options import ListenAddress, ServeOptions

DEFAULT_PORT = 9090
INTERVAL = "5s"
"""Scrape interval and rule evaluation interval."""

JOB = "cognito-device-exporter"

_GUARD = """
exec 3<&0
"$@" 3<&- & program=$!
{ read -r _ <&3; kill "$program"; } & guard=$!
wait "$program"; status=$?
kill "$guard" 2>/dev/null
exit "$status"
"""
"""Shell script that runs a program and terminates it when standard input is closed, so that Prometheus exits even if
the demo is killed."""

_LOOPBACK = "127.0.0.1"
_RULES = "cognito-device-exporter.rules.yaml"
_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Timeouts for Prometheus, in seconds."""

    ready: float = 5.0
    """Timeout for readiness; a slower Prometheus is assumed to become ready later."""
    exit: float = 5.0
    """Timeout for a clean exit, before SIGKILL."""


TIMEOUTS = Timeouts()


def installed_prometheus() -> str | None:
    """Return the path of `prometheus` on the PATH, None if it is not installed."""
    return shutil.which("prometheus")


@contextmanager
def run_prometheus(
    options: ServeOptions,
    directory: Path,
    find: Callable[[], str | None] = installed_prometheus,
    timeouts: Timeouts = TIMEOUTS,
) -> Iterator[str | None]:
    """Run Prometheus on loopback within the context, with its data in `directory`.

    Yields the URL, the reason why Prometheus was not started, or None if `find` returns None.
    """
    program = find()
    if program is None:
        yield None
    elif options.web_config_file is not None:
        yield "not started: it scrapes over plain HTTP without a password, and --web.config.file may require more"
    else:
        configuration = _configuration(directory, loopback(options.listen_addresses[0]), options.telemetry_path)
        with _running(program, configuration, directory, timeouts) as message:
            yield message


def rules_file() -> Path:
    """Return the file of recording rules and alerts: in the package if installed, under `grafana/` in a checkout."""
    package = Path(exporter.__file__).parent
    bundled = package / "bundled" / _RULES
    return bundled if bundled.exists() else package.parent / "grafana" / "prometheus" / _RULES


def _configuration(directory: Path, target: ListenAddress, telemetry_path: str) -> Path:
    content: dict[str, Any] = {
        "global": {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL},
        "rule_files": [str(rules_file())],
        "scrape_configs": [
            {
                "job_name": JOB,
                "metrics_path": telemetry_path,
                "static_configs": [{"targets": [str(target)]}],
            },
        ],
    }
    path = directory / "prometheus.yaml"
    path.write_text(json.dumps(content), encoding="utf-8")  # JSON is valid YAML
    return path


@contextmanager
def _running(program: str, configuration: Path, directory: Path, timeouts: Timeouts) -> Iterator[str]:
    port = free_port()
    log_file = directory / "prometheus.log"
    command = [
        *("sh", "-c", _GUARD, "sh", program),
        f"--config.file={configuration}",
        f"--storage.tsdb.path={directory / 'prometheus'}",
        f"--web.listen-address={_LOOPBACK}:{port}",
        "--log.level=warn",
    ]
    # A separate session, so that Ctrl-C at the terminal reaches the demo only, which then stops Prometheus.
    with (
        log_file.open("wb") as log,
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True) as process,  # noqa: S603 - the user's own Prometheus
    ):
        try:
            url = f"http://{_LOOPBACK}:{port}/"
            yield url if _wait_until_ready(process, url, timeouts) else f"not started: {_last_line(log_file)}"
        finally:
            _stop(process, timeouts)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, timeouts: Timeouts) -> bool:
    """Return False if Prometheus exits before it is ready; True if it is ready or still starting at the timeout."""
    for _ in range(round(timeouts.ready / _POLL_SECONDS)):
        try:
            process.wait(_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            if _responds(f"{url}-/ready"):
                break
        else:
            return False
    return True


def _responds(url: str) -> bool:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=1.0):
            return True
    except OSError:
        return False


def _last_line(log_file: Path) -> str:
    lines = log_file.read_text(encoding="utf-8", errors="replace").splitlines()
    return lines[-1] if lines else "exited without output"


def _stop(process: subprocess.Popen[bytes], timeouts: Timeouts) -> None:
    if process.stdin is not None:
        process.stdin.close()
    try:
        process.wait(timeouts.exit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


def free_port(port: int = DEFAULT_PORT) -> int:
    """Return the default port of Prometheus if it is free on loopback, else any free port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, port))
        except OSError:
            probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])
