"""One connection from accept to close: h11 reads and writes HTTP, this bounds what a client may take.

h11 refuses whatever is not HTTP/1.1 and keeps heads within a fixed size; every read and write here has
a deadline as a whole, so that a client who sends a byte now and then does not hold a thread for ever.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Protocol

import h11
import structlog

from exporter.clock import Clock
from exporter.config.web.settings import WebSettings
from exporter.web.access import client_certificate_allowed
from exporter.web.messages import Request, Response, parse_target, text
from exporter.web.response_memory import ResponseLimits, ResponseMemoryLimit
from exporter.web.stream import NotTls, Stream

log = structlog.stdlib.get_logger(__name__)

HEADERS = (
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)
"""Sent with every answer."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """What one client may take, and in `room` all of them; times in seconds, sizes in bytes."""

    head_bytes: int = 16 * 1024
    headers: int = 100
    body_bytes: int = 64 * 1024
    read_seconds: float = 5.0
    """For a whole request, from its first byte on; for the first one, from the connection on, with its handshake."""
    idle_seconds: float = 120.0
    """Between two requests; longer than the usual scrape intervals, so that Prometheus can keep its connection."""
    write_seconds: float = 30.0
    """For a whole answer."""
    linger_seconds: float = 0.5
    """Between the last answer and closing."""
    room: ResponseLimits = field(default_factory=ResponseLimits)
    """For answers on their way."""


class TooLarge(Exception):
    """A request has more headers or a larger body than is read; `status` says which."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class RequestHandler(Protocol):
    """What a connection serves, and to whom."""

    @property
    def outbox(self) -> ResponseMemoryLimit:
        """The room for answers on their way, which all connections share."""
        ...

    def current(self) -> WebSettings:
        """What protects the site now."""
        ...

    def refusal(self, request: Request, settings: WebSettings) -> Response | None:
        """Why a request is not let in, decided on its head alone; None when it is."""
        ...

    def answer(self, request: Request) -> Response:
        """The answer to a request that was let in."""
        ...

    def answered(self, status: HTTPStatus) -> None:
        """Whoever asked is answered now, with this status."""
        ...


class Connection:
    """Serves the requests of one connection, one after the other."""

    def __init__(self, sock: socket.socket, site: RequestHandler, clock: Clock, bounds: Timeouts) -> None:
        self._stream = Stream(sock, clock)
        self._site = site
        self._settings = WebSettings()
        self._clock = clock
        self._bounds = bounds
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=bounds.head_bytes)
        self._deadline = clock.monotonic() + bounds.read_seconds
        self._last = False
        self.idle = False
        """Between two requests: nobody waits for an answer."""

    def serve(self) -> None:
        """Answer until either side closes; returns when the connection is of no more use."""
        try:
            if self._open():
                while self._serve_one():
                    self._http.start_next_cycle()
                    self._wait_for_more()
        except OSError as error:
            # Gone, too slow, or not to be agreed with on TLS: there is nobody to tell.
            log.debug("connection ended", reason=getattr(error, "reason", None) or type(error).__name__)
            return
        with suppress(OSError):  # all was said: a client may be gone, and need not wait until we are
            self._stream.finish(self._clock.monotonic() + self._bounds.linger_seconds)

    def _open(self) -> bool:
        """Shake hands where TLS is spoken; whether the client may ask anything."""
        self._settings = self._site.current()
        tls = self._settings.tls
        try:
            admitted = tls is None or client_certificate_allowed(tls, self._stream.secure(tls.context, self._deadline))
        except NotTls as error:
            if error.told:
                self._site.answered(HTTPStatus.BAD_REQUEST)
            return False
        if not admitted:
            log.debug("connection ended", reason="the client's certificate has no name that is allowed")
        return admitted

    def _is_outdated(self) -> bool:
        """Take over what is in force now; whether a client that connected before must prove anew that it may."""
        before, self._settings = self._settings.tls, self._site.current()
        now = self._settings.tls
        if before == now:
            return False
        self._last = True
        return before is None or now is None or before.demands != now.demands

    def _serve_one(self) -> bool:
        try:
            head = self._next()
            if not isinstance(head, h11.Request):
                return False
            if self._is_outdated():
                return False  # unanswered and closed in between, it is for clients to ask again
            request = self._request(head)
            refused = self._site.refusal(request, self._settings)
            if refused is None:
                self._drop_body(request)
        except h11.RemoteProtocolError as error:
            self._send(text(HTTPStatus(error.error_status_hint), "bad request"), head_only=False)
            return False
        except TooLarge as error:
            self._send(text(error.status, error.status.phrase.lower()), head_only=False)
            return False
        except ValueError:
            self._send(text(HTTPStatus.BAD_REQUEST, "bad request"), head_only=False)
            return False
        status = self._reply(request, refused)
        log.debug("request answered", method=request.method, path=request.path, status=status.value)
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE and not self._last

    def _request(self, head: h11.Request) -> Request:
        """The request by its head. Raises `TooLarge` and `ValueError`."""
        if len(head.headers) > self._bounds.headers:
            raise TooLarge(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        method = head.method.decode("ascii")
        path, query = parse_target(head.target.decode("ascii"))
        headers: dict[str, str] = {}
        for name, value in head.headers:
            key, shown = name.decode("ascii"), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {shown}" if key in headers else shown
        if {"content-length", "transfer-encoding"} <= headers.keys():
            raise ValueError("where the body ends is in doubt")  # RFC 9112, 6.1: someone may be smuggling
        return Request(method, path, query, headers)

    def _drop_body(self, request: Request) -> None:
        """Read the body and forget it: no route takes one. Raises `TooLarge` and h11's errors."""
        if int(request.headers.get("content-length", 0)) > self._bounds.body_bytes:
            raise TooLarge(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        if self._http.they_are_waiting_for_100_continue:
            return
        size = 0
        while isinstance(event := self._next(), h11.Data):
            size += len(event.data)
            if size > self._bounds.body_bytes:
                raise TooLarge(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)

    def _next(self) -> h11.Event | type[h11.PAUSED]:
        """The next thing the client sends.

        Raises `TimeoutError` when the deadline passes and h11's errors when it is not HTTP.
        """
        while (event := self._http.next_event()) is h11.NEED_DATA:
            self._http.receive_data(self._stream.receive(self._deadline))
        return event  # type: ignore[return-value] # mypy does not see that NEED_DATA is ruled out

    def _wait_for_more(self) -> None:
        """Wait for the next request to begin; only then does its own deadline run."""
        if not self._http.trailing_data[0]:
            self._deadline = self._clock.monotonic() + self._bounds.idle_seconds
            self.idle = True
            self._http.receive_data(self._stream.receive(self._deadline))
            self.idle = False
        self._deadline = self._clock.monotonic() + self._bounds.read_seconds

    def _reply(self, request: Request, refused: Response | None) -> HTTPStatus:
        """Answer, be it that there is no room for the answer; which status that was."""
        head_only = request.method == "HEAD"
        response = self._site.answer(request) if refused is None else refused
        with self._site.outbox.room_for(b"" if head_only else response.body, self._stream.give_up) as granted:
            if granted:
                self._send(response, head_only=head_only)
                return response.status
        # In the place of the other one, which no longer takes memory while a client does not read even this.
        response = text(HTTPStatus.SERVICE_UNAVAILABLE, "too many answers are on their way", ("Retry-After", "1"))
        self._send(response, head_only=head_only)
        return response.status

    def _send(self, response: Response, *, head_only: bool) -> None:
        headers = [
            ("Date", formatdate(self._clock.wall(), usegmt=True)),
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            *_merge_headers((*HEADERS, *response.headers), self._settings.headers),
        ]
        if self._http.their_state is not h11.DONE or self._last:
            headers.append(("Connection", "close"))
        head = self._http.send(
            h11.Response(status_code=response.status.value, headers=headers, reason=response.status.phrase)
        )
        body = b"" if head_only else response.body
        if body:
            self._http.send_with_data_passthrough(h11.Data(data=body))  # which gives it back as it is
        self._http.send(h11.EndOfMessage())
        deadline = self._clock.monotonic() + self._bounds.write_seconds
        self._site.answered(response.status)
        self._stream.send(head or b"", body, deadline)


def _merge_headers(headers: tuple[tuple[str, str], ...], configured: Mapping[str, str]) -> list[tuple[str, str]]:
    """The headers, with those that the operator has configured in the place of ours."""
    theirs = {name.lower() for name in configured}
    return [*((name, value) for name, value in headers if name.lower() not in theirs), *configured.items()]
