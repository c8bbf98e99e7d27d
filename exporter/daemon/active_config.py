"""The configuration in force: which pools are swept, how they are reached, within which limits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

import structlog

from exporter.aws.targets import TargetClients
from exporter.collect.discovery import Discovery, DiscoveryPlan
from exporter.collect.pool_search import DiscoveryCompleteness
from exporter.collect.pools import PoolManager
from exporter.config.load import load_settings
from exporter.config.problems import shown_path
from exporter.config.settings import PoolSettings, Settings
from exporter.config.sharding import require_shared_keys
from exporter.errors import ConfigError
from exporter.shard import Shard

STOP_PATIENCE = 2.0
"""Seconds that a stop waits for a configuration that is just being put in force."""

log = structlog.get_logger()

Applied = Callable[[Settings], None]


class ActiveConfig:
    """Puts one configuration in the place of another, whole or not at all; whoever changes the pools does it here."""

    def __init__(
        self,
        settings: Settings,
        fleet: PoolManager,
        discovery: Discovery,
        connections: TargetClients,
        *,
        shard: Shard,
        applied: Applied,
    ) -> None:
        """Put the first one in force; `applied` hears of this and every later one.

        Raises `ConfigError` as `apply` does.
        """
        self._pool_manager = fleet
        self._discovery = discovery
        self._connections = connections
        self._shard = shard
        self._applied = applied
        self._lock = threading.Lock()
        self._stopped = False
        self._settings = settings
        self._swept: tuple[tuple[PoolSettings, ...], DiscoveryCompleteness] | None = None
        self._edition = 0
        with self._lock:
            self._activate(settings)

    @property
    def settings(self) -> Settings:
        """The configuration in force."""
        return self._settings

    @property
    def generation(self) -> int:
        """Rises when other pools or settings have come into force, before whoever asked for them hears of it."""
        return self._edition

    def check(self, settings: Settings) -> None:
        """Make sure that a running process can take these settings.

        Raises `ConfigError` when it cannot.
        """
        require_shared_keys(settings, self._shard)
        ours, other = self._settings.state_path, settings.state_path
        if other != ours:
            expected, found = ("null" if path is None else shown_path(path) for path in (ours, other))
            raise ConfigError([f"state.path: cannot change without a restart, expected {expected} (found {found})"])

    def apply(self, settings: Settings) -> None:
        """Put other settings in the place of those in force.

        Raises `ConfigError` before anything has changed when an identity key cannot be used any more, or the
        process is about to end.
        """
        with self._lock:
            if self._stopped:
                raise ConfigError(["the exporter is stopping"])
            self.check(settings)
            self._activate(settings)

    def rediscovered(self) -> None:
        """A rule has looked for pools: sweep those that it stands for now.

        Raises `ConfigError` before anything has changed when an identity key cannot be used any more.
        """
        with self._lock:
            current = self._discovery.current
            if not self._stopped and self._swept != (current.pools, current.completeness):
                self._sweep(current, self._settings)
                self._edition += 1

    def stop(self) -> None:
        """Take no more work, and no other configuration."""
        if not self._lock.acquire(timeout=STOP_PATIENCE):
            log.warning("stopping in the middle of a reload")
            return
        try:
            self._stopped = True
            self._discovery.stop()
            self._pool_manager.stop()
        finally:
            self._lock.release()

    def _activate(self, settings: Settings) -> None:
        before, wanted = self._settings.targets, settings.targets
        # A sweep finds its connection whenever it begins: the old ones go last.
        self._connections.retain(before | wanted)
        arrangement = self._discovery.plan(settings)
        try:
            self._sweep(arrangement, settings)
        except ConfigError:
            self._connections.retain(before)
            raise
        self._discovery.apply(arrangement)
        self._connections.configure(settings.limits.rate)
        self._connections.retain(wanted)
        self._settings = settings
        self._edition += 1
        self._applied(settings)

    def _sweep(self, arrangement: DiscoveryPlan, settings: Settings) -> None:
        pools, completeness = arrangement.pools, arrangement.completeness
        try:
            self._pool_manager.apply(pools, settings.limits.series, completeness)
        except (OSError, ValueError) as error:
            raise ConfigError([f"the key of the user labels cannot be used: {error}"]) from error
        self._swept = pools, completeness


class ConfigurationFile:
    """The file that the configuration comes from; an `exporter.daemon.reload.Source`."""

    def __init__(self, file: Path, in_force: ActiveConfig) -> None:
        self._file = file
        self._active_config = in_force
        self._needed: Collection[Path] = ()

    def is_in_force(self) -> bool:
        """Whether the file says what is in force."""
        try:
            return load_settings(self._file) == self._active_config.settings
        except ConfigError:
            return False

    def files(self) -> tuple[Path, ...]:
        """The file, the keys in force, and what the file needed when it was last read and refused."""
        return (self._file, *sorted(_keys(self._active_config.settings).union(self._needed)))

    def read(self) -> Callable[[], None]:
        """Check the file whole, and give what puts it in force.

        Raises `ConfigError` with every fault.
        """
        try:
            settings = load_settings(self._file)
        except ConfigError as error:
            self._needed = error.files
            raise
        # Whoever puts them in force may still refuse them, or something else beside them may be refused.
        self._needed = _keys(settings)
        try:
            self._active_config.check(settings)
        except ConfigError as error:
            raise ConfigError([f"{self._file}: {fault}" for fault in error.problems]) from None
        return partial(self._active_config.apply, settings)


def _keys(settings: Settings) -> set[Path]:
    """The key files that a configuration names."""
    return {pool.identity_key_file for pool in settings.all_pool_settings if pool.identity_key_file is not None}
