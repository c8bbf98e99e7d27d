"""HTTP connection: h11 parses and writes HTTP, this module enforces limits.

h11 rejects everything that is not HTTP/1.1 and limits the size of request heads. Reads and writes have a deadline for
a whole request or response, so that a client that sends a byte now and then cannot hold a thread.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus

import h11
import structlog

from exporter.clock import Clock
from exporter.config.web.settings import WebSettings
from exporter.web.access import client_certificate_allowed
from exporter.web.handler import RequestHandler
from exporter.web.messages import Request, Response, busy, parse_target, text
from exporter.web.response_memory import ResponseLimits, ResponseMemoryLimit
from exporter.web.stream import NotTls, Stream

log = structlog.stdlib.get_logger(__name__)

HEADERS = (
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)
"""Headers of every response."""


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of a connection, and in `responses` those over all connections."""

    head_bytes: int = 16 * 1024
    headers: int = 100
    body_bytes: int = 64 * 1024
    read_seconds: float = 5.0
    """Timeout for a whole request from its first byte. The first one includes connecting and the TLS handshake."""
    idle_seconds: float = 120.0
    """Timeout between two requests; longer than usual scrape intervals, so that Prometheus can keep its connection."""
    write_seconds: float = 30.0
    """Timeout for a whole response."""
    linger_seconds: float = 0.5
    """Timeout for the client to close after the last response."""
    responses: ResponseLimits = field(default_factory=ResponseLimits)


class Connection:
    """Serves the requests of one connection, one after the other."""

    def __init__(
        self,
        sock: socket.socket,
        handler: RequestHandler,
        response_memory: ResponseMemoryLimit,
        clock: Clock,
        limits: ConnectionLimits,
    ) -> None:
        self._stream = Stream(sock, clock)
        self._handler = handler
        self._response_memory = response_memory
        self._settings = WebSettings()
        self._clock = clock
        self._limits = limits
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.head_bytes)
        self._deadline = clock.monotonic() + limits.read_seconds
        self._closing = False
        self.idle = False
        """True between two requests, when no client waits for a response."""

    def serve(self) -> None:
        """Serve requests until the client or the server ends the connection; the caller closes the socket."""
        try:
            if self._handshake():
                while self._serve_one():
                    self._http.start_next_cycle()
                    self._wait_for_request()
        except OSError as error:  # the client has gone, is too slow, or failed the handshake
            log.debug("connection closed", reason=getattr(error, "reason", None) or type(error).__name__)
            return
        with suppress(OSError):
            self._stream.finish(self._clock.monotonic() + self._limits.linger_seconds)

    def _handshake(self) -> bool:
        """Perform the TLS handshake if TLS is configured; return whether the client is allowed."""
        self._settings = self._handler.web_settings()
        tls = self._settings.tls
        if tls is None:
            return True
        try:
            allowed = client_certificate_allowed(tls, self._stream.start_tls(tls.context, self._deadline))
        except NotTls as error:
            if error.answered:
                self._handler.on_response(HTTPStatus.BAD_REQUEST.value)
            return False
        if not allowed:
            log.debug("connection closed", reason="client certificate has no allowed name")
        return allowed

    def _tls_config_changed(self) -> bool:
        """Apply the active web configuration; return True if the client must connect again to prove it is allowed.

        After any other change of TLS, the next response closes the connection.
        """
        before, self._settings = self._settings.tls, self._handler.web_settings()
        now = self._settings.tls
        if before == now:
            return False
        self._closing = True
        return before is None or now is None or before.client_auth_digest != now.client_auth_digest

    def _serve_one(self) -> bool:
        """Serve a request; return whether the connection can serve another one."""
        try:
            head = self._next_event()
            if not isinstance(head, h11.Request) or self._tls_config_changed():
                return False  # clients retry a request whose connection was closed without a response
            request = self._parse(head)
            rejection = self._handler.reject(request, self._settings)
            if rejection is None:
                self._discard_body(request)
        except h11.RemoteProtocolError as error:
            status = HTTPStatus(error.error_status_hint)
            self._send(text(status, status.phrase.lower()))
            return False
        status = self._respond(request, rejection)
        log.debug("request served", method=request.method, path=request.path, status=status.value)
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE and not self._closing

    def _parse(self, head: h11.Request) -> Request:
        """Parse a request head. Raises `h11.RemoteProtocolError`."""
        if len(head.headers) > self._limits.headers:
            raise _protocol_error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        try:
            path, query = parse_target(head.target.decode("ascii"))
        except ValueError:
            raise _protocol_error(HTTPStatus.BAD_REQUEST) from None
        headers: dict[str, str] = {}
        for raw_name, raw_value in head.headers:
            name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        if {"content-length", "transfer-encoding"} <= headers.keys():
            raise _protocol_error(HTTPStatus.BAD_REQUEST)  # RFC 9112, section 6.1: may be request smuggling
        return Request(head.method.decode("ascii"), path, query, headers)

    def _discard_body(self, request: Request) -> None:
        """Read the body, which no route uses. Raises `h11.RemoteProtocolError`."""
        if int(request.headers.get("content-length", 0)) > self._limits.body_bytes:
            raise _protocol_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        if self._http.they_are_waiting_for_100_continue:
            return
        size = 0
        while isinstance(event := self._next_event(), h11.Data):
            size += len(event.data)
            if size > self._limits.body_bytes:
                raise _protocol_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def _next_event(self) -> h11.Event | type[h11.PAUSED]:
        """Return the next event of the client. Raises `OSError`, such as a timeout, or `h11.RemoteProtocolError`."""
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(self._stream.receive(self._deadline))
        return event  # type: ignore[return-value] # mypy does not see that NEED_DATA is ruled out

    def _wait_for_request(self) -> None:
        """Wait for the first bytes of the next request, whose deadline begins then."""
        if not self._http.trailing_data[0]:
            self._deadline = self._clock.monotonic() + self._limits.idle_seconds
            self.idle = True
            self._http.receive_data(self._stream.receive(self._deadline))
            self.idle = False
        self._deadline = self._clock.monotonic() + self._limits.read_seconds

    def _respond(self, request: Request, rejection: Response | None) -> HTTPStatus:
        """Send the response, or 503 if its body exceeds the memory limit; return the status sent."""
        head_only = request.method == "HEAD"
        response = rejection or self._handler.respond(request)
        body = b"" if head_only else response.body
        with self._response_memory.reserve(body, self._stream.abort) as reserved:
            if reserved:
                self._send(response, head_only=head_only)
                return response.status
        del body  # like replacing the response, this frees the memory while the client reads the 503
        response = busy("too many responses in flight")
        self._send(response, head_only=head_only)
        return response.status

    def _send(self, response: Response, *, head_only: bool = False) -> None:
        headers = [
            ("Date", formatdate(self._clock.wall(), usegmt=True)),
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            *_merge_headers((*HEADERS, *response.headers), self._settings.headers),
        ]
        if self._http.their_state is not h11.DONE or self._closing:
            headers.append(("Connection", "close"))
        head = self._http.send(
            h11.Response(status_code=response.status.value, headers=headers, reason=response.status.phrase)
        )
        body = b"" if head_only else response.body
        if body:
            self._http.send_with_data_passthrough(h11.Data(data=body))  # returns the body itself
        self._http.send(h11.EndOfMessage())
        deadline = self._clock.monotonic() + self._limits.write_seconds
        self._handler.on_response(response.status.value)
        self._stream.send(head or b"", body, deadline)


def _protocol_error(status: HTTPStatus) -> h11.RemoteProtocolError:
    return h11.RemoteProtocolError(status.phrase, error_status_hint=status.value)


def _merge_headers(headers: tuple[tuple[str, str], ...], configured: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the headers, with configured ones replacing ours of the same name."""
    replaced = {name.lower() for name in configured}
    return [*((name, value) for name, value in headers if name.lower() not in replaced), *configured.items()]
