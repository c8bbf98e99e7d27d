"""Where traces begin: OpenTelemetry is imported here, and only when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import structlog

from exporter.clock import Clock
from exporter.observers import NullTracer, Tracer
from exporter.shard import Shard
from exporter.tracing.asked import is_enabled, unsupported_reason

log = structlog.get_logger()


class Tracing(Tracer, Protocol):
    """A tracer, and the end of it."""

    def stop(self) -> None:
        """Let what was traced go out for a moment."""
        ...


class NoTracing(NullTracer):
    """Nothing is traced."""

    def stop(self) -> None:
        """Nothing is left to go out."""


def start_tracing(environ: Mapping[str, str], clock: Clock, *, version: str, shard: Shard) -> Tracing:
    """Trace if the environment asks for it, which is the process's own: OpenTelemetry reads more of it by itself.

    What cannot be had is said in the log and is no reason to end: a platform may set these variables for all that runs
    on it.
    """
    if not is_enabled(environ):
        return NoTracing()
    reason = unsupported_reason(environ)
    if reason is not None:
        log.warning("no traces", error=reason)
        return NoTracing()
    try:
        from exporter.tracing.otlp import Otlp  # noqa: PLC0415 - it costs memory, and may not be installed
    except ImportError as error:
        log.warning("no traces: the extra is missing", error=str(error), install="cognito-device-exporter[tracing]")
        return NoTracing()
    try:
        tracing = Otlp(clock, version=version, shard=shard)
    except ValueError as error:
        log.warning("no traces: OpenTelemetry refuses its settings", error=str(error))
        return NoTracing()
    log.info("sweeps are traced")
    return tracing
