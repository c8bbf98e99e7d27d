"""Reads the configuration again: when a signal or a request asks for it, and when the content of a file changes.

Every source is read and checked whole before the first is put in force. What is refused leaves everything as it was.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

import structlog

from exporter.clock import Clock
from exporter.config.files import read_regular
from exporter.errors import ConfigError

SETTLE_SECONDS = 0.5
"""Content that has changed must stay as it is for so long: a file may be seen while it is being written."""

MAX_BYTES = 1 << 20
"""More of a file is not looked at."""

_Contents = Mapping[Path, bytes | None]
"""A hash of the content of each file; None where it cannot be read."""

log = structlog.get_logger()


class Source(Protocol):
    """Something that can be read again."""

    def files(self) -> Collection[Path]:
        """The files whose content it depends on now."""
        ...

    def read(self) -> Callable[[], None]:
        """Read and check it whole, and give what puts it in force.

        Raises `ConfigError` when it cannot be; of several sources only the first may still refuse when put in
        force, before it has changed anything.
        """
        ...


class Listener(Protocol):
    """Hears how attempts went."""

    def configuration_loaded(self, *, successful: bool, now: float) -> None:
        """An attempt to load the configuration ended at wall time `now`, in seconds."""
        ...

    def failed_unexpectedly(self, component: str) -> None:
        """What nobody foresaw has happened."""
        ...


class Reloader:
    """Reloads one at a time, and watches the files on a thread of its own."""

    def __init__(self, sources: Sequence[Source], listener: Listener, clock: Clock, *, interval: float) -> None:
        """Look at the files every `interval` seconds; 0 looks at none.

        What the files hold now is taken to be in force.
        """
        self._sources = sources
        self._listener = listener
        self._clock = clock
        self._interval = interval
        self._lock = threading.Lock()
        # A queue and no event: a signal handler may interrupt itself, which only a queue's `put` allows.
        self._orders: SimpleQueue[str | None] = SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="reload", daemon=True)
        self._seen = self._contents()

    def start(self) -> None:
        """Begin to watch, and to do what `ask` asks for."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no other reload."""
        self._stopping.set()
        self._orders.put(None)

    def ask(self, cause: str) -> None:
        """Reload soon, on the reloader's own thread; may be called by a signal handler, during a reload too."""
        self._orders.put(cause)

    def reload(self, cause: str) -> str | None:
        """Reload now; None when what was read is in force, else the reason why all stays as it was."""
        with self._lock:
            return self._attempt(cause, self._contents())

    def look(self) -> None:
        """Reload when the content of the files is another than at the last attempt."""
        if self._contents() == self._seen:
            return
        contents = self._settled()
        with self._lock:
            if contents is not None and contents != self._seen:
                self._attempt("changed content", contents)

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                cause = self._orders.get(timeout=self._interval or None)
            except Empty:
                self.look()
            else:
                if cause is not None:
                    self.reload(cause)

    def _attempt(self, cause: str, contents: _Contents) -> str | None:
        reason = self._tried(cause)
        # Of files that are named from now on, the content of now was read; of the others at least that of before.
        self._seen = {file: contents.get(file, content) for file, content in self._contents().items()}
        self._listener.configuration_loaded(successful=reason is None, now=self._clock.wall())
        return reason

    def _tried(self, cause: str) -> str | None:
        reason = None
        try:
            for put_in_force in [source.read() for source in self._sources]:
                put_in_force()
        except ConfigError as error:
            reason = str(error)
            log.error("the configuration stays as it was", cause=cause, error=reason)
        except Exception:
            reason = "an unexpected failure, which the log describes"
            self._listener.failed_unexpectedly("reload")
            log.exception("reloading failed unexpectedly", cause=cause)
        else:
            log.info("configuration reloaded", cause=cause)
        return reason

    def _settled(self) -> _Contents | None:
        """The contents once they stay the same; None when told to stop meanwhile."""
        contents = self._contents()
        while not self._stopping.wait(SETTLE_SECONDS):
            before, contents = contents, self._contents()
            if before == contents:
                return contents
        return None

    def _contents(self) -> _Contents:
        return {file: _digest(file) for source in self._sources for file in source.files()}


def _digest(file: Path) -> bytes | None:
    """A hash of the content, whatever links lead to it; None where it cannot be read."""
    try:
        content, _ = read_regular(file, MAX_BYTES)
    except OSError:
        return None
    return hashlib.sha256(content).digest()
