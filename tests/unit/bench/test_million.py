"""The measurement of the filled store, with few users."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

from bench.million import wait_until_written
from tests.harness import config

ROOT = Path(__file__).parents[3]


def test_million_writes_json_and_state(tmp_path: Path) -> None:
    file, state = tmp_path / "config.yaml", tmp_path / "state.db"
    file.write_text(config("http://127.0.0.1:1", "eu-west-1_AbCdEfGhI", state=str(state)), encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-m", "bench.million", file, "20"], cwd=ROOT, capture_output=True, check=True, timeout=60
    )
    assert set(json.loads(ended.stdout)) == {"bytes_per_device", "sums_ms", "naive_sums_ms"}
    assert ended.stdout.count(b"\n") == 1
    assert state.stat().st_size > 0


def test_million_waits_until_state_is_written(tmp_path: Path) -> None:
    log = tmp_path / "state.db-wal"
    log.touch()
    pause, written = threading.Event(), 0

    def write() -> None:
        nonlocal written
        while written < 10:
            pause.wait(0.02)
            log.write_bytes(bytes(written))
            written += 1

    writer = threading.Thread(target=write)
    writer.start()
    wait_until_written(tmp_path / "state.db", quiet=0.3)
    assert written == 10
    writer.join()
