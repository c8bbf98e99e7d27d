"""`report` as a program: memory, signals, pipes, full disks, terminals, and the real AWS CLI."""

from __future__ import annotations

import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from exporter.emulator import Emulator
from exporter.emulator.seed import DeviceMix
from tests.fakes import eventually
from tests.harness import config, environment, get
from tests.integration.conftest import run
from tests.integration.test_report import Report, documented_run, raw, report
from tests.tools import required_tool

__all__ = ["report", "run"]


def start(arguments: Sequence[str], url: str, **streams: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-m", "exporter", *arguments], env=environment(url), **streams)


@contextmanager
def bench(users: int, directory: Path, rate: float = 5000) -> Iterator[tuple[list[str], str]]:
    """Return the `report` command for a fast Cognito with ten devices per user, and its directory."""
    command = [sys.executable, "-m", "bench.cognito", "--devices-per-user=10", "--latency=0.002", f"--users={users}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        file = directory / "bench.yaml"
        text = config(url, "eu-west-1_AbCdEfGhI", identity="raw", rate={"UserResourceRead": rate, "UserList": 5000})
        file.write_text(text, encoding="utf-8")
        try:
            yield ["report", f"--config.file={file}", "--format=json"], url
        finally:
            server.kill()


def peak_mib(process: subprocess.Popen[bytes]) -> float:
    """Return the peak memory of the process so far."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) / 1024


def read_all(stream: IO[bytes], seen: Callable[[int], None]) -> int:
    lines = 0
    for _ in stream:
        lines += 1
        if lines % 1000 == 0:
            seen(lines)
    return lines


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_report_memory_does_not_grow_with_the_devices(tmp_path: Path) -> None:
    peaks = {}
    for users in (1000, 10_000):
        with bench(users, tmp_path) as (command, url), start(command, url, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            found: list[float] = []
            # The last lines are written before the process ends, so the memory is read before that, too.
            lines = read_all(process.stdout, lambda _, found=found, process=process: found.append(peak_mib(process)))  # type: ignore[misc] # the defaults of a lambda
            assert process.wait(60) == 0
            assert lines == users * 10
            peaks[users] = max(found)
    assert peaks[10_000] < peaks[1000] + 20, peaks


def test_ctrl_c_prints_what_was_read(tmp_path: Path) -> None:
    with bench(10_000, tmp_path, rate=500) as (command, url):
        process = start(command, url, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with process:
            assert process.stdout is not None
            assert process.stderr is not None
            lines = [process.stdout.readline() for _ in range(200)]
            process.send_signal(signal.SIGINT)
            # Not communicate(), which would miss what readline() has read ahead.
            lines += process.stdout.readlines()
            err = process.stderr.read()
    assert process.returncode == 130
    assert all(json.loads(line) and line.endswith(b"\n") for line in lines)
    message = re.fullmatch(rb"interrupted: ([\d,]+) users read, ([\d,]+) devices shown\n", err)
    assert message is not None, err
    assert int(message[2].replace(b",", b"")) == len(lines) < 100_000


def test_ctrl_c_prints_sorted_rows_read_so_far(tmp_path: Path) -> None:
    with bench(10_000, tmp_path, rate=300) as (command, url):
        process = start([*command, "--top=5"], url, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with process:
            assert eventually(lambda: has_read(url) > 100, within=30)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert len(out.splitlines()) == 5
    assert err.startswith(b"interrupted: ")


def has_read(url: str) -> int:
    calls = json.loads(get(f"{url}/statistics").body)["calls"]
    return int(calls.get("AdminListDevices", 0))


def test_closed_pipe_ends_the_report(tmp_path: Path) -> None:
    with bench(10_000, tmp_path, rate=500) as (command, url):
        process = start(command, url, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        with process:
            assert process.stdout is not None
            process.stdout.readline()
            process.stdout.close()
            assert process.wait(20) == 0
            assert process.stderr is not None
            assert process.stderr.read() == b""


def test_full_disk_is_a_failure(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full to write to")
    with bench(100, tmp_path) as (command, url), Path("/dev/full").open("wb") as full:
        process = start(command, url, stdout=full, stderr=subprocess.PIPE)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err == b"cannot write to standard output: No space left on device\n"


def test_terminal_shows_the_progress(tmp_path: Path) -> None:
    with bench(3000, tmp_path, rate=500) as (command, url):
        shown, code = on_a_terminal(command, url)
    assert code == 0
    assert re.search(r"users  \[#+-* *\]  \d+/3000", shown), shown[-500:]
    assert re.search(r"\d\d:\d\d:\d\d", shown)  # the remaining time
    assert re.search(r"\d+\.\d users/s  \d+ devices", shown)
    assert "3000/3000" in shown


def on_a_terminal(command: Sequence[str], url: str) -> tuple[str, int]:
    """Run with standard error on a terminal, and return what it shows and the exit code."""
    ours, theirs = pty.openpty()
    shown: list[bytes] = []

    def read() -> None:
        try:
            while data := os.read(ours, 65_536):
                shown.append(data)
        except OSError:  # Linux reports in this way that the other side has closed
            return

    process = start(command, url, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    reader = threading.Thread(target=read)
    reader.start()
    code = process.wait(60)
    reader.join(20)
    os.close(ours)
    return b"".join(shown).decode(), code


def test_aws_cli_accepts_the_commands(emulator: Emulator, report: Report, tmp_path: Path) -> None:
    required_tool("aws")
    names = ("file:///etc/hosts", "-rf", "o'brien\n$(id)")
    pool_id = emulator.seed_pool("few", users=names, devices=DeviceMix(per_user={1: 1.0}))
    script = tmp_path / "forget.sh"
    script.write_text(report(raw(emulator, pool_id), "--commands=forget").out)
    first = json.loads(shlex.split(script.read_text().splitlines()[1])[-1])
    emulator.call("AdminForgetDevice", first)
    done = subprocess.run(
        documented_run(script), capture_output=True, text=True, check=False, env=environment(emulator.url), cwd=tmp_path
    )
    assert emulator.truth(pool_id).devices == ()
    assert done.stderr.count("ResourceNotFoundException") == 1, done.stderr
