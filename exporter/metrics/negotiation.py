"""Negotiation of text format and content coding by the q-values of the request headers (RFC 9110)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class TextFormat(Enum):
    """Text format; the value is its Content-Type."""

    CLASSIC = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    OPENMETRICS_0_0_1 = "application/openmetrics-text; version=0.0.1; charset=utf-8"

    @property
    def is_openmetrics(self) -> bool:
        """True if the page ends with `# EOF` and HELP and TYPE lines name counters without `_total`."""
        return self is not TextFormat.CLASSIC


@dataclass(frozen=True, slots=True)
class _Element:
    """Element of an Accept or Accept-Encoding header."""

    name: str
    """Media type or content coding."""
    version: str
    quality: float


_OPENMETRICS_VERSIONS = {
    "": TextFormat.OPENMETRICS,
    "1.0.0": TextFormat.OPENMETRICS,
    "0.0.1": TextFormat.OPENMETRICS_0_0_1,
}


def negotiate_format(accept: str | None) -> TextFormat:
    """Return the served format with the highest q-value; of equal q-values, the first in the header.

    If the header accepts no served format, return the classic format, which every client can parse.
    """
    best, best_quality = TextFormat.CLASSIC, 0.0
    for element in _parse(accept or ""):
        text_format = _served(element)
        if text_format is not None and element.quality > best_quality:
            best, best_quality = text_format, element.quality
    return best


def _served(element: _Element) -> TextFormat | None:
    if element.name == "application/openmetrics-text":
        return _OPENMETRICS_VERSIONS.get(element.version)
    is_classic = element.name in {"text/plain", "text/*", "*/*"} and element.version in {"", "0.0.4"}
    return TextFormat.CLASSIC if is_classic else None


def accepts_gzip(accept_encoding: str | None) -> bool:
    """Return True if the client accepts gzip and does not prefer the identity coding."""
    qualities = {element.name: element.quality for element in _parse(accept_encoding or "")}
    gzip = qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", 0.0)))
    return gzip > 0 and gzip >= qualities.get("identity", 0.0)


def _parse(header: str) -> Iterator[_Element]:
    for part in header.split(","):
        name, *pairs = (piece.strip() for piece in part.split(";"))
        parameters = {key.strip().lower(): value.strip(' "') for key, _, value in (p.partition("=") for p in pairs)}
        if name:
            yield _Element(name.lower(), parameters.get("version", ""), _quality(parameters.get("q", "1")))


def _quality(text: str) -> float:
    """Parse a q-value. An invalid one counts as 0, which excludes the element."""
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0.0 <= quality <= 1.0 else 0.0
