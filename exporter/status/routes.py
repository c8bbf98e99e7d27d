"""Routes of the status page and its JSON document."""

from __future__ import annotations

from http import HTTPStatus

import msgspec

from exporter.status.page import CONTENT_SECURITY_POLICY, render_page
from exporter.status.query import NO_REFRESH, parse_query
from exporter.status.report import StatusReporter
from exporter.web.messages import HTML, Request, Response, Route, text


def status_routes(reporter: StatusReporter, *, telemetry_path: str) -> dict[str, Route]:
    """Return the routes of the page and of the JSON document."""
    return {
        "/": Route(lambda request: _page(reporter, request, telemetry_path)),
        "/api/v1/status": Route(
            lambda _: Response(HTTPStatus.OK, msgspec.json.encode(reporter.report()), "application/json")
        ),
    }


def _page(reporter: StatusReporter, request: Request, telemetry_path: str) -> Response:
    try:
        query = parse_query(request.query)
    except ValueError as error:
        return text(HTTPStatus.BAD_REQUEST, str(error))
    body = render_page(reporter.report(), query, telemetry_path=telemetry_path)
    headers = [("Content-Security-Policy", CONTENT_SECURITY_POLICY)]
    if query.refresh != NO_REFRESH:
        headers.append(("Refresh", query.refresh))  # without a URL, browsers keep the scroll position
    return Response(HTTPStatus.OK, body.encode(), HTML, tuple(headers))
