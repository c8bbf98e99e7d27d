"""Negotiation of text format and content coding by the q-values of the request headers (RFC 9110)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class Format(Enum):
    """Text format; the value is its Content-Type."""

    CLASSIC = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
    OPENMETRICS_0_0_1 = "application/openmetrics-text; version=0.0.1; charset=utf-8"

    @property
    def is_openmetrics(self) -> bool:
        """True if the page ends with `# EOF` and HELP and TYPE lines name counters without `_total`."""
        return self is not Format.CLASSIC


@dataclass(frozen=True, slots=True)
class _Offer:
    media_type: str
    version: str
    quality: float


_OPENMETRICS_VERSIONS = {
    "": Format.OPENMETRICS,
    "1.0.0": Format.OPENMETRICS,
    "0.0.1": Format.OPENMETRICS_0_0_1,
}


def text_format(accept: str | None) -> Format:
    """Return the served format with the highest q-value; of equal q-values, the first in the header.

    If the header accepts no served format, return the classic format, which every client can parse.
    """
    best, best_quality = Format.CLASSIC, 0.0
    for offer in _offers(accept or ""):
        served = _served(offer)
        if served is not None and offer.quality > best_quality:
            best, best_quality = served, offer.quality
    return best


def _served(offer: _Offer) -> Format | None:
    if offer.media_type == "application/openmetrics-text":
        return _OPENMETRICS_VERSIONS.get(offer.version)
    classic = offer.media_type in {"text/plain", "text/*", "*/*"} and offer.version in {"", "0.0.4"}
    return Format.CLASSIC if classic else None


def accepts_gzip(accept_encoding: str | None) -> bool:
    """Return True if the client accepts gzip and does not prefer the identity coding."""
    qualities = {offer.media_type: offer.quality for offer in _offers(accept_encoding or "")}
    gzip = qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", 0.0)))
    return gzip > 0 and gzip >= qualities.get("identity", 0.0)


def _offers(header: str) -> Iterator[_Offer]:
    for part in header.split(","):
        media_type, *pairs = (piece.strip() for piece in part.split(";"))
        parameters = {name.strip().lower(): value.strip(' "') for name, _, value in (p.partition("=") for p in pairs)}
        if media_type:
            yield _Offer(media_type.lower(), parameters.get("version", ""), _quality(parameters.get("q", "1")))


def _quality(text: str) -> float:
    """Parse a q-value. An invalid one counts as 0, which excludes its offer."""
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0.0 <= quality <= 1.0 else 0.0
