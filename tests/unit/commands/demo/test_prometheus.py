"""Prometheus beside the demo."""

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
from exporter.commands.demo.prometheus import StartTimeouts, free_port, prometheus_beside
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
"""A program that holds a lock until it is ended."""


SHOWN = ServeOptions(Path(), (ListenAddress("", 10617),), telemetry_path="/m")


class NoPool:
    url = "http://127.0.0.1:1"

    def settings_yaml(self, _key_file: Path) -> str:
        return "pools: []\n"


@contextmanager
def open_no_pool() -> Iterator[World]:
    yield NoPool()


def stub(directory: Path, script: str) -> str:
    """A program that stands in for Prometheus."""
    path = directory / "prometheus-stub"
    path.write_text(f"#!{sys.executable}\n{script}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def is_free(lock: Path) -> bool:
    """Whether the process that held the lock is gone."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_without_prometheus_there_is_nothing_to_tell(tmp_path: Path) -> None:
    with prometheus_beside(SHOWN, tmp_path, lambda: None) as told:
        assert told is None
    assert list(tmp_path.iterdir()) == []


def test_pages_that_may_be_protected_are_not_scraped_and_it_is_said_so(tmp_path: Path) -> None:
    protected = replace(SHOWN, web_config_file=tmp_path / "web.yml")
    with prometheus_beside(protected, tmp_path, lambda: "/nowhere") as told:
        assert told == (
            "not started: it scrapes in plain HTTP and without a password, and --web.config.file may ask for more"
        )
    with prometheus_beside(protected, tmp_path, lambda: None) as told:
        assert told is None


def test_a_prometheus_that_does_not_start_says_why(tmp_path: Path) -> None:
    program = stub(tmp_path, "import sys; print('first'); sys.exit('no space left')")
    with prometheus_beside(SHOWN, tmp_path, lambda: program) as told:
        assert told == "not started: no space left"


def test_a_prometheus_that_ends_silently_is_told_of(tmp_path: Path) -> None:
    program = stub(tmp_path, "")
    with prometheus_beside(SHOWN, tmp_path, lambda: program) as told:
        assert told == "not started: it ended without a word"


def test_what_prometheus_is_told_to_do_stays_on_loopback_and_in_the_directory(tmp_path: Path) -> None:
    program = stub(tmp_path, "import json, sys; print(json.dumps(sys.argv[1:]))")
    with prometheus_beside(SHOWN, tmp_path, lambda: program):
        (line,) = (tmp_path / "prometheus.log").read_text(encoding="utf-8").splitlines()
    config, storage, listen, *_ = json.loads(line)
    assert config == f"--config.file={tmp_path / 'prometheus.yaml'}"
    assert storage == f"--storage.tsdb.path={tmp_path / 'prometheus'}"
    assert listen.startswith("--web.listen-address=127.0.0.1:")


def test_nothing_stays_behind_when_the_demo_is_killed(tmp_path: Path) -> None:
    program = stub(tmp_path, HOLD.format(lock=tmp_path / "lock"))
    demo = (
        "import os, signal; from pathlib import Path\n"
        "from exporter.commands.demo.prometheus import Patience, prometheus_beside\n"
        "from exporter.options import ServeOptions\n"
        "from tests.fakes import eventually\n"
        f"directory = Path({str(tmp_path)!r})\n"
        f"with prometheus_beside(ServeOptions(directory), directory, lambda: {program!r}, StartTimeouts(0.1, 0.1)):\n"
        "    assert eventually(lambda: (directory / 'prometheus.log').read_text() == 'held\\n')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", demo], cwd=ROOT, check=False).returncode == -signal.SIGKILL
    assert eventually(lambda: is_free(tmp_path / "lock"))


def test_a_prometheus_that_will_not_end_is_killed(tmp_path: Path) -> None:
    program = stub(tmp_path, "import signal; signal.signal(15, signal.SIG_IGN)\n" + HOLD.format(lock=tmp_path / "lock"))
    with prometheus_beside(SHOWN, tmp_path, lambda: program, StartTimeouts(0.1, 0.1)):
        assert eventually(lambda: (tmp_path / "prometheus.log").read_text(encoding="utf-8") == "held\n")
        assert not is_free(tmp_path / "lock")
    assert eventually(lambda: is_free(tmp_path / "lock"))


def test_the_usual_port_is_taken_unless_somebody_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert free_port(port) not in {port, 0}
    assert free_port(port) == port


def test_the_demo_tells_where_prometheus_is_and_ends_it_though_serving_fails(
    capsys: pytest.CaptureFixture[str],
) -> None:
    watching: list[str] = []

    @contextmanager
    def watch(_show: ServeOptions, directory: Path) -> Iterator[str | None]:
        assert directory.is_dir()
        watching.append("began")
        try:
            yield "http://127.0.0.1:9090/"
        finally:
            watching.append("ended")

    def fail(_config_file: Path) -> int:
        assert watching == ["began"]
        raise ConfigError(["broken"])

    with pytest.raises(ConfigError):
        run_demo(fail, SHOWN, open_no_pool, watch)
    assert watching == ["began", "ended"]
    assert capsys.readouterr().out.splitlines()[-1] == "Prometheus:  http://127.0.0.1:9090/"
