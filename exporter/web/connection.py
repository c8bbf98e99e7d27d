"""One connection from accept to close: h11 reads and writes HTTP, this bounds what a client may take.

h11 refuses whatever is not HTTP/1.1 and keeps heads within a fixed size; every read and write here has
a deadline as a whole, so that a client who sends a byte now and then does not hold a thread for ever.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus

import h11
import structlog

from exporter.clock import Clock
from exporter.web.messages import Request, Response, parse_target, text

log = structlog.stdlib.get_logger(__name__)

HEADERS = (
    ("Cache-Control", "no-store"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)
"""Sent with every answer."""

_CHUNK = 16 * 1024


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one client may take; times in seconds, sizes in bytes."""

    head_bytes: int = 16 * 1024
    headers: int = 100
    body_bytes: int = 64 * 1024
    read_seconds: float = 5.0
    """For a whole request, from its first byte on; for the first one, from the connection on."""
    idle_seconds: float = 120.0
    """Between two requests; longer than the usual scrape intervals, so that Prometheus can keep its connection."""
    write_seconds: float = 30.0
    """For a whole answer."""
    linger_seconds: float = 0.5
    """Between the last answer and closing."""


class TooLarge(Exception):
    """A request has more headers or a larger body than is read; `status` says which."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class Connection:
    """Serves the requests of one connection, one after the other."""

    def __init__(
        self, sock: socket.socket, handle: Callable[[Request], Response], clock: Clock, bounds: Bounds
    ) -> None:
        self._sock = sock
        self._handle = handle
        self._clock = clock
        self._bounds = bounds
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=bounds.head_bytes)
        self._deadline = clock.monotonic() + bounds.read_seconds
        self.idle = False
        """Between two requests: nobody waits for an answer."""

    def serve(self) -> None:
        """Answer until either side closes; returns when the connection is of no more use."""
        try:
            while self._serve_one():
                self._http.start_next_cycle()
                self._wait_for_more()
            self._linger()
        except OSError:
            return  # gone or too slow: there is nobody to tell

    def _serve_one(self) -> bool:
        try:
            head = self._next()
            if not isinstance(head, h11.Request):
                return False
            request = self._request(head)
        except h11.RemoteProtocolError as error:
            self._send(text(HTTPStatus(error.error_status_hint), "bad request"), head_only=False)
            return False
        except TooLarge as error:
            self._send(text(error.status, error.status.phrase.lower()), head_only=False)
            return False
        except ValueError:
            self._send(text(HTTPStatus.BAD_REQUEST, "bad request"), head_only=False)
            return False
        response = self._handle(request)
        self._send(response, head_only=request.method == "HEAD")
        log.debug("request answered", method=request.method, path=request.path, status=response.status.value)
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    def _request(self, head: h11.Request) -> Request:
        """The request with its body read and dropped: no route takes one.

        Raises `TooLarge`, `ValueError` and h11's errors.
        """
        if len(head.headers) > self._bounds.headers:
            raise TooLarge(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        method = head.method.decode("ascii")
        path, query = parse_target(head.target.decode("ascii"))
        headers: dict[str, str] = {}
        for name, value in head.headers:
            key, shown = name.decode("ascii"), value.decode("latin-1")
            headers[key] = f"{headers[key]}, {shown}" if key in headers else shown
        self._drop_body()
        return Request(method, path, query, headers)

    def _drop_body(self) -> None:
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
            self._http.receive_data(self._receive())
        return event  # type: ignore[return-value] # mypy does not see that NEED_DATA is ruled out

    def _receive(self) -> bytes:
        left = self._deadline - self._clock.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        return self._sock.recv(_CHUNK)

    def _wait_for_more(self) -> None:
        """Wait for the next request to begin; only then does its own deadline run."""
        if not self._http.trailing_data[0]:
            self._deadline = self._clock.monotonic() + self._bounds.idle_seconds
            self.idle = True
            self._http.receive_data(self._receive())
            self.idle = False
        self._deadline = self._clock.monotonic() + self._bounds.read_seconds

    def _linger(self) -> None:
        """Read what the client still sends, for a moment: closing before would take the answer back."""
        self._sock.shutdown(socket.SHUT_WR)
        self._deadline = self._clock.monotonic() + self._bounds.linger_seconds
        while self._receive():
            pass

    def _send(self, response: Response, *, head_only: bool) -> None:
        headers = [
            ("Date", formatdate(self._clock.wall(), usegmt=True)),
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            *HEADERS,
            *response.headers,
        ]
        if self._http.their_state is not h11.DONE:
            headers.append(("Connection", "close"))
        head = h11.Response(status_code=response.status.value, headers=headers, reason=response.status.phrase)
        pieces = [self._http.send(head)]
        if not head_only:
            pieces.append(self._http.send(h11.Data(data=response.body)))
        pieces.append(self._http.send(h11.EndOfMessage()))
        # The time a socket gives sendall is for all of it, however slowly the client reads.
        self._sock.settimeout(self._bounds.write_seconds)
        self._sock.sendall(b"".join(piece for piece in pieces if piece))
