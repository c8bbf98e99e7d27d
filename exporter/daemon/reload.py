"""Configuration reload: on a signal, on request, and when a watched file changes.

A file has changed if its content, mode or owner differs. Mode and owner matter because they determine whether a key
file is accepted.

A reload reads and checks every source before it applies the first. If one is invalid, none is applied. A changed web
configuration is also applied alone, so that a certificate is rotated while the configuration is invalid.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

import structlog

from exporter.clock import Clock
from exporter.errors import ConfigError
from exporter.files import read_regular

WEB_CHECK_SECONDS = 0.5
"""Interval at which the web configuration, certificates and keys are checked.

Must not exceed the shortest `--config.auto-reload-interval`, which the same loop checks.
"""

SETTLE_SECONDS = 0.5
"""Time for which changed files must stay the same before they are read: a write may still be in progress."""

MAX_BYTES = 1 << 20
"""Number of bytes of a file that are compared."""

WATCHED = "file change"
"""Cause of a reload by the file watcher. The same error is not logged again for this cause."""


@dataclass(frozen=True, slots=True)
class FileState:
    """State of a file by which a change is detected; all fields are None if the file does not exist."""

    content: bytes | None = None
    """SHA-256 of the content; None if it cannot be read."""
    mode: int | None = None
    owner: int | None = None


FileStates = Mapping[Path, FileState]

log = structlog.get_logger()


class Source(Protocol):
    """Configuration that can be read again."""

    def files(self) -> Collection[Path]:
        """Return the files of the active configuration, and those that could fix a rejected one."""
        ...

    def read(self) -> Callable[[], None]:
        """Read and check the configuration, and return the function that applies it.

        Raises `ConfigError` if it is invalid. Of several sources, only the function of the first may raise
        `ConfigError`, before it changes anything.
        """
        ...


class Listener(Protocol):
    """Observer of reloads."""

    def configuration_loaded(self, *, successful: bool, now: float) -> None:
        """Record an attempt to load the configuration that ended at wall time `now`, in seconds."""
        ...

    def unexpected_error(self, component: str) -> None:
        """Record an unexpected error."""
        ...


class Reloader:
    """Runs one reload at a time, and watches the files in a thread."""

    def __init__(
        self,
        config: Source,
        web: Source | None,
        listener: Listener,
        clock: Clock,
        *,
        interval: float,
        settle: float = SETTLE_SECONDS,
    ) -> None:
        """Create a reloader; the current content of the files is taken to be active.

        The files of `config` are checked every `interval` seconds, or never if 0; those of `web` every
        `WEB_CHECK_SECONDS`.
        """
        self._sources = [config] if web is None else [config, web]
        self._web = web
        self._listener = listener
        self._clock = clock
        self._interval = interval
        self._settle = settle
        self._lock = threading.Lock()
        # A queue, not an event: a signal handler may interrupt itself, and only a queue's `put` is reentrant.
        self._requests: SimpleQueue[str | None] = SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reload", daemon=True)
        self._seen = _file_states(self._sources)
        self._is_rejected = False  # True if the last reload of all sources was rejected
        self._error: str | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Start no further reload."""
        self._stopping.set()
        self._requests.put(None)

    def request_reload(self, cause: str) -> None:
        """Reload soon, in the reloader's thread; safe in a signal handler, and during a reload."""
        self._requests.put(cause)

    def reload(self, cause: str) -> str | None:
        """Reload now; return None, or the error for which the active configuration is kept."""
        with self._lock:
            return self._reload(self._sources, cause, _file_states(self._sources))

    def check_files(self) -> None:
        """Reload if a file has changed since the last attempt."""
        self._check(self._sources)

    def check_web_files(self) -> None:
        """Reload the web configuration if one of its files has changed since the last attempt."""
        if self._web is not None:
            self._check([self._web])

    def _run(self) -> None:
        tick = self._interval if self._web is None else WEB_CHECK_SECONDS
        checked = self._clock.monotonic()
        while not self._stopping.is_set():
            try:
                cause = self._requests.get(timeout=tick or None)
            except Empty:
                self.check_web_files()
                if self._interval and self._clock.monotonic() - checked >= self._interval:
                    self.check_files()
                    checked = self._clock.monotonic()
            else:
                if cause is not None:
                    self.reload(cause)

    def _check(self, sources: Sequence[Source]) -> None:
        if not self._has_changed(_file_states(sources)):
            return
        states = self._settled_states(sources)
        with self._lock:
            if states is None or not self._has_changed(states):
                return
            error = self._reload(sources, WATCHED, states)
            if error is None and self._is_rejected:
                # The web configuration that is now fixed may have been the only reason.
                self._reload(self._sources, WATCHED, _file_states(self._sources))

    def _has_changed(self, states: FileStates) -> bool:
        return any(self._seen.get(file) != state for file, state in states.items())

    def _settled_states(self, sources: Sequence[Source]) -> FileStates | None:
        """Wait until the files stay the same; return None if the reloader stops meanwhile."""
        states = _file_states(sources)
        while not self._stopping.wait(self._settle):
            before, states = states, _file_states(sources)
            if before == states:
                return states
        return None

    def _reload(self, sources: Sequence[Source], cause: str, states: FileStates) -> str | None:
        """Reload `sources`, whose files had these states just before; return the error, if any."""
        error = self._try_reload(sources, cause)
        if error is None:
            # Files referenced for the first time have just been read. After an error they count as changed, because a
            # missing file may have appeared since.
            states = {**_file_states(sources), **states}
        self._seen = {**self._seen, **states}
        if sources is self._sources:
            self._is_rejected = error is not None
        if error is not None or not self._is_rejected:
            self._error = error
        self._listener.configuration_loaded(successful=error is None and not self._is_rejected, now=self._clock.wall())
        return error

    def _try_reload(self, sources: Sequence[Source], cause: str) -> str | None:
        try:
            for apply in _read_all(sources):
                apply()
        except ConfigError as error:
            reason = str(error)
            if cause != WATCHED or reason != self._error:
                log.error("configuration reload failed; keeping current configuration", cause=cause, error=reason)
            return reason
        except Exception:
            self._listener.unexpected_error("reload")
            log.exception("unexpected error in configuration reload", cause=cause)
            return "unexpected error, see the log"
        log.info("configuration reloaded", cause=cause)
        return None


def _read_all(sources: Sequence[Source]) -> list[Callable[[], None]]:
    """Return the functions that apply the sources; raise `ConfigError` with the errors of all of them."""
    read: list[Callable[[], None]] = []
    problems: list[str] = []
    for source in sources:
        try:
            read.append(source.read())
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return read


def _file_states(sources: Sequence[Source]) -> FileStates:
    return {file: file_state(file) for source in sources for file in source.files()}


def file_state(file: Path) -> FileState:
    """Return the current state of a file, following links."""
    try:
        content, status = read_regular(file, MAX_BYTES)
        return FileState(hashlib.sha256(content).digest(), status.st_mode, status.st_uid)
    except OSError:
        pass
    try:
        status = file.stat()
    except OSError:
        return FileState()
    return FileState(None, status.st_mode, status.st_uid)
