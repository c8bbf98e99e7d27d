"""The program from outside: start, stop, errors, output."""

from __future__ import annotations

import json
import re
import signal
import socket
import time
from pathlib import Path

import pytest

from exporter.daemon.malloc import has_arenas
from exporter.emulator import Emulator, Fault, Rule
from exporter.emulator.demo import DemoWorld
from tests.fakes import eventually
from tests.harness import (
    Exporter,
    config,
    free_port,
    identity_key,
    pool,
    program,
    serving_program,
    wait_until,
)
from tests.hostile_names import HOSTILE
from tests.integration.test_exporter_hostile_names import is_told
from tests.truth import assert_correct

GONE = ("someone who left", "left-in-april@example.com")
"""Names in the configuration that no longer exist."""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_stop_takes_less_than_5_seconds_despite_hanging_calls(
    emulator: Emulator, tmp_path: Path, number: signal.Signals
) -> None:
    pool_id = emulator.seed_pool("pool", users=300)
    emulator.faults.latency = {"AdminListDevices": 10.0}
    with serving_program(config(emulator.url, pool_id), tmp_path, emulator.url) as running:
        progress = "cognito_exporter_sweep_progress_ratio"
        assert wait_until(lambda: running.scrape().value(progress, user_pool_id=pool_id) is not None)
        assert wait_until(lambda: waited_for_turns(running) > 0)
        began = time.monotonic()
        assert running.end(number) == 0
        assert time.monotonic() - began < 5
        assert running.events("stopping")
        assert "Traceback" not in running.log_text
        assert not [line for line in running.log_text.splitlines() if json.loads(line)["level"] in {"warn", "error"}]


def waited_for_turns(running: Exporter) -> float:
    """Return the time that device reads waited for the rate limiter; above 0, some are in flight."""
    waits = running.scrape().series(
        "cognito_exporter_rate_limit_wait_seconds_total", "aws_account_id", category="UserResourceRead"
    )
    return sum(waits.values())


def test_port_in_use_is_a_one_line_error(emulator: Emulator, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("pool", users=1)
    (tmp_path / "config.yaml").write_text(config(emulator.url, pool_id))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        address = f"127.0.0.1:{port}"
        arguments = [f"--config.file={tmp_path / 'config.yaml'}", f"--web.listen-address={address}"]
        with program(arguments, tmp_path, emulator.url) as running:
            assert running.process.wait(20) == 1
            last = [line for line in running.log_text.splitlines() if not line.startswith("ts=")]
    assert len(last) == 1
    assert "in use" in last[0].lower()
    assert port in last[0]
    assert "Traceback" not in running.log_text


def test_configuration_errors_are_all_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(
        "defaults:\n  refresh_interval: soon\n  colour: blue\npools:\n  - id: nowhere\n  - detail: all\n"
    )
    with program([f"--config.file={tmp_path / 'config.yaml'}"], tmp_path, "http://127.0.0.1:9") as running:
        assert running.process.wait(20) == 2
    lines = running.log_text.splitlines()
    assert [re.sub(r".*config\.yaml:(\d+): ([^:]*):.*", r"\1 \2", line) for line in lines] == [
        "2 defaults.refresh_interval",
        "3 defaults.colour",
        "5 pools[0].id",
        "6 pools[1].detail",
        "6 pools[1].id",
    ]


def test_demo_prints_its_url_and_serves_correct_samples(tmp_path: Path) -> None:
    port = free_port()
    with program(["demo", f"--web.listen-address=127.0.0.1:{port}", "--log.format=json"], tmp_path, "unused") as demo:
        assert eventually(lambda: bool(demo.events("listening")), within=30)
        # If Prometheus is installed, a third line has its URL.
        told = demo.out.splitlines()[:2]
        assert told == [f"Status page: http://127.0.0.1:{port}/", f"Metrics:     http://127.0.0.1:{port}/metrics"]
        demo.url = f"http://127.0.0.1:{port}"
        assert demo.get("/").status == 200
        with DemoWorld() as same:
            pools, seeded = same.pool_ids, same.emulator.truth(same.pool_ids["workforce"])
        workforce = pools["workforce"]
        assert wait_until(lambda: demo.scrape().state(workforce) == "ok", within=40)
        page = demo.scrape()
        assert demo.end(signal.SIGINT) == 0
    info = page.series("cognito_user_pool_info", "user_pool_id", "user_pool_name", "device_tracking")
    assert set(info) == {
        (pools["shop-prod"], "shop-prod", "always"),
        (workforce, "workforce", "opt_in"),
        (pools["legacy-app"], "legacy-app", "off"),
    }
    # The demo always starts with the same data, and changes about twice a second.
    known = {device.key for device in seeded.devices}
    present = set(page.series("cognito_device_info", "device_key", user_pool_id=workforce))
    assert len(known & present) > 0.9 * len(known)
    assert page.value("cognito_user_pool_users", user_pool_id=workforce) == pytest.approx(len(seeded.users), abs=10)
    devices = page.series("cognito_user_pool_devices", "remembered_status", user_pool_id=workforce)
    assert sum(devices.values()) == len(present)


def test_logs_omit_names_addresses_arns_and_secrets(emulator: Emulator, tmp_path: Path) -> None:
    """Debug log of sweeps with every kind of error."""
    secret, token, key = "s3cret+of/the+tests", "session+token/of+the+tests", "identity-key-of-the-tests"
    raw = emulator.seed_pool("raw", users=HOSTILE)
    named = emulator.seed_pool("named", users=100)
    denied = emulator.seed_pool("denied", users=HOSTILE)
    rules = [Rule(fault, pool_id=raw, share=0.01) for fault in Fault if fault is not Fault.DENIED]
    emulator.faults.rules = (*rules, Rule(Fault.DENIED, "AdminListDevices", denied))
    text = config(
        emulator.url,
        pool(raw, detail="device", identity="raw", device_attributes=["device_name", "last_ip_used"]),
        pool(named, detail="user", users={"usernames": [*emulator.truth(named).users, *GONE]}),
        pool(denied, users={"usernames": list(HOSTILE)}),
        identity_key_file=identity_key(tmp_path, key),
        refresh_interval="20s",
    )
    with serving_program(
        text,
        tmp_path,
        emulator.url,
        "--log.level=debug",
        AWS_SECRET_ACCESS_KEY=secret,
        AWS_SESSION_TOKEN=token,
    ) as running:
        assert wait_until(lambda: all(running.sweeps(pool_id) >= 1 for pool_id in (raw, named, denied)), within=60)
        page = running.scrape()
        assert running.end(signal.SIGTERM) == 0
        log = running.log_text + running.out
    assert_correct(page, raw, emulator.truth(raw))
    assert page.value("cognito_exporter_users_vanished_total", user_pool_id=named) == len(GONE)
    told = [name for name in (*HOSTILE, *GONE, *emulator.truth(named).users) if is_told(name, log)]
    assert not told
    assert "192.0.2." not in log
    assert "arn:" not in log
    for word in (secret, token, key, "Mozilla", "Authorization", "Signature"):
        assert word not in log
    assert raw in log


@pytest.mark.skipif(not has_arenas(), reason="only glibc has arenas")
def test_threads_share_one_malloc_arena(emulator: Emulator, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("pool", users=100)
    with serving_program(config(emulator.url, pool_id), tmp_path, emulator.url) as running:
        running.after_first_sweep(pool_id)
        assert arenas_of_threads(running.process.pid) == 0


def arenas_of_threads(pid: int) -> int:
    """Count glibc arenas: mappings of 64 MiB at a multiple of that, of which only a part is in use."""
    size = 64 << 20
    found = re.findall(
        r"^(\w+)-(\w+) rw-p 0+ 00:00 0 *\n\2-(\w+) ---p ", Path(f"/proc/{pid}/maps").read_text(), re.MULTILINE
    )
    ends = [(int(begin, 16), int(end, 16)) for begin, _, end in found]
    return sum(begin % size == 0 and end - begin == size for begin, end in ends)
