"""What the exporter answers on which path."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from threading import BoundedSemaphore

from exporter.metrics.exposition import Exposition
from exporter.web.messages import Request, Response, Route, text

HEALTHY, READY, RELOAD = "/-/healthy", "/-/ready", "/-/reload"

MAX_SCRAPES = 16
"""Scrapes answered at the same time; those for the same page share one rendering."""


@dataclass(frozen=True, slots=True)
class Probes:
    """What the probes ask; each gives None when all is well, else the reason."""

    liveness: Callable[[], str | None]
    readiness: Callable[[], str | None]


def probe_routes(probes: Probes) -> dict[str, Route]:
    """The two probe paths, which also stand alone on a listener of their own."""
    return {
        HEALTHY: Route(lambda _: _probe(probes.liveness(), "healthy"), public=True),
        READY: Route(lambda _: _probe(probes.readiness(), "ready"), public=True),
    }


def all_routes(
    probes: Probes,
    exposition: Exposition,
    status: Mapping[str, Route],
    *,
    telemetry_path: str,
    reload: Callable[[], str | None] | None,
    max_scrapes: int = MAX_SCRAPES,
) -> dict[str, Route]:
    """Every path; `status` has those of the status page.

    `reload` gives None when the new configuration is in force, else the reason; it is None where
    `--web.enable-lifecycle` is not given. Raises `ValueError` when the telemetry path is taken or is no path.
    """
    routes = {
        **probe_routes(probes),
        RELOAD: Route(lambda _: _reload(reload), methods=("POST", "PUT")),
    }
    if telemetry_path in routes or not telemetry_path.startswith("/") or {"?", "#"} & set(telemetry_path):
        raise ValueError(f"expected a path such as /metrics that is not taken, got {telemetry_path!r}")
    scrapes = BoundedSemaphore(max_scrapes)
    return {
        **routes,
        **status,
        telemetry_path: Route(lambda request: _metrics(exposition, scrapes, request)),
    }


def _probe(trouble: str | None, well: str) -> Response:
    return text(HTTPStatus.OK, well) if trouble is None else text(HTTPStatus.SERVICE_UNAVAILABLE, trouble)


def _reload(reload: Callable[[], str | None] | None) -> Response:
    if reload is None:
        return text(HTTPStatus.FORBIDDEN, "reloading over HTTP is off: --web.enable-lifecycle is not given")
    trouble = reload()
    if trouble is None:
        return text(HTTPStatus.OK, "reloaded")
    return text(HTTPStatus.INTERNAL_SERVER_ERROR, f"the configuration stays as it was: {trouble}")


def _metrics(exposition: Exposition, scrapes: BoundedSemaphore, request: Request) -> Response:
    if not scrapes.acquire(blocking=False):
        return text(HTTPStatus.SERVICE_UNAVAILABLE, "too many scrapes at the same time", ("Retry-After", "1"))
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
