"""Active configuration: the pools that are swept, the clients and limits that are used, the web configuration."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog

from exporter.aws.targets import TargetClients
from exporter.collect.discovery import Discovery, DiscoveryPlan
from exporter.collect.pool_search import DiscoveryCompleteness
from exporter.collect.pools import PoolManager
from exporter.config.crosscheck import require_shared_keys
from exporter.config.load import load_settings
from exporter.config.problems import shown_path
from exporter.config.settings import PoolSettings, Settings
from exporter.config.web.load import load_web_settings
from exporter.config.web.settings import WebSettings
from exporter.errors import ConfigError
from exporter.options import ServeOptions

STOP_TIMEOUT_SECONDS = 2.0
"""Time that `ActiveConfig.stop` waits for a configuration that is being applied."""

log = structlog.get_logger()


class ExposureMetric(Protocol):
    """Metric that reports whether raw user names are exposed."""

    def identity_exposed(self, *, exposed: bool) -> None:
        """Set the metric."""
        ...


class ActiveConfig:
    """Applies a configuration atomically. All changes to the pool set go through here."""

    def __init__(
        self,
        settings: Settings,
        web: WebSettings,
        options: ServeOptions,
        pool_manager: PoolManager,
        discovery: Discovery,
        clients: TargetClients,
        metrics: ExposureMetric,
    ) -> None:
        """Apply the first configuration.

        Raises `ConfigError` as `apply` does.
        """
        self._options = options
        self._pool_manager = pool_manager
        self._discovery = discovery
        self._clients = clients
        self._metrics = metrics
        self._lock = threading.Lock()
        self._stopped = False
        self._settings = settings
        self._web = web
        self._applied: tuple[tuple[PoolSettings, ...], DiscoveryCompleteness] | None = None
        self._generation = 0
        self._exposed = False
        with self._lock:
            self._activate(settings)

    @property
    def settings(self) -> Settings:
        """Active settings."""
        return self._settings

    @property
    def web(self) -> WebSettings:
        """Active web configuration."""
        return self._web

    @property
    def generation(self) -> int:
        """Counter that is incremented by each change of pools or settings before the change returns."""
        return self._generation

    def check(self, settings: Settings) -> None:
        """Check that the running process can apply these settings.

        Raises `ConfigError` if it cannot.
        """
        require_shared_keys(settings, self._options.shard)
        ours, other = self._settings.state_path, settings.state_path
        if other != ours:
            expected, found = ("null" if path is None else shown_path(path) for path in (ours, other))
            raise ConfigError([f"state.path: cannot change without a restart, expected {expected} (found {found})"])

    def apply(self, settings: Settings) -> None:
        """Replace the active settings.

        Raises `ConfigError`, before anything has changed, if an identity key is no longer usable or the process is
        stopping.
        """
        with self._lock:
            if self._stopped:
                raise ConfigError(["the exporter is stopping"])
            self.check(settings)
            self._activate(settings)
            self._pool_manager.reopen_state()

    def apply_web(self, web: WebSettings) -> None:
        """Replace the active web configuration."""
        with self._lock:
            self._web = web
            self._report_exposure()

    def apply_discovery(self) -> None:
        """Apply the pools that discovery currently selects.

        Raises `ConfigError`, before anything has changed, if an identity key is no longer usable.
        """
        with self._lock:
            current = self._discovery.current
            if not self._stopped and self._applied != (current.pools, current.completeness):
                self._apply_pools(current, self._settings)
                self._generation += 1

    def stop(self) -> None:
        """Stop sweeps and discovery, and apply no further configuration."""
        if not self._lock.acquire(timeout=STOP_TIMEOUT_SECONDS):
            log.warning("stopping without waiting for a reload in progress")
            return
        try:
            self._stopped = True
            self._discovery.stop()
            self._pool_manager.stop()
        finally:
            self._lock.release()

    def _activate(self, settings: Settings) -> None:
        before, wanted = self._settings.targets, settings.targets
        # A sweep looks up its client when it starts, so the old clients are removed last.
        self._clients.retain(before | wanted)
        plan = self._discovery.plan(settings)
        try:
            self._apply_pools(plan, settings)
        except ConfigError:
            self._clients.retain(before)
            raise
        self._discovery.apply(plan)
        self._clients.configure(settings.limits.rate)
        self._clients.retain(wanted)
        self._settings = settings
        self._generation += 1
        self._report_exposure()

    def _apply_pools(self, plan: DiscoveryPlan, settings: Settings) -> None:
        # Discovery may change both concurrently. Read completeness first: state must not be deleted based on a listing
        # that became complete after the pools were read.
        completeness = plan.completeness
        pools = plan.pools
        try:
            self._pool_manager.apply(pools, settings.limits.series, completeness)
        except (OSError, ValueError) as error:
            raise ConfigError([f"cannot use identity key: {error}"]) from error
        self._applied = pools, completeness

    def _report_exposure(self) -> None:
        exposed = (
            self._settings.exposes_raw_names
            and not all(address.is_loopback for address in self._options.listen_addresses)
            and not self._web.authenticates
        )
        self._metrics.identity_exposed(exposed=exposed)
        if exposed and not self._exposed:
            log.warning("raw user names are exposed without authentication on a non-loopback address")
        self._exposed = exposed


class ConfigFile:
    """The configuration file, as an `exporter.daemon.reload.Source`."""

    def __init__(self, file: Path, active: ActiveConfig) -> None:
        self._file = file
        self._active = active
        self._needed: Collection[Path] = ()

    def is_active(self) -> bool:
        """Return True if the file has the active settings."""
        try:
            return load_settings(self._file) == self._active.settings
        except ConfigError:
            return False

    def files(self) -> tuple[Path, ...]:
        """Return the file, the active key files, and the files that the last rejected configuration needs."""
        return (self._file, *sorted(_key_files(self._active.settings).union(self._needed)))

    def read(self) -> Callable[[], None]:
        """Read and check the file, and return the function that applies it.

        Raises `ConfigError` with every error.
        """
        try:
            settings = load_settings(self._file)
        except ConfigError as error:
            self._needed = error.files
            raise
        # The settings may be rejected later: by a check, when they are applied, or because of another source.
        self._needed = _key_files(settings)
        try:
            self._active.check(settings)
        except ConfigError as error:
            raise ConfigError([f"{self._file}: {problem}" for problem in error.problems]) from None
        return partial(self._active.apply, settings)


class WebConfigFile:
    """The web configuration file, as an `exporter.daemon.reload.Source`."""

    def __init__(self, file: Path, active: WebSettings, apply: Callable[[WebSettings], None]) -> None:
        """Create the source of the web configuration `active`; `apply` replaces it."""
        self._file = file
        self._active = active
        self._apply = apply
        self._files = active.files
        self._log("web configuration loaded")

    def is_active(self) -> bool:
        """Return True if the file, with the files that it names, is the active web configuration."""
        try:
            return load_web_settings(self._file) == self._active
        except ConfigError:
            return False

    def files(self) -> tuple[Path, ...]:
        """Return the file, and the files that it named when it was last read."""
        return self._files

    def read(self) -> Callable[[], None]:
        """Read and check the files, and return the function that applies them.

        Raises `ConfigError` with every error.
        """
        try:
            settings = load_web_settings(self._file)
        except ConfigError as error:
            self._files = error.files
            raise
        self._files = settings.files
        return partial(self._activate, settings)

    def _activate(self, settings: WebSettings) -> None:
        self._active = settings
        self._apply(settings)
        self._log("web configuration reloaded")

    def _log(self, event: str) -> None:
        tls = self._active.tls
        log.info(
            event,
            path=str(self._file),
            tls=tls is not None,
            client_certificates=tls is not None and tls.requires_certificate,
            users=len(self._active.users),
        )
        for warning in self._active.warnings:
            log.warning("web configuration may not work for all clients", path=str(self._file), reason=warning)


def _key_files(settings: Settings) -> set[Path]:
    return {pool.identity_key_file for pool in settings.all_pool_settings if pool.identity_key_file is not None}
