"""Data after a restart; failing restarts are in `tests/acceptance/faults`."""

from __future__ import annotations

from pathlib import Path

from exporter.emulator import Emulator
from tests.harness import config, serving
from tests.truth import assert_correct


def test_restart_serves_correct_values_before_any_call(emulator: Emulator, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("pool", users=50)
    text = config(emulator.url, pool_id, state="state.db", refresh_interval="1h")
    with serving(text, tmp_path, emulator.url) as exporter:
        exporter.after_sweep(pool_id)
    emulator.clear_requests()
    with serving(text, tmp_path, emulator.url) as exporter:
        assert exporter.is_ready()
        page = exporter.scrape()
    assert_correct(page, pool_id, emulator.truth(pool_id))
    assert page.state(pool_id) == "ok"
    assert not emulator.requests()
