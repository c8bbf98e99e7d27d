from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from exporter.daemon.reload import MAX_BYTES, FileState, Reloader, _sight
from exporter.errors import ConfigError
from tests.fakes import OffsetClock, eventually

KEEPS = "the configuration stays as it was"


class Heard:
    """Remembers how attempts went."""

    def __init__(self) -> None:
        self.attempts: list[bool] = []
        self.unexpected: list[str] = []

    def configuration_loaded(self, *, successful: bool, now: float) -> None:
        assert now > 0
        self.attempts.append(successful)

    def unexpected_error(self, component: str) -> None:
        self.unexpected.append(component)


class File:
    """A source whose file holds a word; `bad` is refused."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.in_force: list[str] = []
        self.gate: threading.Event | None = None
        self.reading = threading.Event()
        self.reader: threading.Thread | None = None
        self._wanted: tuple[Path, ...] = ()
        self.at_once = 0
        self.most_at_once = 0

    def files(self) -> tuple[Path, ...]:
        return (self.path, *self._named(), *self._wanted)

    def read(self) -> Callable[[], None]:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        self.reader = threading.current_thread()
        self.reading.set()
        try:
            if self.gate is not None:
                assert self.gate.wait(10)
            word = self._word()
        finally:
            self.at_once -= 1
        return lambda: self.in_force.append(word)

    def _word(self) -> str:
        try:
            word = self.path.read_text()
        except OSError:
            raise ConfigError(["cannot be read"]) from None
        if word == "bad":
            raise ConfigError(["a bad word, expected a good one"])
        if word == "worse":
            raise RuntimeError("nobody foresaw this")
        self._check_key(word)
        return word

    def _check_key(self, word: str) -> None:
        """Of words that want a key: what is refused for it, names it."""
        self._wanted = (self.path.with_name("wanted"),) if word == "wants a key" else ()
        for key in self._wanted:
            if not key.exists():
                raise ConfigError(["no key, expected one"])
            if key.read_text() != "the key" or key.stat().st_mode & 0o077:
                raise ConfigError(["a bad key, expected a good one"])

    def _named(self) -> tuple[Path, ...]:
        """A further file, which the content in force names."""
        return (self.path.with_name("key"),) if self.in_force[-1:] == ["with a key"] else ()


@pytest.fixture
def file(tmp_path: Path) -> File:
    path = tmp_path / "config.yaml"
    path.write_text("first")
    return File(path)


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def reloader(file: File, heard: Heard) -> Iterator[Reloader]:
    """Does what it is asked for, and looks at no file by itself."""
    reloader = Reloader([file], heard, OffsetClock(), interval=0)
    reloader.start()
    yield reloader
    reloader.stop()


@pytest.fixture
def watching(file: File, heard: Heard) -> Iterator[Reloader]:
    reloader = Reloader([file], heard, OffsetClock(), interval=0.01, settle=SETTLE)
    reloader.start()
    yield reloader
    reloader.stop()


SETTLE = 0.1
"""Seconds for which a changed file must stay the same."""


def meanwhile(seconds: float) -> None:
    eventually(lambda: False, within=seconds)


def test_what_was_read_is_in_force_and_told(reloader: Reloader, file: File, heard: Heard) -> None:
    file.path.write_text("second")
    with capture_logs() as logs:
        assert reloader.reload("request") is None
    assert (file.in_force, heard.attempts) == (["second"], [True])
    assert logs == [{"event": "configuration reloaded", "log_level": "info", "cause": "request"}]


def test_what_is_refused_is_told_each_time_that_somebody_asks(reloader: Reloader, file: File, heard: Heard) -> None:
    file.path.write_text("bad")
    with capture_logs() as logs:
        assert [reloader.reload("request") for _ in range(2)] == ["a bad word, expected a good one"] * 2
    assert (file.in_force, heard.attempts) == ([], [False, False])
    told = {"event": KEEPS, "log_level": "error", "cause": "request", "error": "a bad word, expected a good one"}
    assert logs == [told, told]


def test_what_nobody_foresaw_is_counted_and_the_next_attempt_may_succeed(
    reloader: Reloader, file: File, heard: Heard
) -> None:
    file.path.write_text("worse")
    with capture_logs() as logs:
        assert reloader.reload("request") == "an unexpected failure, which the log describes"
    assert (heard.attempts, heard.unexpected) == ([False], ["reload"])
    assert logs == [
        {"event": "reloading failed unexpectedly", "log_level": "error", "cause": "request", "exc_info": True}
    ]
    file.path.write_text("second")
    assert reloader.reload("request") is None
    assert file.in_force == ["second"]


def test_every_source_is_checked_before_the_first_is_put_in_force(tmp_path: Path, heard: Heard) -> None:
    good, bad = File(tmp_path / "good"), File(tmp_path / "bad")
    good.path.write_text("good")
    bad.path.write_text("bad")
    reloader = Reloader([good, bad], heard, OffsetClock(), interval=0)
    assert reloader.reload("request") == "a bad word, expected a good one"
    assert good.in_force == []
    bad.path.write_text("good too")
    assert reloader.reload("request") is None
    assert (good.in_force, bad.in_force) == (["good"], ["good too"])


def test_orders_that_come_during_a_reload_are_not_lost_and_wait_for_it(
    reloader: Reloader, file: File, heard: Heard
) -> None:
    file.gate = threading.Event()
    reloader.request_reload("signal")
    assert file.reading.wait(10)
    others = [threading.Thread(target=reloader.reload, args=("request",)) for _ in range(3)]
    for other in others:
        other.start()
    reloader.request_reload("signal")
    file.path.write_text("second")
    file.gate.set()
    assert eventually(lambda: len(heard.attempts) == 5)
    for other in others:
        other.join(10)
    assert file.most_at_once == 1
    assert file.in_force == ["second"] * 5


def test_a_signal_handler_may_ask_however_often_it_interrupts_itself(reloader: Reloader, heard: Heard) -> None:
    before = signal.signal(signal.SIGUSR1, lambda _number, _frame: reloader.request_reload("signal"))
    try:
        for _ in range(200):
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert eventually(lambda: len(heard.attempts) == 200)


def test_the_log_says_that_a_signal_was_the_cause(reloader: Reloader, heard: Heard) -> None:
    with capture_logs() as logs:
        reloader.request_reload("signal")
        assert eventually(lambda: heard.attempts == [True])
    assert [entry["cause"] for entry in logs] == ["signal"]


def test_the_log_says_why_somebody_asked(reloader: Reloader, heard: Heard) -> None:
    with capture_logs() as logs:
        reloader.request_reload("a whim")
        assert eventually(lambda: heard.attempts == [True])
    assert [entry["cause"] for entry in logs] == ["a whim"]


def test_a_file_that_became_a_pipe_keeps_nobody_waiting(reloader: Reloader, file: File, heard: Heard) -> None:
    key = file.path.with_name("key")
    os.mkfifo(key)
    file.path.write_text("with a key")
    assert reloader.reload("request") is None
    assert heard.attempts == [True]


def test_another_content_is_put_in_force_by_itself_and_the_log_says_so(
    watching: Reloader, file: File, heard: Heard
) -> None:
    assert watching is not None
    with capture_logs() as logs:
        file.path.write_text("second")
        assert eventually(lambda: heard.attempts == [True])
    assert file.in_force == ["second"]
    assert [entry["cause"] for entry in logs] == ["changed content"]


def test_the_thread_that_reloads_has_a_name_and_does_not_keep_the_program_from_ending(
    reloader: Reloader, file: File
) -> None:
    reloader.request_reload("signal")
    assert file.reading.wait(10)
    assert file.reader is not None
    assert (file.reader.name, file.reader.daemon) == ("reload", True)


def test_the_same_content_written_anew_is_no_change(watching: Reloader, file: File, heard: Heard) -> None:
    assert watching is not None
    file.path.write_text("first")
    other = file.path.with_name("other")
    other.write_text("first")
    other.replace(file.path)
    meanwhile(4 * SETTLE)
    assert heard.attempts == []


def test_content_of_the_same_length_and_time_is_a_change(watching: Reloader, file: File) -> None:
    assert watching is not None
    stat = file.path.stat()
    with capture_logs():
        file.path.write_text("FIRST")
        os.utime(file.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        assert eventually(lambda: file.in_force == ["FIRST"])


def test_a_fault_that_stays_is_told_once_and_a_new_one_anew(watching: Reloader, file: File, heard: Heard) -> None:
    with capture_logs() as logs:
        file.path.write_text("bad")
        assert eventually(lambda: heard.attempts == [False])
        meanwhile(4 * SETTLE)
        assert heard.attempts == [False]
        file.path.write_text("worse")
        assert eventually(lambda: heard.attempts == [False, False])
        file.path.write_text("bad")
        assert eventually(lambda: heard.attempts == [False] * 3)
    assert [entry["event"] for entry in logs] == [KEEPS, "reloading failed unexpectedly", KEEPS]
    assert watching.reload("request") is not None
    meanwhile(4 * SETTLE)
    assert len(heard.attempts) == 4, "what a request was told, the watch does not tell again"


def test_a_file_that_is_gone_is_told_and_its_return_heals(watching: Reloader, file: File, heard: Heard) -> None:
    assert watching is not None
    with capture_logs() as logs:
        file.path.unlink()
        assert eventually(lambda: heard.attempts == [False])
        file.path.write_text("first")
        assert eventually(lambda: heard.attempts == [False, True])
    assert [entry.get("error") for entry in logs] == ["cannot be read", None]
    assert file.in_force == ["first"]


def test_half_of_a_file_that_is_being_written_is_not_taken_for_it(file: File, heard: Heard) -> None:
    reloader = Reloader([file], heard, OffsetClock(), interval=0.01, settle=0.3)
    reloader.start()
    for length in range(1, 15):
        file.path.write_text("a longer content"[:length])
        meanwhile(0.03)
    file.path.write_text("a longer content")
    assert eventually(lambda: heard.attempts == [True])
    assert file.in_force == ["a longer content"]
    reloader.stop()


def test_the_files_that_a_configuration_names_are_watched_from_then_on(
    watching: Reloader, file: File, heard: Heard
) -> None:
    assert watching is not None
    key = file.path.with_name("key")
    key.write_text("one")
    file.path.write_text("with a key")
    assert eventually(lambda: file.in_force == ["with a key"])
    meanwhile(4 * SETTLE)
    assert len(heard.attempts) == 1, "to be named is no change"
    key.write_text("another")
    assert eventually(lambda: len(heard.attempts) == 2)


def test_content_that_changes_while_the_one_before_is_put_in_force_is_read_too(watching: Reloader, file: File) -> None:
    file.gate = threading.Event()
    file.path.write_text("second")
    asking = threading.Thread(target=watching.reload, args=("request",))
    asking.start()
    assert file.reading.wait(10)
    file.path.write_text("third")
    file.gate.set()
    asking.join(10)
    assert eventually(lambda: len(file.in_force) >= 2)
    assert file.in_force[-1] == "third"


def test_a_file_that_is_wanted_and_comes_later_heals_and_the_fault_is_told_once(
    watching: Reloader, file: File, heard: Heard
) -> None:
    """In Kubernetes the ConfigMap may come first, and the Secret a minute later."""
    assert watching is not None
    key = file.path.with_name("wanted")
    with capture_logs() as logs:
        file.path.write_text("wants a key")
        # What was refused named a file that was not looked at before: it may have come in that very moment.
        assert eventually(lambda: heard.attempts == [False, False])
        meanwhile(4 * SETTLE)
        assert heard.attempts == [False, False]
        key.touch(0o600)
        key.write_text("too short")
        assert eventually(lambda: heard.attempts == [False] * 3)
        key.write_text("the key")
        assert eventually(lambda: heard.attempts[3:] == [True])
    assert [entry.get("error") for entry in logs] == ["no key, expected one", "a bad key, expected a good one", None]
    assert file.in_force == ["wants a key"]


def test_a_mode_that_is_mended_heals(watching: Reloader, file: File, heard: Heard) -> None:
    assert watching is not None
    key = file.path.with_name("wanted")
    key.write_text("the key")
    key.chmod(0o644)
    file.path.write_text("wants a key")
    assert eventually(lambda: heard.attempts == [False, False])
    key.chmod(0o600)
    assert eventually(lambda: heard.attempts[2:] == [True])
    key.chmod(0o640)
    assert eventually(lambda: heard.attempts[3:] == [False]), "a restart would fail, too"


def test_a_sight_of_a_file_has_its_content_its_mode_and_its_owner(tmp_path: Path) -> None:
    status = tmp_path.stat()
    assert _sight(tmp_path) == FileState(None, status.st_mode, status.st_uid)
    file = tmp_path / "file"
    assert _sight(file) == FileState(None, None, None)
    file.write_text("word")
    status = file.stat()
    assert _sight(file) == FileState(hashlib.sha256(b"word").digest(), status.st_mode, status.st_uid)


def test_a_file_that_cannot_be_read_is_seen_by_its_mode(tmp_path: Path, heard: Heard) -> None:
    directory = tmp_path / "state"
    source = File(directory)
    reloader = Reloader([source], heard, OffsetClock(), interval=0, settle=SETTLE)
    reloader.check_files()
    assert heard.attempts == []
    changes: list[Callable[[], None]] = [directory.mkdir, lambda: directory.chmod(0o700), directory.rmdir]
    for change in changes:
        change()
        reloader.check_files()
        assert len(heard.attempts) == 1
        heard.attempts.clear()


def test_the_faults_of_every_source_are_told_together(tmp_path: Path, heard: Heard) -> None:
    files = [File(tmp_path / name) for name in ("bad", "gone", "good")]
    files[0].path.write_text("bad")
    files[2].path.write_text("good")
    reloader = Reloader(files, heard, OffsetClock(), interval=0)
    assert reloader.reload("request") == "a bad word, expected a good one\ncannot be read"
    assert [file.in_force for file in files] == [[], [], []]


def test_what_was_refused_is_tried_again_when_told_and_what_is_in_force_is_not(
    reloader: Reloader, file: File, heard: Heard
) -> None:
    reloader.request_retry("mended")
    file.path.write_text("bad")
    reloader.request_reload("signal")
    assert eventually(lambda: heard.attempts == [False])
    with capture_logs() as logs:
        reloader.request_retry("mended")
        assert eventually(lambda: heard.attempts == [False, False])
        file.path.write_text("second")
        reloader.request_retry("mended")
        reloader.request_retry("mended")
        reloader.request_reload("signal")
        assert eventually(lambda: len(heard.attempts) == 4)
    assert heard.attempts == [False, False, True, True]
    assert [entry["cause"] for entry in logs] == ["mended", "mended", "signal"]


def test_the_watch_tells_a_fault_again_that_was_gone_in_between(watching: Reloader, file: File, heard: Heard) -> None:
    assert watching is not None
    with capture_logs() as logs:
        for word, outcomes in (("bad", 1), ("good", 2), ("bad", 3)):
            file.path.write_text(word)
            assert eventually(lambda expected=outcomes: len(heard.attempts) == expected)  # type: ignore[misc] # mypy cannot infer a default of a lambda
    assert [entry["log_level"] for entry in logs] == ["error", "info", "error"]


def test_a_swap_of_links_as_kubernetes_makes_it_is_a_change(tmp_path: Path, heard: Heard) -> None:
    """A ConfigMap is a link to a file below `..data`, which is a link to a directory that is replaced."""
    for name, word in (("..first", "first"), ("..second", "second")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(word)
    (tmp_path / "..data").symlink_to("..first")
    (tmp_path / "config.yaml").symlink_to("..data/config.yaml")
    file = File(tmp_path / "config.yaml")
    reloader = Reloader([file], heard, OffsetClock(), interval=0.01, settle=SETTLE)
    reloader.start()
    (tmp_path / "..data_tmp").symlink_to("..second")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    assert eventually(lambda: heard.attempts == [True])
    assert file.in_force == ["second"]
    reloader.stop()


def test_a_huge_file_is_not_read_whole(file: File, heard: Heard) -> None:
    file.path.write_bytes(b"x" * (MAX_BYTES + 10))
    reloader = Reloader([file], heard, OffsetClock(), interval=0)
    with file.path.open("ab") as opened:
        opened.write(b"more")
    reloader.check_files()
    assert heard.attempts == []


def test_without_an_interval_no_file_is_looked_at(reloader: Reloader, file: File, heard: Heard) -> None:
    assert reloader is not None
    file.path.write_text("second")
    meanwhile(4 * SETTLE)
    assert heard.attempts == []


def test_after_the_stop_nothing_is_read(file: File, heard: Heard) -> None:
    reloader = Reloader([file], heard, OffsetClock(), interval=0.01, settle=SETTLE)
    reloader.start()
    reloader.stop()
    assert eventually(lambda: not reloader._thread.is_alive())
    reloader.request_reload("signal")
    meanwhile(0.05)
    assert heard.attempts == []


def test_a_stop_ends_the_wait_for_a_file_that_never_settles(file: File, heard: Heard) -> None:
    reloader = Reloader([file], heard, OffsetClock(), interval=0.01)
    reloader.start()
    for count in range(20):
        file.path.write_text(f"word {count}")
        meanwhile(0.02)
    reloader.stop()
    assert eventually(lambda: not reloader._thread.is_alive(), within=2)
    assert heard.attempts == []
