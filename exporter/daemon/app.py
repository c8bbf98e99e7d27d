"""Composition root of the daemon: construction, start and stop of its parts."""

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
from exporter.config.crosscheck import require_separate_state_file
from exporter.config.settings import Settings
from exporter.config.web.load import load_web_settings
from exporter.config.web.settings import WebSettings
from exporter.daemon.active_config import ActiveConfig, ConfigFile, WebConfigFile
from exporter.daemon.malloc import share_one_arena, trim_heap
from exporter.daemon.reload import Reloader
from exporter.metrics.exposition import Exposition
from exporter.metrics.self_metrics import SelfMetrics
from exporter.observers import NULL_TRACER, Tracer
from exporter.options import ListenAddress, ServeOptions
from exporter.retry import DEFAULT_RETRY_POLICY, RetryPolicy
from exporter.status.report import StatusReporter
from exporter.status.routes import status_routes
from exporter.tracing.start import start_tracing
from exporter.web.access import Authenticator
from exporter.web.handler import RequestHandler
from exporter.web.messages import Routes
from exporter.web.routes import metrics_routes, probe_routes, reload_routes
from exporter.web.server import WebServer

SIGNAL_CHECK_SECONDS = 0.5
"""Poll interval: handlers run only in the main thread, so it must not block forever."""

STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})

log = structlog.get_logger()


class App:
    """The daemon: sweeps pools and serves pages from `start` until `stop`."""

    def __init__(
        self,
        settings: Settings,
        options: ServeOptions,
        *,
        make_api: ApiFactory | None = None,
        clock: Clock | None = None,
        retry_policy: RetryPolicy = DEFAULT_RETRY_POLICY,
        tracing: Tracer = NULL_TRACER,
    ) -> None:
        """Build all parts in the order of the pipeline; nothing runs yet.

        `make_api` uses boto3 by default. Raises `ConfigError` if an identity key is no longer readable or the web
        configuration is invalid.
        """
        self._options = options
        self._clock = clock or SystemClock()
        self._tracing = tracing
        web = WebSettings() if options.web_config_file is None else load_web_settings(options.web_config_file)
        # PoolManager opens the state file, and moves it aside if it is another kind of file.
        require_separate_state_file(settings, options.config_file, web.files)

        shard = options.shard
        self.metrics = SelfMetrics(
            version=exporter.__version__, revision=revision(), shards=shard.count, shard_ordinal=shard.ordinal
        )
        self._rate_limiters = RateLimiters(settings.limits.rate, self._clock, shards=shard.count)
        clients = TargetClients(make_api or AwsApis(), self._rate_limiters, self.metrics, self._clock)
        self._pool_manager = PoolManager(
            clients.reader,
            self.metrics,
            self._clock,
            state_path=settings.state_path,
            shard=shard,
            retry_policy=retry_policy,
            tracer=self._tracing,
            after_sweep=trim_heap,
        )
        self._discovery = Discovery(clients.directory, self.metrics, self._clock, retry_policy=retry_policy)

        self._active_config = ActiveConfig(
            settings, web, options, self._pool_manager, self._discovery, clients, self.metrics
        )
        self._config_file = ConfigFile(options.config_file, self._active_config)
        self._web_config_file = (
            None
            if options.web_config_file is None
            else WebConfigFile(options.web_config_file, web, self._active_config.apply_web)
        )
        self._reloader = Reloader(
            self._config_file, self._web_config_file, self.metrics, self._clock, interval=options.auto_reload_interval
        )
        self.metrics.configuration_loaded(successful=True, now=self._clock.wall())

        self._servers = self._web_servers()

    @property
    def addresses(self) -> tuple[ListenAddress, ...]:
        """Listen addresses in the order of the options, then the probe address if there is one, with actual ports."""
        return tuple(address for server in self._servers for address in server.bound)

    def start(self) -> None:
        """Listen, then start sweeps.

        Raises `OSError` if an address is unavailable.
        """
        for server in self._servers:
            server.start()
            for address in server.bound:
                log.info("listening", address=str(address))
        self._pool_manager.start()
        self._discovery.start(self._active_config.apply_discovery)
        self._reloader.start()

    def request_reload(self) -> None:
        """Reload the configuration in the background; safe in a signal handler."""
        self._reloader.request_reload("signal")

    def catch_up(self) -> None:
        """Reload the configuration if its files have changed while this was built."""
        web = self._web_config_file
        if not (self._config_file.is_active() and (web is None or web.is_active())):
            self._reloader.request_reload("changed during startup")

    def stop(self) -> None:
        """Stop accepting work and give in-flight responses a moment to finish."""
        try:
            self._reloader.stop()
            self._active_config.stop()
        finally:
            for server in self._servers:
                server.stop()
            self._tracing.stop()

    def _web_servers(self) -> list[WebServer]:
        """Return the server of the pages, and that of the probe address if there is one."""
        options = self._options
        probes = probe_routes(self._stalled_reason, self._unready_reason)
        handler = partial(
            RequestHandler,
            authenticator=Authenticator(self._clock),
            on_error=self._web_failed,
            on_response=self.metrics.response_sent,
        )
        pages = handler({**probes, **self._page_routes()}, web_settings=lambda: self._active_config.web)
        servers = [WebServer(options.listen_addresses, pages, clock=self._clock)]
        if options.probe_listen_address is not None:
            servers.append(WebServer([options.probe_listen_address], handler(probes), clock=self._clock))
        return servers

    def _page_routes(self) -> Routes:
        exposition = Exposition(
            self._pool_manager.views,
            self.metrics,
            self._clock,
            series_limit=lambda: self._active_config.settings.limits.series,
            rate_limits=self._rate_limiters.states,
            rules=self._discovery.states,
            generation=lambda: self._active_config.generation,
        )
        status_reporter = StatusReporter(
            settings=lambda: self._active_config.settings,
            pools=self._pool_manager.views,
            next_sweeps=self._pool_manager.next_sweeps,
            rate_limits=self._rate_limiters.states,
            self_metrics=self.metrics,
            clock=self._clock,
            version=exporter.__version__,
            revision=revision(),
            shard=self._options.shard,
            started=self._clock.wall(),
            rules=self._discovery.states,
        )
        telemetry_path = self._options.telemetry_path
        return {
            **reload_routes(partial(self._reloader.reload, "request") if self._options.enable_lifecycle else None),
            **status_routes(status_reporter, telemetry_path=telemetry_path),
            **metrics_routes(telemetry_path, exposition),
        }

    def _stalled_reason(self) -> str | None:
        return self._pool_manager.stalled_reason() or self._discovery.stalled_reason()

    def _unready_reason(self) -> str | None:
        return None if self._pool_manager.is_ready() else "not every pool was contacted yet"

    def _web_failed(self) -> None:
        self.metrics.unexpected_error("web")


def serve(settings: Settings, options: ServeOptions) -> int:
    """Run the daemon until SIGTERM or SIGINT, and return the exit code 0.

    Raises `OSError` if an address is unavailable, `ConfigError` if an identity key cannot be read.
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
        while (number := _next_signal(signals)) not in STOP_SIGNALS:
            if number is signal.SIGHUP:
                app.request_reload()
        log.info("stopping")
        app.stop()
    return 0


def _next_signal(signals: SimpleQueue[signal.Signals]) -> signal.Signals | None:
    try:
        return signals.get(timeout=SIGNAL_CHECK_SECONDS)
    except Empty:
        return None


@contextmanager
def _signals() -> Iterator[SimpleQueue[signal.Signals]]:
    """Queue the signals of the process: a handler may interrupt itself, which an event does not support."""
    received: SimpleQueue[signal.Signals] = SimpleQueue()

    def receive(number: int, _frame: FrameType | None) -> None:
        received.put(signal.Signals(number))

    before = {number: signal.signal(number, receive) for number in (*STOP_SIGNALS, signal.SIGHUP)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
