"""A server on loopback that gives every request the same answer, byte for byte, and counts what arrives."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class CannedServer(ThreadingHTTPServer):
    """Answers with `status` and `body`; with `stalled`, not before it is closed."""

    daemon_threads = True

    def __init__(self, body: bytes, status: int = 200, *, stalled: bool = False, length: int | None = None) -> None:
        """`length` is the Content-Length that is told, where it is not the true one."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body = body
        self.status = status
        self.length = len(body) if length is None else length
        self.arrived = 0
        self.go_on = threading.Event()
        if not stalled:
            self.go_on.set()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: CannedServer

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.arrived += 1
        self.server.go_on.wait()
        self.send_response_only(self.server.status)
        self.send_header("Content-Length", str(self.server.length))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def handle_one_request(self) -> None:
        """A client that lost patience is no error of the server."""
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True


@contextmanager
def answering(
    body: bytes, status: int = 200, *, stalled: bool = False, length: int | None = None
) -> Iterator[CannedServer]:
    """A server that answers so."""
    server = CannedServer(body, status, stalled=stalled, length=length)
    serving = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    serving.start()
    try:
        yield server
    finally:
        server.go_on.set()
        server.shutdown()
        serving.join()
        server.server_close()
