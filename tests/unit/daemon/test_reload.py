from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from exporter.daemon.reload import MAX_BYTES, FileState, Reloader, file_state
from exporter.errors import ConfigError
from tests.fakes import OffsetClock, eventually

FAILED = "configuration reload failed; keeping current configuration"


class RecordingListener:
    """Records the attempts to reload."""

    def __init__(self) -> None:
        self.attempts: list[bool] = []
        self.unexpected: list[str] = []

    def configuration_loaded(self, *, successful: bool, now: float) -> None:
        assert now > 0
        self.attempts.append(successful)

    def unexpected_error(self, component: str) -> None:
        self.unexpected.append(component)


class File:
    """A source whose file contains a word; `bad` is invalid, and `worse` raises an unexpected error."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.applied: list[str] = []
        self.gate: threading.Event | None = None
        self.reading = threading.Event()
        self.reader: threading.Thread | None = None
        self._needed: tuple[Path, ...] = ()
        self.concurrent = 0
        self.max_concurrent = 0

    def files(self) -> tuple[Path, ...]:
        return (self.path, *self._named(), *self._needed)

    def read(self) -> Callable[[], None]:
        self.concurrent += 1
        self.max_concurrent = max(self.max_concurrent, self.concurrent)
        self.reader = threading.current_thread()
        self.reading.set()
        try:
            if self.gate is not None:
                assert self.gate.wait(10)
            word = self._word()
        finally:
            self.concurrent -= 1
        return lambda: self.applied.append(word)

    def _word(self) -> str:
        try:
            word = self.path.read_text()
        except OSError:
            raise ConfigError(["cannot be read"]) from None
        if word == "bad":
            raise ConfigError(["a bad word, expected a good one"])
        if word == "worse":
            raise RuntimeError("unexpected")
        self._check_key(word)
        return word

    def _check_key(self, word: str) -> None:
        """Check the key of words that need one."""
        self._needed = (self.path.with_name("needed"),) if word == "needs a key" else ()
        for key in self._needed:
            if not key.exists():
                raise ConfigError(["no key, expected one"])
            if key.read_text() != "the key" or key.stat().st_mode & 0o077:
                raise ConfigError(["a bad key, expected a good one"])

    def _named(self) -> tuple[Path, ...]:
        """Return the file that the active content names."""
        return (self.path.with_name("key"),) if self.applied[-1:] == ["with a key"] else ()


@pytest.fixture
def file(tmp_path: Path) -> File:
    path = tmp_path / "config.yaml"
    path.write_text("first")
    return File(path)


@pytest.fixture
def listener() -> RecordingListener:
    return RecordingListener()


@pytest.fixture
def reloader(file: File, listener: RecordingListener) -> Iterator[Reloader]:
    """A reloader that does not check files."""
    reloader = Reloader(file, None, listener, OffsetClock(), interval=0)
    reloader.start()
    yield reloader
    reloader.stop()


@pytest.fixture
def watching(file: File, listener: RecordingListener) -> Iterator[Reloader]:
    reloader = Reloader(file, None, listener, OffsetClock(), interval=0.01, settle=SETTLE)
    reloader.start()
    yield reloader
    reloader.stop()


SETTLE = 0.1
"""Seconds for which a changed file must stay the same."""


def settle(seconds: float) -> None:
    eventually(lambda: False, within=seconds)


def test_reload_of_a_changed_file_applies_and_logs_it(
    reloader: Reloader, file: File, listener: RecordingListener
) -> None:
    file.path.write_text("second")
    with capture_logs() as logs:
        assert reloader.reload("request") is None
    assert (file.applied, listener.attempts) == (["second"], [True])
    assert logs == [{"event": "configuration reloaded", "log_level": "info", "cause": "request"}]


def test_reload_of_an_invalid_file_is_logged_each_time(
    reloader: Reloader, file: File, listener: RecordingListener
) -> None:
    file.path.write_text("bad")
    with capture_logs() as logs:
        assert [reloader.reload("request") for _ in range(2)] == ["a bad word, expected a good one"] * 2
    assert (file.applied, listener.attempts) == ([], [False, False])
    entry = {"event": FAILED, "log_level": "error", "cause": "request", "error": "a bad word, expected a good one"}
    assert logs == [entry, entry]


def test_unexpected_error_is_counted_and_next_reload_succeeds(
    reloader: Reloader, file: File, listener: RecordingListener
) -> None:
    file.path.write_text("worse")
    with capture_logs() as logs:
        assert reloader.reload("request") == "unexpected error, see the log"
    assert (listener.attempts, listener.unexpected) == ([False], ["reload"])
    assert logs == [
        {
            "event": "unexpected error in configuration reload",
            "log_level": "error",
            "cause": "request",
            "exc_info": True,
        }
    ]
    file.path.write_text("second")
    assert reloader.reload("request") is None
    assert file.applied == ["second"]


def test_reload_with_one_invalid_source_applies_none(tmp_path: Path, listener: RecordingListener) -> None:
    good, bad = File(tmp_path / "good"), File(tmp_path / "bad")
    good.path.write_text("good")
    bad.path.write_text("bad")
    reloader = Reloader(good, bad, listener, OffsetClock(), interval=0)
    assert reloader.reload("request") == "a bad word, expected a good one"
    assert good.applied == []
    bad.path.write_text("good too")
    assert reloader.reload("request") is None
    assert (good.applied, bad.applied) == (["good"], ["good too"])


def test_requests_during_a_reload_wait_for_it(reloader: Reloader, file: File, listener: RecordingListener) -> None:
    file.gate = threading.Event()
    reloader.request_reload("signal")
    assert file.reading.wait(10)
    others = [threading.Thread(target=reloader.reload, args=("request",)) for _ in range(3)]
    for other in others:
        other.start()
    reloader.request_reload("signal")
    file.path.write_text("second")
    file.gate.set()
    assert eventually(lambda: len(listener.attempts) == 5)
    for other in others:
        other.join(10)
    assert file.max_concurrent == 1
    assert file.applied == ["second"] * 5


def test_requests_of_a_reentrant_signal_handler_are_all_served(reloader: Reloader, listener: RecordingListener) -> None:
    before = signal.signal(signal.SIGUSR1, lambda _number, _frame: reloader.request_reload("signal"))
    try:
        for _ in range(200):
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert eventually(lambda: len(listener.attempts) == 200)


def test_requested_reload_logs_its_cause(reloader: Reloader, listener: RecordingListener) -> None:
    with capture_logs() as logs:
        reloader.request_reload("a test")
        assert eventually(lambda: listener.attempts == [True])
    assert [entry["cause"] for entry in logs if entry["event"] == "configuration reloaded"] == ["a test"]


def test_file_replaced_by_a_pipe_does_not_block(reloader: Reloader, file: File, listener: RecordingListener) -> None:
    key = file.path.with_name("key")
    os.mkfifo(key)
    file.path.write_text("with a key")
    assert reloader.reload("request") is None
    assert listener.attempts == [True]


def test_watcher_applies_changed_content_and_logs_it(
    watching: Reloader, file: File, listener: RecordingListener
) -> None:
    assert watching is not None
    with capture_logs() as logs:
        file.path.write_text("second")
        assert eventually(lambda: listener.attempts == [True])
    assert file.applied == ["second"]
    assert [entry["cause"] for entry in logs] == ["file change"]


def test_reload_thread_is_a_named_daemon(reloader: Reloader, file: File) -> None:
    reloader.request_reload("signal")
    assert file.reading.wait(10)
    assert file.reader is not None
    assert (file.reader.name, file.reader.daemon) == ("reload", True)


def test_watcher_ignores_rewritten_equal_content(watching: Reloader, file: File, listener: RecordingListener) -> None:
    assert watching is not None
    file.path.write_text("first")
    other = file.path.with_name("other")
    other.write_text("first")
    other.replace(file.path)
    settle(4 * SETTLE)
    assert listener.attempts == []


def test_watcher_detects_change_of_equal_length_and_time(watching: Reloader, file: File) -> None:
    assert watching is not None
    stat = file.path.stat()
    with capture_logs():
        file.path.write_text("FIRST")
        os.utime(file.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert eventually(lambda: file.applied == ["FIRST"])


def test_watcher_logs_an_error_once_until_it_changes(
    watching: Reloader, file: File, listener: RecordingListener
) -> None:
    with capture_logs() as logs:
        file.path.write_text("bad")
        assert eventually(lambda: listener.attempts == [False])
        settle(4 * SETTLE)
        assert listener.attempts == [False]
        file.path.write_text("worse")
        assert eventually(lambda: listener.attempts == [False, False])
        file.path.write_text("bad")
        assert eventually(lambda: listener.attempts == [False] * 3)
    assert [entry["event"] for entry in logs] == [FAILED, "unexpected error in configuration reload", FAILED]
    assert watching.reload("request") is not None
    settle(4 * SETTLE)
    assert len(listener.attempts) == 4, "the watcher does not repeat an error that a request has logged"


def test_watcher_logs_a_deleted_file_and_applies_its_return(
    watching: Reloader, file: File, listener: RecordingListener
) -> None:
    assert watching is not None
    with capture_logs() as logs:
        file.path.unlink()
        assert eventually(lambda: listener.attempts == [False])
        file.path.write_text("first")
        assert eventually(lambda: listener.attempts == [False, True])
    assert [entry.get("error") for entry in logs] == ["cannot be read", None]
    assert file.applied == ["first"]


def test_watcher_waits_while_a_file_is_being_written(file: File, listener: RecordingListener) -> None:
    reloader = Reloader(file, None, listener, OffsetClock(), interval=0.01, settle=0.3)
    reloader.start()
    for length in range(1, 15):
        file.path.write_text("a longer content"[:length])
        settle(0.03)
    file.path.write_text("a longer content")
    assert eventually(lambda: listener.attempts == [True])
    assert file.applied == ["a longer content"]
    reloader.stop()


def test_watcher_includes_files_named_by_the_configuration(
    watching: Reloader, file: File, listener: RecordingListener
) -> None:
    assert watching is not None
    key = file.path.with_name("key")
    key.write_text("one")
    file.path.write_text("with a key")
    assert eventually(lambda: file.applied == ["with a key"])
    settle(4 * SETTLE)
    assert len(listener.attempts) == 1, "a newly named file is not a change"
    key.write_text("another")
    assert eventually(lambda: len(listener.attempts) == 2)


def test_watcher_reads_content_changed_during_a_reload(watching: Reloader, file: File) -> None:
    file.gate = threading.Event()
    file.path.write_text("second")
    asking = threading.Thread(target=watching.reload, args=("request",))
    asking.start()
    assert file.reading.wait(10)
    file.path.write_text("third")
    file.gate.set()
    asking.join(10)
    assert eventually(lambda: len(file.applied) >= 2)
    assert file.applied[-1] == "third"


def test_watcher_reloads_when_a_missing_file_appears(
    watching: Reloader, file: File, listener: RecordingListener
) -> None:
    """In Kubernetes, the Secret may be updated a minute after the ConfigMap."""
    assert watching is not None
    key = file.path.with_name("needed")
    with capture_logs() as logs:
        file.path.write_text("needs a key")
        # The rejected configuration named a file for the first time, which may have appeared in the meantime.
        assert eventually(lambda: listener.attempts == [False, False])
        settle(4 * SETTLE)
        assert listener.attempts == [False, False]
        key.touch(0o600)
        key.write_text("too short")
        assert eventually(lambda: listener.attempts == [False] * 3)
        key.write_text("the key")
        assert eventually(lambda: listener.attempts[3:] == [True])
    assert [entry.get("error") for entry in logs] == ["no key, expected one", "a bad key, expected a good one", None]
    assert file.applied == ["needs a key"]


def test_watcher_reloads_when_a_file_mode_changes(watching: Reloader, file: File, listener: RecordingListener) -> None:
    assert watching is not None
    key = file.path.with_name("needed")
    key.write_text("the key")
    key.chmod(0o644)
    file.path.write_text("needs a key")
    assert eventually(lambda: listener.attempts == [False, False])
    key.chmod(0o600)
    assert eventually(lambda: listener.attempts[2:] == [True])
    key.chmod(0o640)
    assert eventually(lambda: listener.attempts[3:] == [False]), "a restart would fail as well"


def test_file_state_has_content_mode_and_owner(tmp_path: Path) -> None:
    status = tmp_path.stat()
    assert file_state(tmp_path) == FileState(None, status.st_mode, status.st_uid)
    file = tmp_path / "file"
    assert file_state(file) == FileState(None, None, None)
    file.write_text("word")
    status = file.stat()
    assert file_state(file) == FileState(hashlib.sha256(b"word").digest(), status.st_mode, status.st_uid)


def test_check_detects_changes_of_a_directory(tmp_path: Path, listener: RecordingListener) -> None:
    directory = tmp_path / "state"
    source = File(directory)
    reloader = Reloader(source, None, listener, OffsetClock(), interval=0, settle=SETTLE)
    reloader.check_files()
    assert listener.attempts == []
    changes: list[Callable[[], None]] = [directory.mkdir, lambda: directory.chmod(0o700), directory.rmdir]
    for change in changes:
        change()
        reloader.check_files()
        assert len(listener.attempts) == 1
        listener.attempts.clear()


def test_reload_reports_the_errors_of_all_sources(tmp_path: Path, listener: RecordingListener) -> None:
    bad, gone = File(tmp_path / "bad"), File(tmp_path / "gone")
    bad.path.write_text("bad")
    reloader = Reloader(bad, gone, listener, OffsetClock(), interval=0)
    assert reloader.reload("request") == "a bad word, expected a good one\ncannot be read"
    assert (bad.applied, gone.applied) == ([], [])


def test_watcher_logs_an_error_again_after_a_success(
    watching: Reloader, file: File, listener: RecordingListener
) -> None:
    assert watching is not None
    with capture_logs() as logs:
        for word, outcomes in (("bad", 1), ("good", 2), ("bad", 3)):
            file.path.write_text(word)
            assert eventually(lambda expected=outcomes: len(listener.attempts) == expected)  # type: ignore[misc] # mypy cannot infer a default of a lambda
    assert [entry["log_level"] for entry in logs] == ["error", "info", "error"]


def test_watcher_detects_a_swapped_symlink_of_a_configmap(tmp_path: Path, listener: RecordingListener) -> None:
    """The files of a ConfigMap are links to `..data`, which is a link to a directory that is replaced."""
    for name, word in (("..first", "first"), ("..second", "second")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(word)
    (tmp_path / "..data").symlink_to("..first")
    (tmp_path / "config.yaml").symlink_to("..data/config.yaml")
    file = File(tmp_path / "config.yaml")
    reloader = Reloader(file, None, listener, OffsetClock(), interval=0.01, settle=SETTLE)
    reloader.start()
    (tmp_path / "..data_tmp").symlink_to("..second")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    assert eventually(lambda: listener.attempts == [True])
    assert file.applied == ["second"]
    reloader.stop()


def test_check_compares_at_most_one_mebibyte(file: File, listener: RecordingListener) -> None:
    file.path.write_bytes(b"x" * (MAX_BYTES + 10))
    reloader = Reloader(file, None, listener, OffsetClock(), interval=0)
    with file.path.open("ab") as opened:
        opened.write(b"more")
    reloader.check_files()
    assert listener.attempts == []


def test_interval_zero_checks_no_file(reloader: Reloader, file: File, listener: RecordingListener) -> None:
    assert reloader is not None
    file.path.write_text("second")
    settle(4 * SETTLE)
    assert listener.attempts == []


def test_request_after_stop_is_ignored(file: File, listener: RecordingListener) -> None:
    reloader = Reloader(file, None, listener, OffsetClock(), interval=0.01, settle=SETTLE)
    reloader.start()
    reloader.stop()
    assert eventually(lambda: not reloader._thread.is_alive())
    reloader.request_reload("signal")
    settle(0.05)
    assert listener.attempts == []


def test_stop_ends_the_wait_for_a_file_that_never_settles(file: File, listener: RecordingListener) -> None:
    reloader = Reloader(file, None, listener, OffsetClock(), interval=0.01)
    reloader.start()
    for count in range(20):
        file.path.write_text(f"word {count}")
        settle(0.02)
    reloader.stop()
    assert eventually(lambda: not reloader._thread.is_alive(), within=2)
    assert listener.attempts == []


@pytest.fixture
def web(tmp_path: Path) -> File:
    path = tmp_path / "web.yml"
    path.write_text("web")
    return File(path)


@pytest.fixture
def with_web(file: File, web: File, listener: RecordingListener) -> Reloader:
    return Reloader(file, web, listener, OffsetClock(), interval=0, settle=0)


def test_changed_web_file_is_applied_alone(
    with_web: Reloader, file: File, web: File, listener: RecordingListener
) -> None:
    file.path.write_text("second")
    web.path.write_text("new")
    for _ in range(2):
        with_web.check_web_files()
    assert (file.applied, web.applied) == ([], ["new"])
    assert listener.attempts == [True]


def test_invalid_web_file_is_read_and_logged_once(with_web: Reloader, web: File, listener: RecordingListener) -> None:
    web.path.write_text("bad")
    with capture_logs() as logs:
        for _ in range(3):
            with_web.check_web_files()
        web.path.write_text("web")
        with_web.check_web_files()
    assert [entry["log_level"] for entry in logs] == ["error", "info"]
    assert (web.applied, listener.attempts) == (["web"], [False, True])


def test_web_error_of_a_reload_is_not_repeated_by_the_watcher(with_web: Reloader, web: File) -> None:
    web.path.write_text("bad")
    with capture_logs() as logs:
        with_web.reload("request")
        web.path.write_text("bad")
        web.path.chmod(0o600)
        with_web.check_web_files()
    assert [entry["cause"] for entry in logs] == ["request"]


def test_rejected_reload_is_retried_when_the_web_file_is_fixed(
    with_web: Reloader, file: File, web: File, listener: RecordingListener
) -> None:
    file.path.write_text("second")
    web.path.write_text("bad")
    assert with_web.reload("request") is not None
    web.path.write_text("fixed")
    with_web.check_web_files()
    assert (file.applied, web.applied) == (["second"], ["fixed", "fixed"])
    assert listener.attempts == [False, False, True], "the second is the web configuration alone"


def test_web_file_is_applied_while_the_configuration_is_invalid(
    with_web: Reloader, file: File, web: File, listener: RecordingListener
) -> None:
    file.path.write_text("bad")
    with capture_logs() as logs:
        assert with_web.reload("request") is not None
        web.path.write_text("new")
        with_web.check_web_files()
    assert (file.applied, web.applied) == ([], ["new"])
    assert listener.attempts[-1] is False, "the configuration is still invalid"
    assert [entry["log_level"] for entry in logs] == ["error", "info"], "the error is not repeated"


def test_web_files_are_checked_without_an_interval(file: File, web: File, listener: RecordingListener) -> None:
    reloader = Reloader(file, web, listener, OffsetClock(), interval=0, settle=SETTLE)
    reloader.start()
    file.path.write_text("second")
    web.path.write_text("new")
    assert eventually(lambda: web.applied == ["new"])
    reloader.stop()
    assert file.applied == []


def test_web_changes_do_not_delay_the_check_of_the_configuration(
    file: File, web: File, listener: RecordingListener
) -> None:
    reloader = Reloader(file, web, listener, OffsetClock(), interval=0.01, settle=SETTLE)
    reloader.start()
    file.path.write_text("second")
    assert eventually(lambda: file.applied == ["second"])
    reloader.stop()
