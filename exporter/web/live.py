"""The web configuration in force: read again when its files change, and kept when they are wrong."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Lock

import structlog

from exporter.clock import Clock
from exporter.config.web_file import load_web_settings, stamp_of
from exporter.config.web_settings import Stamp, WebSettings
from exporter.errors import ConfigError

LOOK_SECONDS = 1.0
"""The files are looked at no more often, and only when somebody asks for something."""

SETTLE_SECONDS = 1.0
"""A file that was written to a shorter time ago may not be complete."""

log = structlog.stdlib.get_logger(__name__)


class WebConfig:
    """What one web configuration file asks for, now; an `exporter.reload.Source`.

    `on_change` hears when the files were read again and are in force.
    """

    def __init__(self, path: Path, clock: Clock, *, on_change: Callable[[], None] = lambda: None) -> None:
        """Read the file; raises `ConfigError` when it, or one that it names, is wrong."""
        self._path = path
        self._clock = clock
        self._on_change = on_change
        self._lock = Lock()
        self._looked = clock.monotonic()
        self._trouble: str | None = None
        self._settings = load_web_settings(path)
        _tell(self._settings, "web configuration read", path)

    @property
    def in_force(self) -> WebSettings:
        """The settings, without a look at the files."""
        return self._settings

    def current(self) -> WebSettings:
        """The settings, after a look at the files unless there was one just now. Raises nothing."""
        if self._clock.monotonic() - self._looked >= LOOK_SECONDS and self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._looked = self._clock.monotonic()
                self._lock.release()
        return self._settings

    def files(self) -> tuple[Path, ...]:
        """The file, and those that it names."""
        return tuple(self._settings.stamps)

    def read(self) -> Callable[[], None]:
        """Read and check all files, changed or not, and give what puts them in force.

        Raises `ConfigError` with every fault, for the caller to tell; then what is in force stays.
        """
        try:
            settings = load_web_settings(self._path)
        except ConfigError as error:
            with self._lock:
                self._trouble = str(error)
            raise
        return partial(self._put_in_force, settings)

    def _put_in_force(self, settings: WebSettings) -> None:
        with self._lock:
            self._adopt(settings)

    def _look(self) -> None:
        stamps = [_stamp(path) for path in self._settings.stamps]
        unchanged = stamps == list(self._settings.stamps.values())
        # What is wrong may become right by a file that is not known yet.
        if (unchanged and self._trouble is None) or self._is_unsettled(stamps):
            return
        try:
            settings = load_web_settings(self._path)
        except ConfigError as error:
            self._keep(str(error))
            return
        self._adopt(settings)

    def _is_unsettled(self, stamps: list[Stamp | None]) -> bool:
        now = self._clock.wall()
        ages = (now - stamp.modified_ns / 1e9 for stamp in stamps if stamp is not None)
        return any(0 <= age < SETTLE_SECONDS for age in ages)

    def _keep(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            log.error("web configuration is wrong, what was in force stays", path=str(self._path), error=trouble)

    def _adopt(self, settings: WebSettings) -> None:
        self._settings = settings
        _tell(settings, "web configuration read again", self._path)
        self._trouble = None
        self._on_change()


def _tell(settings: WebSettings, event: str, path: Path) -> None:
    tls = settings.tls
    log.info(
        event,
        path=str(path),
        tls=tls is not None,
        client_certificates=tls is not None and tls.requires_certificate,
        users=len(settings.users),
    )
    for doubt in settings.doubts:
        log.warning("web configuration is doubtful", path=str(path), reason=doubt)


def _stamp(path: Path) -> Stamp | None:
    try:
        return stamp_of(path.stat())
    except OSError:
        return None
