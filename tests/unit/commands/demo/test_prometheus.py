"""Prometheus that the demo runs."""

from __future__ import annotations

import fcntl
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.commands.demo.command import World, run_demo
from exporter.commands.demo.prometheus import Timeouts, free_port, run_prometheus
from exporter.errors import ConfigError
from exporter.options import ListenAddress, ServeOptions
from tests.fakes import eventually

ROOT = Path(__file__).parents[4]

HOLD = """
import fcntl, signal
file = open("{lock}", "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
signal.pause()
"""
"""Program that holds a lock until it is terminated."""


OPTIONS = ServeOptions(Path(), (ListenAddress("", 10617),), telemetry_path="/m")


class NoPool:
    url = "http://127.0.0.1:1"

    def settings_yaml(self, _key_file: Path) -> str:
        return "pools: []\n"


@contextmanager
def open_no_pool() -> Iterator[World]:
    yield NoPool()


def stub(directory: Path, script: str) -> str:
    """Return an executable that replaces Prometheus."""
    path = directory / "prometheus-stub"
    path.write_text(f"#!{sys.executable}\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def is_free(lock: Path) -> bool:
    """Return True if the process that held the lock has exited."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_missing_prometheus_has_no_message(tmp_path: Path) -> None:
    with run_prometheus(OPTIONS, tmp_path, lambda: None) as message:
        assert message is None
    assert list(tmp_path.iterdir()) == []


def test_prometheus_is_not_started_with_a_web_configuration(tmp_path: Path) -> None:
    protected = replace(OPTIONS, web_config_file=tmp_path / "web.yml")
    with run_prometheus(protected, tmp_path, lambda: "/nowhere") as message:
        assert message == (
            "not started: it scrapes over plain HTTP without a password, and --web.config.file may require more"
        )
    with run_prometheus(protected, tmp_path, lambda: None) as message:
        assert message is None


def test_failed_start_reports_the_last_log_line(tmp_path: Path) -> None:
    program = stub(tmp_path, "import sys; print('first'); sys.exit('no space left')")
    with run_prometheus(OPTIONS, tmp_path, lambda: program) as message:
        assert message == "not started: no space left"


def test_silent_exit_is_reported(tmp_path: Path) -> None:
    program = stub(tmp_path, "")
    with run_prometheus(OPTIONS, tmp_path, lambda: program) as message:
        assert message == "not started: exited without output"


def test_prometheus_uses_loopback_and_the_directory_only(tmp_path: Path) -> None:
    program = stub(tmp_path, "import json, sys; print(json.dumps(sys.argv[1:]))")
    with run_prometheus(OPTIONS, tmp_path, lambda: program):
        (line,) = (tmp_path / "prometheus.log").read_text(encoding="utf-8").splitlines()
    config, storage, listen, *_ = json.loads(line)
    assert config == f"--config.file={tmp_path / 'prometheus.yaml'}"
    assert storage == f"--storage.tsdb.path={tmp_path / 'prometheus'}"
    assert listen.startswith("--web.listen-address=127.0.0.1:")


def test_killed_demo_leaves_no_process(tmp_path: Path) -> None:
    program = stub(tmp_path, HOLD.format(lock=tmp_path / "lock"))
    demo = (
        "import os, signal; from pathlib import Path\n"
        "from exporter.commands.demo.prometheus import Timeouts, run_prometheus\n"
        "from exporter.options import ServeOptions\n"
        "from tests.fakes import eventually\n"
        f"directory = Path({str(tmp_path)!r})\n"
        f"with run_prometheus(ServeOptions(directory), directory, lambda: {program!r}, Timeouts(0.1, 0.1)):\n"
        "    assert eventually(lambda: (directory / 'prometheus.log').read_text() == 'held\\n')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", demo], cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert eventually(lambda: is_free(tmp_path / "lock"))


def test_prometheus_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    program = stub(tmp_path, "import signal; signal.signal(15, signal.SIG_IGN)\n" + HOLD.format(lock=tmp_path / "lock"))
    with run_prometheus(OPTIONS, tmp_path, lambda: program, Timeouts(0.1, 0.1)):
        assert eventually(lambda: (tmp_path / "prometheus.log").read_text(encoding="utf-8") == "held\n")
        assert not is_free(tmp_path / "lock")
    assert eventually(lambda: is_free(tmp_path / "lock"))


def test_free_port_prefers_the_default() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert free_port(port) not in {port, 0}
    assert free_port(port) == port


def test_demo_stops_prometheus_when_serving_fails(
    capsys: pytest.CaptureFixture[str],
) -> None:
    watching: list[str] = []

    @contextmanager
    def watch(_options: ServeOptions, directory: Path) -> Iterator[str | None]:
        assert directory.is_dir()
        watching.append("started")
        try:
            yield "http://127.0.0.1:9090/"
        finally:
            watching.append("stopped")

    def fail(_config_file: Path) -> int:
        assert watching == ["started"]
        raise ConfigError(["broken"])

    with pytest.raises(ConfigError):
        run_demo(fail, OPTIONS, open_no_pool, watch)
    assert watching == ["started", "stopped"]
    assert capsys.readouterr().out.splitlines()[-1] == "Prometheus:  http://127.0.0.1:9090/"
