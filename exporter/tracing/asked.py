"""Whether traces are asked for: OpenTelemetry's own environment variables say so.

Source: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/, and its page on OTLP.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SPOKEN = "http/protobuf"


def is_enabled(environ: Mapping[str, str]) -> bool:
    """Whether traces are wanted: an exporter is named, or a place to send them to.

    That differs from other programs, which send to localhost unless they are told not to.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    exporters = _exporters(environ)
    if exporters:
        return exporters != {"none"}
    return _first(environ, _ENDPOINTS) is not None


def unsupported_reason(environ: Mapping[str, str]) -> str | None:
    """What is asked for and cannot be had; None when all can. An address is not repeated: it may hold a key."""
    others = _exporters(environ) - {"otlp"}
    if others:
        return f"OTEL_TRACES_EXPORTER is {', '.join(sorted(others))}: expected otlp or none"
    protocol = _first(environ, _PROTOCOLS) or _SPOKEN
    if protocol != _SPOKEN:
        return f"the protocol for OTLP is {protocol}: expected {_SPOKEN}"
    endpoint = _first(environ, _ENDPOINTS)
    if endpoint is not None and not _is_address(endpoint):
        return "the endpoint for OTLP is no address of HTTP: expected one like http://collector:4318"
    return None


def _exporters(environ: Mapping[str, str]) -> set[str]:
    return {name.strip() for name in environ.get("OTEL_TRACES_EXPORTER", "").split(",")} - {""}


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    """The first of the variables that is set; an empty one counts as unset, as everywhere in OpenTelemetry."""
    return next((value for name in names if (value := environ.get(name, "").strip())), None)


def _is_address(endpoint: str) -> bool:
    try:
        parts = urlsplit(endpoint)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
