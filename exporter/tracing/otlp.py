"""Sends spans by OTLP over HTTP, beside everything else: nothing waits for the collector."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakSet

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter

from exporter.clock import Clock
from exporter.observers import SweepTrace
from exporter.shard import Shard
from exporter.tracing.spans import follow

SERVICE = "cognito-device-exporter"

STOP_SECONDS = 1.0
"""What is left when the program ends may take so long to go out; OpenTelemetry itself would take half a minute."""

log = structlog.get_logger()


class Otlp:
    """Sweeps as traces; endpoint, sampler, resource, limits and batches are as OpenTelemetry's variables say."""

    def __init__(self, clock: Clock, *, version: str, shard: Shard) -> None:
        """Raises `ValueError` when OpenTelemetry does not take a value of its variables."""
        self._clock = clock
        self._provider = TracerProvider(resource=_resource(version, shard), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(_delivery()))
        self._tracer = self._provider.get_tracer(SERVICE, version)
        self._lock = threading.Lock()
        self._under_way: WeakSet[SweepTrace] = WeakSet()
        # It repeats itself with each batch that fails; what it had to say of its settings is said by now.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)

    def start_sweep(self, pool_id: str) -> SweepTrace:
        """Follow a sweep, unless the sampler leaves it out."""
        sweep = follow(self._tracer, pool_id, self._clock)
        with self._lock:
            self._under_way.add(sweep)
        return sweep

    def stop(self) -> None:
        """End what is under way and let it go out for a moment; a collector that does not answer is left behind."""
        with self._lock:
            under_way = list(self._under_way)
        for sweep in under_way:
            sweep.close()
        shutdown = threading.Thread(target=self._provider.shutdown, name="tracing-stop", daemon=True)
        shutdown.start()
        shutdown.join(STOP_SECONDS)


class _StatusRecordingAdapter(HTTPAdapter):
    """Sends a request, and knows how the last one went: the exporter tells only whether its batch arrived."""

    last = "no answer"

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        """Send it once."""
        try:
            response = super().send(request, *args, **kwargs)
        except OSError as error:  # as all errors of requests are; its text has the address
            self.last = type(error).__name__
            raise
        self.last = f"HTTP {response.status_code}"
        return response


class Delivery(SpanExporter):
    """Hands spans on, and tells the log when they cease to arrive and when they do again: once each."""

    def __init__(self, exporter: SpanExporter, reason: Callable[[], str]) -> None:
        """`reason` says why the last batch did not arrive."""
        self._exporter = exporter
        self._reason = reason
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send them; spans that did not arrive are lost."""
        result = self._exporter.export(spans)
        failing = result is not SpanExportResult.SUCCESS
        if failing and not self._failing:
            log.warning("traces do not arrive, and are lost until they do", error=self._reason())
        if self._failing and not failing:
            log.info("traces arrive again")
        self._failing = failing
        return result

    def shutdown(self) -> None:
        """Send nothing any more."""
        self._exporter.shutdown()


def _delivery() -> Delivery:
    line, session = _StatusRecordingAdapter(), Session()
    session.mount("http://", line)
    session.mount("https://", line)
    return Delivery(OTLPSpanExporter(session=session), lambda: line.last)


def _resource(version: str, shard: Shard) -> Resource:
    """What says that it is us; `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` go before it."""
    ours = {"service.name": SERVICE, "service.version": version}
    if shard.count > 1:
        ours["cognito_exporter.shard"] = str(shard)
    return Resource.create(ours).merge(OTELResourceDetector().detect())
