"""promtool's linter on the exporter's page."""

from __future__ import annotations

import subprocess
from pathlib import Path

from exporter.emulator import Emulator
from tests.harness import CLASSIC, config, identity_key, pool, serving, wait_until
from tests.integration.test_exporter_first_page import NO_RULES, absent
from tests.tools import required_tool
from tests.unit.metrics.test_exposition import full_page


def test_promtool_accepts_the_full_page() -> None:
    promtool = required_tool("promtool")
    page = full_page().encode()
    lint = subprocess.run([promtool, "check", "metrics"], input=page, capture_output=True, check=False)
    assert (lint.returncode, lint.stdout, lint.stderr) == (0, b"", b"")


def test_promtool_accepts_the_live_page(emulator: Emulator, tmp_path: Path) -> None:
    promtool = required_tool("promtool")
    pool_id = emulator.seed_pool("pool", users=30)
    text = config(emulator.url, pool(pool_id, detail="device"), identity_key_file=identity_key(tmp_path))
    emulator.faults.latency = {"AdminListDevices": 1.0}
    with serving(text, tmp_path, emulator.url) as exporter:
        assert wait_until(lambda: exporter.scrape().state(pool_id) == "unread")
        pages = [exporter.get("/metrics", {"Accept": CLASSIC}).body]
        page = exporter.after_first_sweep(pool_id)
        pages.append(exporter.get("/metrics", {"Accept": CLASSIC}).body)
    idle = {"cognito_exporter_sweep_progress_ratio", "cognito_exporter_sweep_remaining_seconds"}
    assert absent(page) <= {*idle, *NO_RULES}
    for body in pages:
        checked = subprocess.run([promtool, "check", "metrics"], input=body, capture_output=True, check=False)
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
