"""HTTP POST over pooled connections, without retries and redirects.

The connections are those of urllib3 (`exporter.aws.lean.connection_pool`). Responses are parsed by httptools, which
wraps llhttp, the parser of Node.js.
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
"""Limit of the length of a response, far above the largest page. Bounds the memory that a response can take."""

_RECV_BYTES = 65_536
_FIRST_FINAL_STATUS = 200


class ResponseTooLong(Exception):
    """The response is longer than `MAX_BODY_BYTES`."""


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """HTTP response, completely read."""

    status: int
    headers: Mapping[str, str]
    """Headers with names in lower case."""
    body: bytes = field(repr=False)


class Transport:
    """HTTP client for one URL. Thread-safe."""

    def __init__(self, url: str, config: Any, ca_bundle: str | None, clock: Clock) -> None:
        """Connect as a boto3 client with this `botocore.config.Config`; `ca_bundle` is the setting of boto3.

        The read timeout applies to the start of the response, and again to the rest of it. Raises botocore's `SSLError`
        if the CA bundle cannot be read.
        """
        self._clock = clock
        self._read_timeout: float = config.read_timeout
        self._connections = ConnectionPool(url, config, ca_bundle)
        constant = {"accept-encoding": "identity", **self._connections.headers}
        self._start = f"POST {self._connections.request_target} HTTP/1.1\r\n{_header_lines(constant)}"

    def post(self, headers: Mapping[str, str], body: bytes) -> HttpResponse:
        """Send a request with these headers, plus Content-Length and Accept-Encoding, and return the response.

        Raises urllib3's `HTTPError`, `ResponseTooLong`, or `ValueError` if a header is invalid.
        """
        head = f"{self._start}{_header_lines(headers)}content-length: {len(body)}\r\n\r\n".encode("latin-1")
        connection = self._connections.acquire()
        reader = _ResponseReader()
        try:
            self._exchange(connection, head + body, reader)
        finally:
            if reader.complete and reader.keep_alive:
                self._connections.release(connection)
            else:
                connection.close()
        return HttpResponse(reader.status, reader.headers, b"".join(reader.parts))

    def _exchange(self, connection: HTTPConnection, request: bytes, reader: _ResponseReader) -> None:
        try:
            connection.sock.sendall(request)
            reader.read(connection, self._clock, self._read_timeout)
        except TimeoutError as error:
            raise http.ReadTimeoutError(self._connections.urllib3_pool, None, "Read timed out.") from error
        except (OSError, HttpParserError, HttpParserUpgrade) as error:
            raise http.ProtocolError("Connection aborted.", error) from error


class _ResponseReader:
    """Reader of one response. httptools calls the `on_...` methods."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.parts: list[bytes] = []
        self.keep_alive = False
        self.complete = False
        self._received = 0
        self._parser = HttpResponseParser(self)

    def read(self, connection: HTTPConnection, clock: Clock, timeout: float) -> None:
        """Receive until the response is complete, at most `timeout` seconds after its first data.

        The timeout of the socket applies to each `recv`, so a server that sends slowly would never reach it.
        """
        try:
            self._receive(connection)
            if not self.complete:
                deadline = clock.monotonic() + timeout
                while not self.complete:
                    left = deadline - clock.monotonic()
                    if left <= 0:
                        raise TimeoutError
                    connection.sock.settimeout(left)
                    self._receive(connection)
                connection.sock.settimeout(timeout)
        finally:
            del self._parser  # breaks a reference cycle that would keep the body until the next garbage collection

    def _receive(self, connection: HTTPConnection) -> None:
        data = connection.sock.recv(_RECV_BYTES)
        if not data:
            self._end_of_stream()
            return
        self._received += len(data)
        if self._received > MAX_BODY_BYTES:  # includes the headers, which have no limit of their own
            raise ResponseTooLong
        self._parser.feed_data(data)

    def _end_of_stream(self) -> None:
        """Complete the response if its end is marked by the end of the connection."""
        has_length = "content-length" in self.headers or "transfer-encoding" in self.headers
        if self.status < _FIRST_FINAL_STATUS or has_length:
            raise ConnectionResetError("connection closed before the end of the response")
        self.complete = True

    def on_message_begin(self) -> None:
        if self.complete:
            self.complete = False
            raise ValueError("a response without a request")
        self.headers = {}  # discards those of a 100 Continue

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        self.keep_alive = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self.parts.append(body)

    def on_message_complete(self) -> None:
        self.complete = self.status >= _FIRST_FINAL_STATUS


def _header_lines(headers: Mapping[str, str]) -> str:
    text = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if not text.count("\r") == text.count("\n") == len(headers):
        raise ValueError("a header contains a line break")
    return text
