from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
import urllib3.exceptions as http
from botocore.config import Config

from exporter.aws.lean.transport import Transport
from exporter.clock import SystemClock
from tests.integration.lean_server import Reply, aws


@contextmanager
def slow_server(interval: float) -> Iterator[str]:
    """Server that starts a response and then sends one byte per `interval` seconds."""
    stopped = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
            while not stopped.wait(interval):
                connection.sendall(b" ")

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        stopped.set()
        thread.join()


def test_slow_response_ends_with_a_read_timeout() -> None:
    with slow_server(0.05) as url:
        transport = Transport(url, Config(read_timeout=0.5, connect_timeout=1, proxies={}), None, SystemClock())
        started = time.monotonic()
        with pytest.raises(http.ReadTimeoutError):
            transport.post({}, b"{}")
        assert time.monotonic() - started < 3


def test_read_timeout_is_restored_after_a_response_in_parts() -> None:
    with aws(lambda _: Reply(b" " * 1_000_000)) as server:
        transport = Transport(server.url, Config(read_timeout=7, connect_timeout=1, proxies={}), None, SystemClock())
        transport.post({}, b"{}")
        connection = transport._connections.acquire()
        assert connection.sock.gettimeout() == 7
        connection.close()
