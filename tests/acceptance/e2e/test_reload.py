"""Reload of the real program: signals, editors, ConfigMaps, clocks."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from exporter.emulator import Emulator
from tests.fakes import eventually
from tests.harness import Program, config, program, serving_program, wait_until
from tests.truth import assert_correct

SUCCESSFUL = "cognito_exporter_config_last_reload_successful"
KEEPS, RELOADED = "configuration reload failed; keeping current configuration", "configuration reloaded"


def is_shown(running: Program, pool_id: str) -> bool:
    return bool(running.scrape().about(pool_id))


def test_sighup_reloads_and_a_rejected_file_changes_nothing(emulator: Emulator, tmp_path: Path) -> None:
    one, two = (emulator.seed_pool(name, users=20) for name in ("one", "two"))
    file = tmp_path / "config.yaml"
    flags = ("--config.auto-reload-interval=0",)
    with serving_program(config(emulator.url, one, refresh_interval="1h"), tmp_path, emulator.url, *flags) as running:
        running.after_first_sweep(one)
        file.write_text("pools: [")
        for refusals in (1, 2):
            running.process.send_signal(signal.SIGHUP)
            assert eventually(lambda times=refusals: len(running.events(KEEPS, cause="signal")) == times)  # type: ignore[misc] # mypy cannot infer a default of a lambda
        assert running.scrape().value(SUCCESSFUL) == 0
        file.write_text(config(emulator.url, one, two, refresh_interval="1h"))
        running.process.send_signal(signal.SIGHUP)
        page = running.after_first_sweep(one, two)
        assert page.value(SUCCESSFUL) == 1
        assert page.value("cognito_exporter_sweeps_total", user_pool_id=one) == 1
        for pool_id in (one, two):
            assert_correct(page, pool_id, emulator.truth(pool_id))
        assert running.end(signal.SIGTERM) == 0
        assert "Traceback" not in running.log_text


def test_many_hangups_during_startup_are_survived(emulator: Emulator, tmp_path: Path) -> None:
    pool_id = emulator.seed_pool("pool", users=20)
    file = tmp_path / "config.yaml"
    file.write_text(config(emulator.url, pool_id))
    arguments = (f"--config.file={file}", "--web.listen-address=127.0.0.1:0", "--log.format=json")
    with program(["serve", *arguments], tmp_path, emulator.url) as running:
        # Before the first line of the program runs, a signal always ends the process.
        assert eventually(lambda: ignores_hangups(running.process.pid))
        while not running.events("listening"):
            running.process.send_signal(signal.SIGHUP)
            assert running.process.poll() is None, running.log_text
        running.wait_until_listening()
        for _ in range(300):
            running.process.send_signal(signal.SIGHUP)
        page = running.after_first_sweep(pool_id)
        assert_correct(page, pool_id, emulator.truth(pool_id))
        assert eventually(lambda: bool(running.events(RELOADED, cause="signal")))
        assert running.end(signal.SIGTERM) == 0
        assert "Traceback" not in running.log_text


def ignores_hangups(pid: int) -> bool:
    """Return whether a process ignores or handles SIGHUP."""
    fields = dict(line.split(":\t") for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line)
    bit = 1 << (signal.SIGHUP - 1)
    return bool((int(fields["SigIgn"], 16) | int(fields["SigCgt"], 16)) & bit)


@pytest.mark.parametrize("swap", ["rename", "config map", "in place"])
def test_changed_content_is_detected(emulator: Emulator, tmp_path: Path, swap: str) -> None:
    one, two = (emulator.seed_pool(name, users=20) for name in ("one", "two"))
    file = tmp_path / "mounted" / "config.yaml"
    for name, pool_id in (("..one", one), ("..two", two)):
        (file.parent / name).mkdir(parents=True)
        (file.parent / name / file.name).write_text(config(emulator.url, pool_id))
    (file.parent / "..data").symlink_to("..one")
    file.symlink_to("..data/config.yaml")
    arguments = (f"--config.file={file}", "--web.listen-address=127.0.0.1:0", "--log.format=json")
    with program([*arguments, "--config.auto-reload-interval=100ms"], tmp_path, emulator.url) as running:
        running.wait_until_listening()
        running.after_first_sweep(one)
        if swap == "config map":
            (file.parent / "..data_tmp").symlink_to("..two")
            (file.parent / "..data_tmp").rename(file.parent / "..data")
        elif swap == "rename":
            (file.parent / "..two" / file.name).rename(file)
        else:
            file.write_text((file.parent / "..two" / file.name).read_text())
        assert wait_until(lambda: is_shown(running, two) and not is_shown(running, one))
        assert_correct(running.after_first_sweep(two), two, emulator.truth(two))
        assert [len(running.events(line)) for line in (RELOADED, KEEPS)] == [1, 0]


def test_change_during_startup_is_reloaded(emulator: Emulator, tmp_path: Path) -> None:
    one, two = (emulator.seed_pool(name, users=20) for name in ("one", "two"))
    file = tmp_path / "config.yaml"
    file.write_text(config(emulator.url, one))
    arguments = (f"--config.file={file}", "--web.listen-address=127.0.0.1:0", "--log.format=json")
    with program([*arguments, "--config.auto-reload-interval=0"], tmp_path, emulator.url) as running:
        assert eventually(lambda: "starting" in running.log_text)
        file.write_text(config(emulator.url, two))
        running.process.send_signal(signal.SIGHUP)
        running.wait_until_listening()
        assert wait_until(lambda: is_shown(running, two) and not is_shown(running, one))


def test_stop_during_reloads_is_quick_and_keeps_the_state(emulator: Emulator, tmp_path: Path) -> None:
    one, two = (emulator.seed_pool(name, users=50) for name in ("one", "two"))
    file = tmp_path / "config.yaml"
    texts = [config(emulator.url, *pools, state="state.db", refresh_interval="1h") for pools in ((one, two), (one,))]
    with serving_program(texts[0], tmp_path, emulator.url, "--config.auto-reload-interval=0") as running:
        running.after_first_sweep(one, two)
        for turn in range(40):
            file.write_text(texts[turn % 2])
            running.process.send_signal(signal.SIGHUP)
        assert running.end(signal.SIGTERM) == 0
        assert "Traceback" not in running.log_text
    assert not list(tmp_path.glob("*.corrupt-*"))
    emulator.clear_requests()
    with serving_program(texts[0], tmp_path, emulator.url) as running:
        assert_correct(running.scrape(), one, emulator.truth(one))
