"""The status page at `/` and the same as JSON."""

from __future__ import annotations

from http import HTTPStatus

from exporter.status.document import encoded
from exporter.status.page import CONTENT_SECURITY_POLICY, page
from exporter.status.query import View, parse_view
from exporter.status.report import Sources
from exporter.web.messages import HTML, Request, Response, Route, text

PAGE, API = "/", "/api/v1/status"

JSON = "application/json"


def status_routes(sources: Sources, *, telemetry_path: str) -> dict[str, Route]:
    """The two paths, answered from what the sources have published."""
    return {
        PAGE: Route(lambda request: _page(sources, request, telemetry_path)),
        API: Route(lambda _: Response(HTTPStatus.OK, encoded(sources.report()), JSON)),
    }


def _page(sources: Sources, request: Request, telemetry_path: str) -> Response:
    try:
        view = parse_view(request.query)
    except ValueError as error:
        return text(HTTPStatus.BAD_REQUEST, str(error))
    body = page(sources.report(), view, telemetry_path=telemetry_path)
    return Response(HTTPStatus.OK, body.encode(), HTML, (_POLICY, *_refresh(view)))


_POLICY = ("Content-Security-Policy", CONTENT_SECURITY_POLICY)


def _refresh(view: View) -> tuple[tuple[str, str], ...]:
    """Without an address: the same page again, which browsers leave scrolled where it was."""
    return () if view.refresh_seconds is None else (("Refresh", str(view.refresh_seconds)),)
