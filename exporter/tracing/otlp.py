"""Export of spans by OTLP over HTTP, in a separate thread. Sweeps never wait for the collector."""

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
from exporter.tracing.spans import start_trace

SERVICE_NAME = "cognito-device-exporter"

SHUTDOWN_SECONDS = 1.0
"""Timeout for exporting the remaining spans at shutdown. OpenTelemetry itself waits up to half a minute."""

log = structlog.get_logger()


class OtlpTracer:
    """Tracer of sweeps. OpenTelemetry's variables set the endpoint, sampler, resource, limits and batches."""

    def __init__(self, clock: Clock, *, version: str, shard: Shard) -> None:
        """Create the tracer.

        Raises `ValueError` if OpenTelemetry rejects the value of a variable.
        """
        self._clock = clock
        self._provider = TracerProvider(resource=_resource(version, shard), shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(_span_exporter()))
        self._tracer = self._provider.get_tracer(SERVICE_NAME, version)
        self._lock = threading.Lock()
        self._active: WeakSet[SweepTrace] = WeakSet()
        # OpenTelemetry logs every failed batch. Warnings about its settings have been logged by now.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)

    def start_sweep(self, pool_id: str) -> SweepTrace:
        """Start the trace of a sweep, unless the sampler drops it."""
        trace = start_trace(self._tracer, pool_id, self._clock)
        with self._lock:
            self._active.add(trace)
        return trace

    def stop(self) -> None:
        """End all traces and export the remaining spans, for at most `SHUTDOWN_SECONDS`."""
        with self._lock:
            active = list(self._active)
        for trace in active:
            trace.close()
        shutdown = threading.Thread(target=self._provider.shutdown, name="tracing-stop", daemon=True)
        shutdown.start()
        shutdown.join(SHUTDOWN_SECONDS)


class _StatusRecordingAdapter(HTTPAdapter):
    """HTTP adapter that records the result of the last request, which OTLPSpanExporter does not return."""

    last = "no response"

    def send(self, request: PreparedRequest, *args: Any, **kwargs: Any) -> Response:
        """Send the request once."""
        try:
            response = super().send(request, *args, **kwargs)
        except OSError as error:  # base class of all errors of requests; its text contains the address
            self.last = type(error).__name__
            raise
        self.last = f"HTTP {response.status_code}"
        return response


class LoggingSpanExporter(SpanExporter):
    """Span exporter that logs once when exports begin to fail, and once when they succeed again."""

    def __init__(self, exporter: SpanExporter, failure_reason: Callable[[], str]) -> None:
        """`failure_reason` returns the reason why the last export failed."""
        self._exporter = exporter
        self._failure_reason = failure_reason
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export the spans. They are lost if the export fails."""
        result = self._exporter.export(spans)
        failing = result is not SpanExportResult.SUCCESS
        if failing and not self._failing:
            log.warning("trace export failed; dropping traces until it succeeds", error=self._failure_reason())
        if self._failing and not failing:
            log.info("trace export recovered")
        self._failing = failing
        return result

    def shutdown(self) -> None:
        """Shut down the wrapped exporter."""
        self._exporter.shutdown()


def _span_exporter() -> LoggingSpanExporter:
    adapter, session = _StatusRecordingAdapter(), Session()
    session.mount("http://", adapter)
    session.mount("https://", adapter)
    return LoggingSpanExporter(OTLPSpanExporter(session=session), lambda: adapter.last)


def _resource(version: str, shard: Shard) -> Resource:
    """Return the resource of the exporter. `OTEL_RESOURCE_ATTRIBUTES` and `OTEL_SERVICE_NAME` take precedence."""
    attributes = {"service.name": SERVICE_NAME, "service.version": version}
    if shard.count > 1:
        attributes["cognito_exporter.shard"] = str(shard)
    return Resource.create(attributes).merge(OTELResourceDetector().detect())
