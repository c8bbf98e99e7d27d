"""The program with and without OpenTelemetry: imports, log, and spans at the end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.emulator import Emulator
from tests.fakes import eventually
from tests.harness import config, environment, serving_program
from tests.integration.test_tracing import Collector, collector

__all__ = ["collector"]

MODULES = """
import atexit, sys
{before}
atexit.register(lambda: print(*sorted(name for name, module in sys.modules.items() if module is not None)))
from exporter.__main__ import main
main()
"""
"""The program, which prints the imported modules at the end."""


def test_remaining_spans_are_exported_at_the_end(emulator: Emulator, tmp_path: Path, collector: Collector) -> None:
    pool_id = emulator.seed_pool("pool", users=5)
    text = config(emulator.url, pool_id, refresh_interval="1h")
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "3600000"}
    with serving_program(text, tmp_path, emulator.url, **environ) as program:
        assert eventually(lambda: bool(program.events("sweep finished")), within=20)
        assert not collector.spans
        assert program.end(signal.SIGTERM) == 0
    assert collector.sweeps()


def modules_after(
    emulator: Emulator, directory: Path, pool_id: str, *, before: str = "", **environ: str
) -> tuple[set[str], str]:
    """Return the modules imported after one sweep, and the log."""
    file, errors = directory / "config.yaml", directory / "stderr.txt"
    file.write_text(config(emulator.url, pool_id, refresh_interval="1h"), encoding="utf-8")
    flags = [f"--config.file={file}", "--web.listen-address=127.0.0.1:0", "--log.format=json"]
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", MODULES.format(before=before), *flags],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=environment(emulator.url, **environ),
        )
    try:
        assert eventually(lambda: "sweep finished" in errors.read_text(), within=20), errors.read_text()
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=10)
        return set(out.split()), errors.read_text()
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    "environ",
    [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}],
    ids=["by default", "disabled"],
)
def test_opentelemetry_is_not_imported_without_tracing(
    environ: dict[str, str], emulator: Emulator, tmp_path: Path
) -> None:
    modules, _ = modules_after(emulator, tmp_path, emulator.seed_pool("pool", users=3), **environ)
    assert "exporter.collect.sweeping.sweep" in modules
    foreign = {name.partition(".")[0] for name in modules}
    assert not foreign & {"opentelemetry", "google", "requests"}
    assert {name for name in modules if name.startswith("exporter.tracing.")} == {
        "exporter.tracing.start",
    }


def test_opentelemetry_is_imported_with_tracing(emulator: Emulator, tmp_path: Path) -> None:
    """Shows that the test above can fail."""
    pool_id = emulator.seed_pool("pool", users=3)
    modules, _ = modules_after(emulator, tmp_path, pool_id, OTEL_TRACES_EXPORTER="otlp")
    assert "opentelemetry.sdk.trace" in modules


def test_missing_tracing_extra_is_logged_once(emulator: Emulator, tmp_path: Path) -> None:
    _, log = modules_after(
        emulator,
        tmp_path,
        emulator.seed_pool("pool", users=3),
        before="sys.modules['opentelemetry'] = None",
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
    )
    (line,) = (json.loads(line) for line in log.splitlines() if "tracing disabled" in line)
    assert (line["level"], line["install"]) == ("warn", "cognito-device-exporter[tracing]")
    assert "opentelemetry" in line["error"]


def test_invalid_tracing_settings_are_logged(emulator: Emulator, tmp_path: Path) -> None:
    _, log = modules_after(
        emulator,
        tmp_path,
        emulator.seed_pool("pool", users=3),
        OTEL_TRACES_EXPORTER="otlp",
        OTEL_BSP_MAX_QUEUE_SIZE="0",
    )
    (line,) = (json.loads(line) for line in log.splitlines() if "tracing disabled" in line)
    assert "max_queue_size" in line["error"]
