"""HTTP server of the emulator: the standard library's threading server, with keep-alive, on loopback only."""

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
from exporter.emulator.errors import HttpResponse
from exporter.emulator.service import Service

_POLL_SECONDS = 0.05
"""Interval at which the server checks for a shutdown request."""


class Server:
    """HTTP server of a `Service`, with one thread per connection."""

    def __init__(self, service: Service, host: str, port: int) -> None:
        _require_loopback(host)
        self._server = _ConnectionServer((host, port), service)
        self._thread = Thread(
            target=self._server.serve_forever, args=(_POLL_SECONDS,), name="emulator-server", daemon=True
        )

    @property
    def url(self) -> str:
        """Endpoint URL of the server."""
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    def start(self) -> None:
        """Start the server."""
        self._thread.start()

    def close(self) -> None:
        """Stop the server and close all connections."""
        if self._thread.ident is not None:  # shutdown() blocks forever if the server was never started
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


def _require_loopback(host: str) -> None:
    """Raise `ValueError` for a host that is not loopback: the emulator does not authenticate clients."""
    if not ip_address(host).is_loopback:
        raise ValueError(f"the emulator listens on loopback only, not on {host}")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # buffered, so that head and body leave in one packet
    server: _ConnectionServer

    def do_POST(self) -> None:
        """Handle one request to any emulated AWS service."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        request = HttpRequest(self.headers.get("X-Amz-Target"), self.headers.get("Authorization"), body)
        response = self.server.service.handle(request)
        if response is None:
            self.close_connection = True
        else:
            self._send(response)

    def _send(self, response: HttpResponse) -> None:
        self.send_response_only(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        self.wfile.write(response.body)

    def log_message(self, *_: Any) -> None:
        """Do nothing: the request log records requests."""


class _ConnectionServer(ThreadingTCPServer):
    """Threading server that tracks its connections, so that closing it ends their threads immediately."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], service: Service) -> None:
        self.service = service
        self._connections: set[socket.socket] = set()
        self._connections_lock = Lock()
        super().__init__(address, _Handler)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection until it is closed."""
        with self._connections_lock:
            self._connections.add(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._connections_lock:
                self._connections.discard(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a client that disconnects during a request; report other errors."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def server_close(self) -> None:
        """Close the listener and all open connections."""
        super().server_close()
        with self._connections_lock:
            for connection in self._connections:
                with suppress(OSError):  # the client has already closed it
                    connection.shutdown(socket.SHUT_RDWR)
