"""The HTTP side: a threading server of the standard library, with keep-alive, on loopback only."""

from __future__ import annotations

import socket
import sys
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from ipaddress import ip_address
from socketserver import ThreadingTCPServer
from threading import Lock, Thread
from typing import Any

from exporter.emulator.calls import HttpRequest
from exporter.emulator.errors import Answer
from exporter.emulator.service import Service

_POLL_SECONDS = 0.05
"""How soon the server notices that it is to stop."""


class Server:
    """Serves a `Service` from threads of its own, one per connection."""

    def __init__(self, service: Service, host: str, port: int) -> None:
        _require_loopback(host)
        self._server = _ConnectionServer((host, port), service)
        self._thread = Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="emulator-server", daemon=True
        )

    @property
    def url(self) -> str:
        """Where the server listens, as an endpoint URL."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """Stop, and close every connection."""
        if self._thread.ident is not None:  # else it never served, and would never hear of the shutdown
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


def _require_loopback(host: str) -> None:
    """An emulator believes every caller, so that it is kept from the network."""
    if not ip_address(host).is_loopback:
        raise ValueError(f"the emulator listens on loopback only, not on {host}")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave in one packet
    server: _ConnectionServer

    def do_POST(self) -> None:
        """Answer one request of any AWS service that is emulated."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = HttpRequest(self.headers.get("X-Amz-Target"), self.headers.get("Authorization"), body)
        answer = self.server.service.answer(request)
        if answer is None:
            self.close_connection = True
        else:
            self._send(answer)

    def _send(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the request log is where requests are noted."""


class _ConnectionServer(ThreadingTCPServer):
    """Knows its open connections, so that closing ends their threads at once."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], service: Service) -> None:
        self.service = service
        self._connections: set[socket.socket] = set()
        self._connections_lock = Lock()
        super().__init__(address, _Handler)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection until it ends."""
        with self._connections_lock:
            self._connections.add(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._connections_lock:
                self._connections.discard(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that went away in mid-request."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def server_close(self) -> None:
        """Close the listener and every open connection."""
        super().server_close()
        with self._connections_lock:
            for connection in self._connections:
                with suppress(OSError):  # the client was quicker
                    connection.shutdown(socket.SHUT_RDWR)
