"""Server on loopback that sends the same response to every request, and records the requests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class CannedServer(ThreadingHTTPServer):
    """Sends `status` and `body`; if `stalled`, only when it is closed."""

    daemon_threads = True

    def __init__(self, body: bytes, status: int = 200, *, stalled: bool = False, length: int | None = None) -> None:
        """Send `length` as Content-Length instead of the length of the body."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.body = body
        self.status = status
        self.length = len(body) if length is None else length
        self.requests: list[bytes] = []
        """Bodies of the requests."""
        self.go_on = threading.Event()
        if not stalled:
            self.go_on.set()

    @property
    def url(self) -> str:
        """URL of the server."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: CannedServer

    def do_POST(self) -> None:
        self.server.requests.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.go_on.wait()
        self.send_response_only(self.server.status)
        self.send_header("Content-Length", str(self.server.length))
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: Any) -> None:
        """Log nothing."""

    def handle_one_request(self) -> None:
        """Ignore a connection that the client has closed."""
        try:
            super().handle_one_request()
        except ConnectionError:
            self.close_connection = True


@contextmanager
def answering(
    body: bytes, status: int = 200, *, stalled: bool = False, length: int | None = None
) -> Iterator[CannedServer]:
    """Run a server with this response."""
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
