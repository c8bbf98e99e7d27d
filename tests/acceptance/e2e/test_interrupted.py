"""Ctrl-C while AWS does not respond: no command waits for it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.harness import config, environment

POOL = "eu-west-1_AbCdEfGhI"
RULES: dict[str, Any] = {"discovery": [{"regions": ["eu-west-1"]}]}


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """Server that accepts connections and sends nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(30)
        yield listening


@pytest.mark.parametrize(
    ("command", "rules"), [("plan", False), ("check-config", False), ("plan", True), ("report", True)]
)
def test_ctrl_c_does_not_wait_for_responses(
    command: str, *, rules: bool, silent: socket.socket, tmp_path: Path
) -> None:
    url = f"http://127.0.0.1:{silent.getsockname()[1]}"
    file = tmp_path / "config.yaml"
    file.write_text(config(url, **RULES) if rules else config(url, POOL), encoding="utf-8")
    arguments = [command, "--aws", str(file)] if command == "check-config" else [command, f"--config.file={file}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "exporter", *arguments],
        env=environment(url),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    with process, closing(silent.accept()[0]):
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        took = time.monotonic() - began
    assert (process.returncode, err.strip()) == (130, b"interrupted")
    assert took < 4, "the read timeout is longer"
