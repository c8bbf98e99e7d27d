"""The composition root: builds the parts, starts them in order and stops them."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import structlog

import exporter
from exporter.aws.budgets import Budgets
from exporter.aws.sessions import ApiFactory, AwsApis, Connections
from exporter.buildinfo import revision
from exporter.clock import Clock, SystemClock
from exporter.collect.fleet import Fleet
from exporter.collect.readers import PATIENCE, Patience
from exporter.config.settings import Detail, IdentityMode, Settings
from exporter.errors import ConfigError
from exporter.metrics.exposition import Exposition
from exporter.metrics.own import OwnMetrics
from exporter.options import ListenAddress, ServeOptions
from exporter.web.routes import Probes, all_routes, probe_routes
from exporter.web.server import WebServer

SIGNAL_CHECK_SECONDS = 0.5
"""Python runs a signal's handler when the main thread next runs, and the system may interrupt another thread for it:
one that waits without end would not hear of the signal."""

log = structlog.get_logger()


class App:
    """The whole daemon: sweeps and serves from `start` until `stop`."""

    def __init__(
        self,
        settings: Settings,
        options: ServeOptions,
        *,
        make_api: ApiFactory | None = None,
        clock: Clock | None = None,
        patience: Patience = PATIENCE,
    ) -> None:
        """Build everything; nothing runs yet.

        `make_api` reaches AWS through boto3 unless given; `patience` says how often a failed call is asked
        again. Raises `ConfigError` when an identity key cannot be read any more.
        """
        self._settings = settings
        self._options = options
        self._clock = clock or SystemClock()
        shard = options.shard
        self._own = OwnMetrics(
            version=exporter.__version__, revision=revision(), shards=shard.count, shard_ordinal=shard.ordinal
        )
        self._budgets = Budgets(settings.limits.rate, self._clock, shards=shard.count)
        self._connections = Connections(make_api or AwsApis(), self._budgets, self._own, self._clock)
        self._fleet = Fleet(
            self._connections.reader,
            self._own,
            self._clock,
            state_path=settings.state_path,
            shard=shard,
            patience=patience,
        )
        self._apply(settings)
        self._servers = self._web_servers()

    @property
    def addresses(self) -> tuple[ListenAddress, ...]:
        """Where the pages are really served, in the order asked for."""
        return self._servers[0].bound

    def start(self) -> None:
        """Listen, then begin to sweep.

        Raises `OSError` when an address cannot be had.
        """
        for server in self._servers:
            server.start()
            for address in server.bound:
                log.info("listening", address=str(address))
        self._fleet.start()

    def stop(self) -> None:
        """Take no more work, and let answers under way go out for a moment."""
        try:
            self._fleet.stop()
        finally:
            for server in self._servers:
                server.stop()

    def _apply(self, settings: Settings) -> None:
        self._connections.retain({pool.target for pool in settings.pools})
        try:
            self._fleet.apply(settings.pools, settings.limits.series)
        except (OSError, ValueError) as error:
            raise ConfigError([f"the key of the user labels cannot be used: {error}"]) from error
        self._own.configuration_loaded(successful=True, now=self._clock.wall())
        exposed = shows_raw_names(settings) and not all(
            address.is_loopback for address in self._options.listen_addresses
        )
        self._own.identity_exposed(exposed=exposed)
        if exposed:
            log.warning("raw user names are served without authentication beyond loopback")

    def _web_servers(self) -> list[WebServer]:
        probes = Probes(self._fleet.silence, self._unreadiness)
        exposition = Exposition(
            self._fleet.views,
            self._own,
            self._clock,
            series_limit=lambda: self._settings.limits.series,
            budgets=self._budgets.states,
        )
        routes = all_routes(
            probes,
            exposition,
            self._fleet.views,
            telemetry_path=self._options.telemetry_path,
            version=exporter.__version__,
            reload=None,
        )
        servers = [WebServer(self._options.listen_addresses, routes, self._clock, on_failure=self._web_failed)]
        probe_address = self._options.probe_listen_address
        if probe_address is not None:
            servers.append(WebServer([probe_address], probe_routes(probes), self._clock, on_failure=self._web_failed))
        return servers

    def _unreadiness(self) -> str | None:
        return None if self._fleet.is_ready() else "not every pool was contacted yet"

    def _web_failed(self) -> None:
        self._own.failed_unexpectedly("web")


def serve(settings: Settings, options: ServeOptions) -> int:
    """Run the daemon until SIGTERM or SIGINT, and return the exit code 0.

    Raises `OSError` when an address cannot be had, `ConfigError` when an identity key cannot be read.
    """
    with _told_to_stop() as stop:
        app = App(settings, options)
        log.info("starting", version=exporter.__version__, revision=revision(), pools=len(settings.pools))
        app.start()
        while not stop.wait(SIGNAL_CHECK_SECONDS):
            pass
        log.info("stopping")
        app.stop()
    return 0


def shows_raw_names(settings: Settings) -> bool:
    """Whether some pool's user names stand on the page as they are."""
    return any(pool.identity is IdentityMode.RAW and pool.detail is not Detail.POOL for pool in settings.pools)


@contextmanager
def _told_to_stop() -> Iterator[threading.Event]:
    stop = threading.Event()

    def note(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
