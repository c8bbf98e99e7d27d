"""The composition root: builds the parts, starts them in order and stops them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from queue import Empty, SimpleQueue
from types import FrameType

import structlog

import exporter
from exporter.aws.rate.limiters import Budgets
from exporter.aws.sessions import ApiFactory, AwsApis, Connections
from exporter.buildinfo import revision
from exporter.clock import Clock, SystemClock
from exporter.collect.discovery import Discovery
from exporter.collect.pools import Fleet
from exporter.collect.sweeping.workers import PATIENCE, Patience
from exporter.config.apart import require_state_apart
from exporter.config.settings import Detail, IdentityMode, Settings
from exporter.daemon.active_config import ConfigurationFile, InForce
from exporter.daemon.malloc import give_back, share_one_arena
from exporter.daemon.reload import Reloader, Source
from exporter.metrics.exposition import Exposition
from exporter.metrics.self_metrics import OwnMetrics
from exporter.options import ListenAddress, ServeOptions
from exporter.status.report import Sources
from exporter.status.routes import status_routes
from exporter.tracing.start import Off, Tracing, start_tracing
from exporter.web.access import Gate
from exporter.web.config_watcher import WebConfig
from exporter.web.routes import Probes, all_routes, probe_routes
from exporter.web.server import WebServer

SIGNAL_CHECK_SECONDS = 0.5
"""Python runs a signal's handler when the main thread next runs, and the system may interrupt another thread for it:
one that waits without end would not hear of the signal."""

STOPS = frozenset({signal.SIGTERM, signal.SIGINT})

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
        tracing: Tracing | None = None,
    ) -> None:
        """Build everything; nothing runs yet.

        `make_api` reaches AWS through boto3 unless given; `patience` says how often a failed call is asked
        again. Raises `ConfigError` when an identity key cannot be read any more, or the web configuration is wrong.
        """
        self._options = options
        self._clock = clock or SystemClock()
        self._tracing = tracing or Off()
        shard = options.shard
        self._own = OwnMetrics(
            version=exporter.__version__, revision=revision(), shards=shard.count, shard_ordinal=shard.ordinal
        )
        self._budgets = Budgets(settings.limits.rate, self._clock, shards=shard.count)
        self._connections = Connections(make_api or AwsApis(), self._budgets, self._own, self._clock)
        self._web_config = self._read_web_config()
        if self._web_config is not None:  # before the state file is opened, which may set it aside
            require_state_apart(settings, options.config_file, self._web_config.files())
        self._fleet = Fleet(
            self._connections.reader,
            self._own,
            self._clock,
            state_path=settings.state_path,
            shard=shard,
            patience=patience,
            tracer=self._tracing,
            after_sweep=give_back,
        )
        self._discovery = Discovery(self._connections.directory, self._own, self._clock, patience=patience)
        self._exposed = False
        self._in_force = InForce(
            settings, self._fleet, self._discovery, self._connections, shard=shard, applied=self._applied
        )
        self._file = ConfigurationFile(options.config_file, self._in_force)
        sources: list[Source] = [self._file] if self._web_config is None else [self._file, self._web_config]
        self._reloader = Reloader(sources, self._own, self._clock, interval=options.auto_reload_interval)
        self._own.configuration_loaded(successful=True, now=self._clock.wall())
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
        self._discovery.start(self._in_force.rediscovered)
        self._reloader.start()

    def reload_soon(self) -> None:
        """Read the configuration again beside everything else; may be called by a signal handler."""
        self._reloader.ask("signal")

    def catch_up(self) -> None:
        """Read the configuration again if the file says something else by now than what this was built with."""
        if not self._file.is_in_force():
            self._reloader.ask("changed during the start")

    def stop(self) -> None:
        """Take no more work, and let answers under way go out for a moment."""
        try:
            self._reloader.stop()
            self._in_force.stop()
        finally:
            for server in self._servers:
                server.stop()
            self._tracing.stop()

    def _applied(self, settings: Settings) -> None:
        exposed = (
            shows_raw_names(settings)
            and not all(address.is_loopback for address in self._options.listen_addresses)
            and not (self._web_config is not None and self._web_config.in_force.authenticates)
        )
        self._own.identity_exposed(exposed=exposed)
        if exposed and not self._exposed:
            log.warning("raw user names are served without authentication beyond loopback")
        self._exposed = exposed

    def _web_config_changed(self) -> None:
        self._applied(self._in_force.settings)
        # A reload that was refused for what was wrong with it was refused as a whole.
        self._reloader.retry("changed web configuration")

    def _read_web_config(self) -> WebConfig | None:
        file = self._options.web_config_file
        if file is None:
            return None
        return WebConfig(file, self._clock, on_change=self._web_config_changed)

    def _web_servers(self) -> list[WebServer]:
        probes = Probes(self._silence, self._unreadiness)
        exposition = Exposition(
            self._fleet.views,
            self._own,
            self._clock,
            series_limit=lambda: self._in_force.settings.limits.series,
            budgets=self._budgets.states,
            rules=self._discovery.states,
            edition=lambda: self._in_force.edition,
        )
        routes = all_routes(
            probes,
            exposition,
            status_routes(self._status_sources(), telemetry_path=self._options.telemetry_path),
            telemetry_path=self._options.telemetry_path,
            reload=partial(self._reloader.reload, "request") if self._options.enable_lifecycle else None,
        )
        gate = None if self._web_config is None else Gate(self._web_config, self._clock)
        listening = partial(
            WebServer, clock=self._clock, on_failure=self._web_failed, on_answer=self._own.request_answered
        )
        servers = [listening(self._options.listen_addresses, routes, gate=gate)]
        probe_address = self._options.probe_listen_address
        if probe_address is not None:
            servers.append(listening([probe_address], probe_routes(probes)))
        return servers

    def _status_sources(self) -> Sources:
        return Sources(
            settings=lambda: self._in_force.settings,
            views=self._fleet.views,
            next_sweeps=self._fleet.next_sweeps,
            budgets=self._budgets.states,
            own=self._own,
            clock=self._clock,
            version=exporter.__version__,
            revision=revision(),
            shard=self._options.shard,
            started=self._clock.wall(),
            rules=self._discovery.states,
        )

    def _silence(self) -> str | None:
        return self._fleet.silence() or self._discovery.silence()

    def _unreadiness(self) -> str | None:
        return None if self._fleet.is_ready() else "not every pool was contacted yet"

    def _web_failed(self) -> None:
        self._own.failed_unexpectedly("web")


def serve(settings: Settings, options: ServeOptions) -> int:
    """Run the daemon until SIGTERM or SIGINT, and return the exit code 0.

    Raises `OSError` when an address cannot be had, `ConfigError` when an identity key cannot be read.
    """
    share_one_arena(os.environ)
    with _signals() as signals:
        clock = SystemClock()
        tracing = start_tracing(os.environ, clock, version=exporter.__version__, shard=options.shard)
        app = App(settings, options, clock=clock, tracing=tracing)
        log.info(
            "starting",
            version=exporter.__version__,
            revision=revision(),
            pools=len(settings.pools),
            rules=len(settings.discovery),
        )
        app.start()
        app.catch_up()
        while (number := _next(signals)) not in STOPS:
            if number is signal.SIGHUP:
                app.reload_soon()
        log.info("stopping")
        app.stop()
    return 0


def _next(signals: SimpleQueue[signal.Signals]) -> signal.Signals | None:
    try:
        return signals.get(timeout=SIGNAL_CHECK_SECONDS)
    except Empty:
        return None


def shows_raw_names(settings: Settings) -> bool:
    """Whether some pool's user names stand on the page as they are."""
    return any(pool.identity is IdentityMode.RAW and pool.detail is not Detail.POOL for pool in settings.alike)


@contextmanager
def _signals() -> Iterator[SimpleQueue[signal.Signals]]:
    """What the process is told, in order: by a queue, as a handler may interrupt itself in the middle of an event."""
    told: SimpleQueue[signal.Signals] = SimpleQueue()

    def note(number: int, _frame: FrameType | None) -> None:
        told.put(signal.Signals(number))

    before = {number: signal.signal(number, note) for number in (*STOPS, signal.SIGHUP)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
