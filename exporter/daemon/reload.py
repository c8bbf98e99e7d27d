"""Reads the configuration again: when a signal or a request asks for it, and when a file changes.

A file changes with its content, and with who may read it, as others must not read a key.

Every source is read and checked whole before the first is put in force. What is refused leaves everything as it was.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple, Protocol

import structlog

from exporter.clock import Clock
from exporter.errors import ConfigError
from exporter.files import read_regular

SETTLE_SECONDS = 0.5
"""Content that has changed must stay as it is for so long: a file may be seen while it is being written."""

MAX_BYTES = 1 << 20
"""More of a file is not looked at."""

_WATCHED = "changed content"
"""The cause that nobody gives: nobody waits for an answer, so the same one is not logged again."""


@dataclass(frozen=True, slots=True)
class FileState:
    """What is seen of a file: a hash of its content, None where it cannot be read, and who may read it."""

    content: bytes | None = None
    mode: int | None = None
    owner: int | None = None


FileStates = Mapping[Path, FileState]


class ReloadRequest(NamedTuple):
    """Reload requested by a signal, a request or a changed file."""

    cause: str
    only_if_refused: bool


log = structlog.get_logger()


class Source(Protocol):
    """Something that can be read again."""

    def files(self) -> Collection[Path]:
        """The files that what is in force depends on, and those with which what was refused may become right."""
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

    def unexpected_error(self, component: str) -> None:
        """What nobody foresaw has happened."""
        ...


class Reloader:
    """Reloads one at a time, and watches the files on a thread of its own."""

    def __init__(
        self,
        sources: Sequence[Source],
        listener: Listener,
        clock: Clock,
        *,
        interval: float,
        settle: float = SETTLE_SECONDS,
    ) -> None:
        """Look at the files every `interval` seconds; 0 looks at none.

        Changed files are read once they stay the same for `settle` seconds. What the files hold now is taken to be
        in force.
        """
        self._sources = sources
        self._listener = listener
        self._clock = clock
        self._interval = interval
        self._settle = settle
        self._lock = threading.Lock()
        # A queue and no event: a signal handler may interrupt itself, which only a queue's `put` allows.
        self._orders: SimpleQueue[ReloadRequest | None] = SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="reload", daemon=True)
        self._seen = self._file_states()
        self._refused: str | None = None

    def start(self) -> None:
        """Begin to watch, and to do what `request_reload` asks for."""
        self._thread.start()

    def stop(self) -> None:
        """Begin no other reload."""
        self._stopping.set()
        self._orders.put(None)

    def request_reload(self, cause: str) -> None:
        """Reload soon, on the reloader's own thread; may be called by a signal handler, during a reload too."""
        self._orders.put(ReloadRequest(cause, only_if_refused=False))

    def request_retry(self, cause: str) -> None:
        """As `request_reload`, unless all that was asked for is in force by then."""
        self._orders.put(ReloadRequest(cause, only_if_refused=True))

    def reload(self, cause: str) -> str | None:
        """Reload now; None when what was read is in force, else the reason why all stays as it was."""
        with self._lock:
            return self._attempt(cause, self._file_states())

    def check_files(self) -> None:
        """Reload when the files are others than at the last attempt."""
        if self._file_states() == self._seen:
            return
        sights = self._settled()
        with self._lock:
            if sights is not None and sights != self._seen:
                self._attempt(_WATCHED, sights)

    def _work(self) -> None:
        while not self._stopping.is_set():
            try:
                order = self._orders.get(timeout=self._interval or None)
            except Empty:
                self.check_files()
            else:
                if order is not None:
                    self._handle(order)

    def _handle(self, order: ReloadRequest) -> None:
        with self._lock:
            if self._refused is not None or not order.only_if_refused:
                self._attempt(order.cause, self._file_states())

    def _attempt(self, cause: str, sights: FileStates) -> str | None:
        reason = self._try_reload(cause)
        if reason is None:
            # Files that are named from now on were read as they are now, the others at least as they were before.
            sights = {file: sights.get(file, sight) for file, sight in self._file_states().items()}
        # What was refused may need files that nobody looked at before it was read: to the watch they are a change.
        self._seen, self._refused = sights, reason
        self._listener.configuration_loaded(successful=reason is None, now=self._clock.wall())
        return reason

    def _try_reload(self, cause: str) -> str | None:
        reason = None
        try:
            for put_in_force in self._all_read():
                put_in_force()
        except ConfigError as error:
            reason = str(error)
            if cause != _WATCHED or reason != self._refused:
                log.error("the configuration stays as it was", cause=cause, error=reason)
        except Exception:
            reason = "an unexpected failure, which the log describes"
            self._listener.unexpected_error("reload")
            log.exception("reloading failed unexpectedly", cause=cause)
        else:
            log.info("configuration reloaded", cause=cause)
        return reason

    def _all_read(self) -> list[Callable[[], None]]:
        """What puts each source in force; raises `ConfigError` with the faults of all."""
        read: list[Callable[[], None]] = []
        faults: list[str] = []
        for source in self._sources:
            try:
                read.append(source.read())
            except ConfigError as error:
                faults += error.problems
        if faults:
            raise ConfigError(faults)
        return read

    def _settled(self) -> FileStates | None:
        """The files once they stay the same; None when told to stop meanwhile."""
        sights = self._file_states()
        while not self._stopping.wait(self._settle):
            before, sights = sights, self._file_states()
            if before == sights:
                return sights
        return None

    def _file_states(self) -> FileStates:
        return {file: _sight(file) for source in self._sources for file in source.files()}


def _sight(file: Path) -> FileState:
    """How a file is now, whatever links lead to it."""
    try:
        content, status = read_regular(file, MAX_BYTES)
    except OSError:
        return _unread(file)
    return FileState(hashlib.sha256(content).digest(), status.st_mode, status.st_uid)


def _unread(file: Path) -> FileState:
    try:
        status = file.stat()
    except OSError:
        return FileState()
    return FileState(None, status.st_mode, status.st_uid)
