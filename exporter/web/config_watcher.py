"""The web configuration in force: read again when its files change, and kept when they are wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from threading import Lock

import structlog

from exporter.clock import Clock
from exporter.config.web.load import WebConfigError, load_web_settings, stamp_at
from exporter.config.web.settings import Stamp, WebSettings

LOOK_SECONDS = 1.0
"""The files are looked at no more often, and only when somebody asks for something."""

SETTLE_SECONDS = 1.0
"""A file that was written to a shorter time ago may not be complete."""

log = structlog.stdlib.get_logger(__name__)


class WebConfig:
    """What one web configuration file asks for, now; an `exporter.daemon.reload.Source`.

    `on_change` hears when the files were read again and are in force.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        on_change: Callable[[], None] = lambda: None,
        load: Callable[[Path], WebSettings] = load_web_settings,
    ) -> None:
        """Read the file; raises `ConfigError` when it, or one that it names, is wrong."""
        self._path = path
        self._clock = clock
        self._on_change = on_change
        self._lock = Lock()
        self._looked = clock.monotonic()
        self._trouble: str | None = None
        self._load = load
        self._settings = load(path)
        self._stamps = self._settings.stamps
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
        """The file, and those that it named when it was last read."""
        return tuple(self._stamps)

    def read(self) -> Callable[[], None]:
        """Read and check all files, changed or not, and give what puts them in force.

        Raises `ConfigError` with every fault, for the caller to tell; then what is in force stays.
        """
        try:
            settings = self._load(self._path)
        except WebConfigError as error:
            with self._lock:
                self._trouble, self._stamps = str(error), error.stamps
            raise
        return partial(self._activate, settings)

    def _activate(self, settings: WebSettings) -> None:
        with self._lock:
            self._adopt(settings)

    def _look(self) -> None:
        # A wrong file, too, is read once: whatever could mend it is among the stamps, be it there or not.
        stamps = {path: stamp_at(path) for path in self._stamps}
        if stamps == self._stamps or self._is_unsettled(stamps.values()):
            return
        try:
            settings = self._load(self._path)
        except WebConfigError as error:
            self._stamps = error.stamps
            self._keep(str(error))
            return
        self._adopt(settings)

    def _is_unsettled(self, stamps: Iterable[Stamp | None]) -> bool:
        now = self._clock.wall()
        ages = (now - stamp.modified_ns / 1e9 for stamp in stamps if stamp is not None)
        return any(0 <= age < SETTLE_SECONDS for age in ages)

    def _keep(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            log.error("web configuration is wrong, what was in force stays", path=str(self._path), error=trouble)

    def _adopt(self, settings: WebSettings) -> None:
        self._settings, self._stamps = settings, settings.stamps
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
