"""Start of tracing, as configured by OpenTelemetry's own environment variables.

Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/ and its page on OTLP.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

import structlog

from exporter.clock import Clock
from exporter.observers import NULL_TRACER, Tracer
from exporter.shard import Shard

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SUPPORTED_PROTOCOL = "http/protobuf"

log = structlog.get_logger()


def start_tracing(environ: Mapping[str, str], clock: Clock, *, version: str, shard: Shard) -> Tracer:
    """Start tracing if the environment enables it.

    Unsupported settings are logged and disable tracing, because a platform may set these variables for all workloads.
    `environ` is the environment of the process, from which OpenTelemetry itself reads further variables.
    """
    if not is_enabled(environ):
        return NULL_TRACER
    reason = unsupported_reason(environ)
    if reason is not None:
        log.warning("tracing disabled", error=reason)
        return NULL_TRACER
    try:
        from exporter.tracing.otlp import OtlpTracer  # noqa: PLC0415 - it takes memory and may not be installed
    except ImportError as error:
        log.warning(
            "tracing disabled: extra not installed", error=str(error), install="cognito-device-exporter[tracing]"
        )
        return NULL_TRACER
    try:
        tracer = OtlpTracer(clock, version=version, shard=shard)
    except ValueError as error:
        log.warning("tracing disabled: invalid OpenTelemetry settings", error=str(error))
        return NULL_TRACER
    log.info("tracing enabled")
    return tracer


def is_enabled(environ: Mapping[str, str]) -> bool:
    """Return True if an exporter or an endpoint is set.

    This differs from the specification, which exports to localhost by default.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporters = _exporters(environ)
    if exporters:
        return exporters != {"none"}
    return _first_set(environ, _ENDPOINTS) is not None


def unsupported_reason(environ: Mapping[str, str]) -> str | None:
    """Return the reason why the settings are unsupported, None if they are supported.

    The endpoint is not included, because it may contain a secret.
    """
    unsupported = _exporters(environ) - {"otlp"}
    if unsupported:
        return f"OTEL_TRACES_EXPORTER is {', '.join(sorted(unsupported))}, expected otlp or none"
    protocol = _first_set(environ, _PROTOCOLS) or _SUPPORTED_PROTOCOL
    if protocol != _SUPPORTED_PROTOCOL:
        return f"OTLP protocol is {protocol}, expected {_SUPPORTED_PROTOCOL}"
    endpoint = _first_set(environ, _ENDPOINTS)
    if endpoint is not None and not _is_http_url(endpoint):
        return "OTLP endpoint is not an HTTP URL, expected one like http://collector:4318"
    return None


def _exporters(environ: Mapping[str, str]) -> set[str]:
    return {name.strip() for name in environ.get("OTEL_TRACES_EXPORTER", "").split(",")} - {""}


def _first_set(environ: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    """Return the first variable that is set. An empty variable counts as unset, as in the specification."""
    return next((value for name in names if (value := environ.get(name, "").strip())), None)


def _is_http_url(endpoint: str) -> bool:
    try:
        parts = urlsplit(endpoint)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
