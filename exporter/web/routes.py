"""Routes of probes, metrics and reload."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from threading import BoundedSemaphore

from exporter.metrics.exposition import Exposition
from exporter.web.messages import Request, Response, Route, busy, text

MAX_SCRAPES = 16
"""Concurrent scrapes. Scrapes of the same page share one rendering."""


def probe_routes(stalled: Callable[[], str | None], unready: Callable[[], str | None]) -> dict[str, Route]:
    """Return the two probe paths.

    `stalled` and `unready` return the reason why the exporter is not healthy or not ready, or None if it is.
    """
    return {
        "/-/healthy": Route(lambda _: _probe(stalled(), "healthy"), public=True),
        "/-/ready": Route(lambda _: _probe(unready(), "ready"), public=True),
    }


def reload_routes(reload: Callable[[], str | None] | None) -> dict[str, Route]:
    """Return the reload path.

    `reload` returns the reason why the reload failed, or None if it succeeded. It is None without
    `--web.enable-lifecycle`.
    """
    return {"/-/reload": Route(lambda _: _reload(reload), methods=("POST", "PUT"))}


def metrics_routes(path: str, exposition: Exposition, max_scrapes: int = MAX_SCRAPES) -> dict[str, Route]:
    """Return the path of the metrics."""
    scrapes = BoundedSemaphore(max_scrapes)
    return {path: Route(lambda request: _metrics(exposition, scrapes, request))}


def _probe(reason: str | None, healthy: str) -> Response:
    return text(HTTPStatus.OK, healthy) if reason is None else text(HTTPStatus.SERVICE_UNAVAILABLE, reason)


def _reload(reload: Callable[[], str | None] | None) -> Response:
    if reload is None:
        return text(HTTPStatus.FORBIDDEN, "Lifecycle API is not enabled. Start with --web.enable-lifecycle.")
    reason = reload()
    if reason is None:
        return text(HTTPStatus.OK, "reloaded")
    return text(HTTPStatus.INTERNAL_SERVER_ERROR, f"configuration reload failed: {reason}")


def _metrics(exposition: Exposition, scrapes: BoundedSemaphore, request: Request) -> Response:
    if not scrapes.acquire(blocking=False):
        return busy("too many concurrent scrapes")
    try:
        page = exposition.page(
            accept=request.headers.get("accept"),
            accept_encoding=request.headers.get("accept-encoding"),
            names=request.query.get("name[]", ()),
        )
    finally:
        scrapes.release()
    coding = (("Content-Encoding", "gzip"),) if page.gzipped else ()
    return Response(HTTPStatus.OK, page.body, page.content_type, (("Vary", "Accept, Accept-Encoding"), *coding))
