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
from exporter.aws.rate.limiters import RateLimiters
from exporter.aws.sessions import AwsApis
from exporter.aws.targets import ApiFactory, TargetClients
from exporter.buildinfo import revision
from exporter.clock import Clock, SystemClock
from exporter.collect.discovery import Discovery
from exporter.collect.pools import PoolManager
from exporter.config.apart import require_state_apart
from exporter.config.settings import Detail, IdentityMode, Settings
from exporter.config.web.settings import WebSettings
from exporter.daemon.active_config import ActiveConfig, ConfigurationFile
from exporter.daemon.malloc import share_one_arena, trim_heap
from exporter.daemon.reload import Reloader, Source
from exporter.metrics.exposition import Exposition
from exporter.metrics.self_metrics import SelfMetrics
from exporter.options import ListenAddress, ServeOptions
from exporter.retry import DEFAULT_RETRY_POLICY, RetryPolicy
from exporter.status.report import StatusReporter
from exporter.status.routes import status_routes
from exporter.tracing.start import NoTracing, Tracing, start_tracing
from exporter.web.access import Authenticator
from exporter.web.config_watcher import WebConfig
from exporter.web.handler import RequestHandler
from exporter.web.routes import metrics_routes, probe_routes, reload_routes
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
        retry_policy: RetryPolicy = DEFAULT_RETRY_POLICY,
        tracing: Tracing | None = None,
    ) -> None:
        """Build everything; nothing runs yet.

        `make_api` reaches AWS through boto3 unless given; `retry_policy` says how often a failed call is asked
        again. Raises `ConfigError` when an identity key cannot be read any more, or the web configuration is wrong.
        """
        self._options = options
        self._clock = clock or SystemClock()
        self._tracing = tracing or NoTracing()
        shard = options.shard
        self._own = SelfMetrics(
            version=exporter.__version__, revision=revision(), shards=shard.count, shard_ordinal=shard.ordinal
        )
        self._rate_limiters = RateLimiters(settings.limits.rate, self._clock, shards=shard.count)
        self._connections = TargetClients(make_api or AwsApis(), self._rate_limiters, self._own, self._clock)
        self._web_config = self._read_web_config()
        if self._web_config is not None:  # before the state file is opened, which may set it aside
            require_state_apart(settings, options.config_file, self._web_config.files())
        self._pool_manager = PoolManager(
            self._connections.reader,
            self._own,
            self._clock,
            state_path=settings.state_path,
            shard=shard,
            retry_policy=retry_policy,
            tracer=self._tracing,
            after_sweep=trim_heap,
        )
        self._discovery = Discovery(self._connections.directory, self._own, self._clock, retry_policy=retry_policy)
        self._exposed = False
        self._active_config = ActiveConfig(
            settings, self._pool_manager, self._discovery, self._connections, shard=shard, applied=self._applied
        )
        self._file = ConfigurationFile(options.config_file, self._active_config)
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
        self._pool_manager.start()
        self._discovery.start(self._active_config.rediscovered)
        self._reloader.start()

    def reload_soon(self) -> None:
        """Read the configuration again beside everything else; may be called by a signal handler."""
        self._reloader.request_reload("signal")

    def catch_up(self) -> None:
        """Read the configuration again if the file says something else by now than what this was built with."""
        if not self._file.is_in_force():
            self._reloader.request_reload("changed during the start")

    def stop(self) -> None:
        """Take no more work, and let answers under way go out for a moment."""
        try:
            self._reloader.stop()
            self._active_config.stop()
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
        self._applied(self._active_config.settings)
        # A reload that was refused for what was wrong with it was refused as a whole.
        self._reloader.request_retry("changed web configuration")

    def _read_web_config(self) -> WebConfig | None:
        file = self._options.web_config_file
        if file is None:
            return None
        return WebConfig(file, self._clock, on_change=self._web_config_changed)

    def _web_servers(self) -> list[WebServer]:
        probes = probe_routes(self._stalled_reason, self._unreadiness)
        exposition = Exposition(
            self._pool_manager.views,
            self._own,
            self._clock,
            series_limit=lambda: self._active_config.settings.limits.series,
            budgets=self._rate_limiters.states,
            rules=self._discovery.states,
            generation=lambda: self._active_config.generation,
        )
        status_reporter = StatusReporter(
            settings=lambda: self._active_config.settings,
            pools=self._pool_manager.views,
            next_sweeps=self._pool_manager.next_sweeps,
            rate_limits=self._rate_limiters.states,
            self_metrics=self._own,
            clock=self._clock,
            version=exporter.__version__,
            revision=revision(),
            shard=self._options.shard,
            started=self._clock.wall(),
            rules=self._discovery.states,
        )
        telemetry_path = self._options.telemetry_path
        reload = partial(self._reloader.reload, "request") if self._options.enable_lifecycle else None
        routes = {
            **probes,
            **reload_routes(reload),
            **status_routes(status_reporter, telemetry_path=telemetry_path),
            **metrics_routes(telemetry_path, exposition),
        }
        handler = partial(
            RequestHandler,
            authenticator=Authenticator(self._clock),
            on_error=self._web_failed,
            on_response=self._own.request_answered,
        )
        web_settings = WebSettings if self._web_config is None else self._web_config.current
        servers = [
            WebServer(self._options.listen_addresses, handler(routes, web_settings=web_settings), clock=self._clock)
        ]
        probe_address = self._options.probe_listen_address
        if probe_address is not None:
            servers.append(WebServer([probe_address], handler(probes), clock=self._clock))
        return servers

    def _stalled_reason(self) -> str | None:
        return self._pool_manager.stalled_reason() or self._discovery.stalled_reason()

    def _unreadiness(self) -> str | None:
        return None if self._pool_manager.is_ready() else "not every pool was contacted yet"

    def _web_failed(self) -> None:
        self._own.unexpected_error("web")


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
    return any(
        pool.identity is IdentityMode.RAW and pool.detail is not Detail.POOL for pool in settings.all_pool_settings
    )


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
