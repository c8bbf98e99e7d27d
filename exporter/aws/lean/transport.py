"""One POST over a kept connection: one call is one request, without retries and redirects.

The connections are urllib3's (`exporter.aws.lean.connection_pool`); the answers are parsed by httptools, which is
Node.js's parser, llhttp.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import urllib3.exceptions as http
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from urllib3.connection import HTTPConnection

from exporter.aws.lean.connection_pool import ConnectionPool
from exporter.clock import Clock

MAX_BODY_BYTES = 4 * 1024 * 1024
"""Far beyond the largest page; more than that is no answer of Cognito, and must not fill the memory."""

_RECEIVED_BYTES = 65_536
_FIRST_FINAL_STATUS = 200


class ResponseTooLong(Exception):
    """An answer is longer than `MAX_BODY_BYTES`."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """An HTTP answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes = field(repr=False)


class Transport:
    """Connections to one URL; safe to use from many threads."""

    def __init__(self, url: str, config: Any, ca_bundle: str | None, clock: Clock) -> None:
        """Connect as the boto3 client of this `botocore.config.Config` would; `ca_bundle` is boto3's setting.

        The read timeout is the time until an answer begins, and then until it has come whole. Raises botocore's
        `SSLError` when the CA bundle cannot be read.
        """
        self._clock = clock
        self._read_timeout: float = config.read_timeout
        self._connections = ConnectionPool(url, config, ca_bundle)
        own = {"accept-encoding": "identity", **self._connections.headers}
        self._start = f"POST {self._connections.target} HTTP/1.1\r\n{_lines(own)}"

    def post(self, headers: Mapping[str, str], body: bytes) -> HttpResponse:
        """Send one request and read the answer; the headers are all but Content-Length and Accept-Encoding.

        Raises urllib3's `HTTPError`, `ResponseTooLong`, or `ValueError` when a header cannot be sent.
        """
        head = f"{self._start}{_lines(headers)}content-length: {len(body)}\r\n\r\n".encode("latin-1")
        connection = self._connections.take()
        answer = _Incoming()
        try:
            self._exchange(connection, head + body, answer)
        finally:
            if answer.complete and answer.keep_alive:
                self._connections.give_back(connection)
            else:
                connection.close()
        return HttpResponse(answer.status, answer.headers, b"".join(answer.parts))

    def _exchange(self, connection: HTTPConnection, request: bytes, answer: _Incoming) -> None:
        try:
            connection.sock.sendall(request)
            answer.read(connection, self._clock, self._read_timeout)
        except TimeoutError as error:
            raise http.ReadTimeoutError(self._connections.pool, None, "Read timed out.") from error
        except (OSError, HttpParserError, HttpParserUpgrade) as error:
            raise http.ProtocolError("Connection aborted.", error) from error


class _Incoming:
    """What httptools has read of an answer; it calls the methods `on_...`."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.parts: list[bytes] = []
        self.keep_alive = False
        self.complete = False
        self._received = 0
        self._parser = HttpResponseParser(self)

    def read(self, connection: HTTPConnection, clock: Clock, seconds: float) -> None:
        """Receive until the answer is complete, for so many seconds after its first piece at most.

        The connection's own timeout is for one piece: a server that sends a byte now and then would never meet it.
        """
        try:
            self._receive(connection)
            if not self.complete:
                deadline = clock.monotonic() + seconds
                while not self.complete:
                    left = deadline - clock.monotonic()
                    if left <= 0:
                        raise TimeoutError
                    connection.sock.settimeout(left)
                    self._receive(connection)
                connection.sock.settimeout(seconds)
        finally:
            del self._parser  # the two hold each other, and would hold the body until the next garbage collection

    def _receive(self, connection: HTTPConnection) -> None:
        data = connection.sock.recv(_RECEIVED_BYTES)
        if not data:
            self._end()
            return
        self._received += len(data)
        if self._received > MAX_BODY_BYTES:  # headers count too: nothing else bounds them
            raise ResponseTooLong
        self._parser.feed_data(data)

    def _end(self) -> None:
        """The server has closed the connection: that ends an answer that does not tell its length."""
        told = "content-length" in self.headers or "transfer-encoding" in self.headers
        if self.status < _FIRST_FINAL_STATUS or told:
            raise ConnectionResetError("closed in mid-answer")
        self.complete = True

    def on_message_begin(self) -> None:
        if self.complete:
            self.complete = False
            raise ValueError("an answer to no request")
        self.headers = {}  # those of a 100 Continue

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self.keep_alive = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self.parts.append(body)

    def on_message_complete(self) -> None:
        self.complete = self.status >= _FIRST_FINAL_STATUS


def _lines(headers: Mapping[str, str]) -> str:
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if not text.count("\r") == text.count("\n") == len(headers):
        raise ValueError("a header holds a line break")
    return text
