"""Servers on loopback for the lean client: an AWS endpoint that records its connections, and a forward proxy."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar


@dataclass(frozen=True, slots=True)
class Request:
    connection: int
    """Number of the connection, from 1."""
    headers: dict[str, str]
    """Headers with names in lower case."""
    body: bytes
    line: str
    """Request line."""


@dataclass(frozen=True, slots=True)
class Reply:
    body: bytes = b"{}"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    chunked: bool = False
    raw: bytes | None = None
    """Sent instead, byte for byte."""
    hang_up: bool = False
    """Close the connection afterwards, without a header that says so."""


class AwsServer(ThreadingHTTPServer):
    """Sends the result of `reply` and keeps connections alive."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, reply: Callable[[Request], Reply], tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _AwsHandler)
        self.reply = reply
        self.tls = tls
        self.requests: list[Request] = []
        self.connections = 0
        self.open: set[socket.socket] = set()
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def hang_up(self) -> None:
        """Close every connection that is open now."""
        with self.lock:
            for connection in self.open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that refuses a certificate or goes away is what some tests want."""


class _AwsHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: AwsServer

    def setup(self) -> None:
        if self.server.tls is not None:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        with self.server.lock:
            self.server.connections += 1
            self.number = self.server.connections
            self.server.open.add(self.request)
        super().setup()

    def finish(self) -> None:
        with self.server.lock:
            self.server.open.discard(self.request)
        super().finish()
        self.request.close()  # the server knows only the socket without TLS

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.number, headers, body, self.requestline)
        with self.server.lock:
            self.server.requests.append(request)
        self._send(self.server.reply(request))

    def _send(self, reply: Reply) -> None:
        self.close_connection = self.close_connection or reply.hang_up
        if reply.raw is not None:
            self.wfile.write(reply.raw)
            return
        self.send_response_only(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(reply.body), reply.body)
        else:
            self.send_header("Content-Length", str(len(reply.body)))
            body = reply.body
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class ProxyServer(ThreadingHTTPServer):
    """Forward proxy that connects to one address for every host, and records its requests."""

    daemon_threads = True

    def __init__(self, target: int, tls: ssl.SSLContext | None, refusal: int | None) -> None:
        """Pass everything on to the port `target` on loopback; `refusal` is a status that no tunnel gets past."""
        super().__init__(("127.0.0.1", 0), _ProxyHandler)
        self.target = target
        self.tls = tls
        self.refusal = refusal
        self.requests: list[tuple[str, str | None]] = []
        """Method and target of each request line, and the Proxy-Authorization."""


class _ProxyHandler(BaseHTTPRequestHandler):
    server: ProxyServer

    def setup(self) -> None:
        if self.server.tls is not None:
            self.request = self.server.tls.wrap_socket(self.request, server_side=True)
        super().setup()

    def finish(self) -> None:
        super().finish()
        self.request.close()  # the server knows only the socket without TLS

    def do_CONNECT(self) -> None:
        self._note()
        self.send_response_only(self.server.refusal or 200)
        self.end_headers()
        if self.server.refusal is None:
            self._pump()
        self.close_connection = True

    def do_POST(self) -> None:
        self._note()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        kept = [f"{name}: {value}" for name, value in self.headers.items() if not name.lower().startswith("proxy-")]
        head = "\r\n".join([self.requestline, *kept, "Connection: close", "", ""])
        with socket.create_connection(("127.0.0.1", self.server.target)) as onward:
            onward.sendall(head.encode() + body)
            _pass_on(onward, self.connection)
        self.close_connection = True

    def _note(self) -> None:
        self.server.requests.append((f"{self.command} {self.path}", self.headers.get("Proxy-Authorization")))

    def _pump(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.target)) as onward:
            back = threading.Thread(target=_pass_on, args=(onward, self.connection), daemon=True)
            back.start()
            _pass_on(self.connection, onward)
            back.join()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


AnyServer = TypeVar("AnyServer", AwsServer, ProxyServer)


@contextmanager
def _running(server: AnyServer) -> Iterator[AnyServer]:
    serving = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    serving.start()
    try:
        yield server
    finally:
        if isinstance(server, AwsServer):
            server.hang_up()
        server.shutdown()
        serving.join()
        server.server_close()


@contextmanager
def aws(
    reply: Callable[[Request], Reply] = lambda _: Reply(), tls: ssl.SSLContext | None = None
) -> Iterator[AwsServer]:
    """Run a server for Cognito or STS."""
    with _running(AwsServer(reply, tls)) as server:
        yield server


@contextmanager
def proxy(target: AwsServer, tls: ssl.SSLContext | None = None, *, refusal: int | None = None) -> Iterator[ProxyServer]:
    """Run a proxy for a server."""
    with _running(ProxyServer(target.server_port, tls, refusal)) as server:
        yield server
