"""Request handler: access check, route, response."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus

import structlog

from exporter.config.web.settings import WebSettings
from exporter.web.access import Authenticator
from exporter.web.messages import Request, Response, Routes, dispatch, text

log = structlog.stdlib.get_logger(__name__)


class RequestHandler:
    """Rejects or answers requests. Thread-safe.

    An unexpected error is logged, reported to `on_error` and answered with 500. `on_response` receives the status code
    of each response.
    """

    def __init__(
        self,
        routes: Routes,
        authenticator: Authenticator,
        *,
        web_settings: Callable[[], WebSettings] = WebSettings,
        on_error: Callable[[], None],
        on_response: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Create a handler; `web_settings` returns the active web configuration."""
        self.web_settings = web_settings
        self.on_response = on_response
        self._routes = routes
        self._authenticator = authenticator
        self._on_error = on_error

    def reject(self, request: Request, settings: WebSettings) -> Response | None:
        """Return the response to a request that is rejected, or None if the request is allowed.

        The response is the same whether the path exists or not.
        """
        # dispatch() looks up the same string: a path that is written differently is never public.
        route = self._routes.get(request.path)
        if route is not None and route.public:
            return None
        try:
            return self._authenticator.reject(request, settings)
        except Exception:
            log.exception("unexpected error in request", path=request.path)
            return self._internal_error()

    def respond(self, request: Request) -> Response:
        """Return the response to a request that is allowed."""
        try:
            return dispatch(self._routes, request)
        except Exception:
            log.exception("unexpected error in request", path=request.path)
            return self._internal_error()

    def _internal_error(self) -> Response:
        self._on_error()
        return text(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error, see the log")
