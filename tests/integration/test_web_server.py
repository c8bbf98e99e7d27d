from __future__ import annotations

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http import HTTPStatus
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from exporter.clock import SystemClock
from exporter.options import ListenAddress
from exporter.web.access import Authenticator
from exporter.web.connection import ConnectionLimits
from exporter.web.handler import RequestHandler
from exporter.web.messages import Request, Response, Route, text
from exporter.web.response_memory import ResponseLimits
from exporter.web.routes import MAX_SCRAPES
from exporter.web.server import MAX_CONNECTIONS, WebServer, _refuse
from tests.fakes import eventually

LOOPBACK = ListenAddress("127.0.0.1", 0)
LARGE = 2_000_000
"""More bytes than the kernel buffers for a client that does not read."""
SHORT_TIMEOUTS = ConnectionLimits(read_seconds=0.3, idle_seconds=0.3, linger_seconds=0.1)


def _fail(_request: Request) -> Response:
    raise ZeroDivisionError


ROUTES = {
    "/": Route(lambda request: text(HTTPStatus.OK, f"{request.method} {dict(request.query)}")),
    "/post": Route(lambda _: text(HTTPStatus.OK, "posted"), methods=("POST",)),
    "/fail": Route(_fail),
    "/large": Route(lambda _: Response(HTTPStatus.OK, bytes(bytearray(LARGE)))),
}


def handler(routes: dict[str, Route], on_error: Callable[[], None] = lambda: None) -> RequestHandler:
    return RequestHandler(routes, Authenticator(SystemClock()), on_error=on_error)


@contextmanager
def served(
    *addresses: ListenAddress,
    limits: ConnectionLimits | None = None,
    max_connections: int = 10,
    routes: dict[str, Route] | None = None,
    on_error: Callable[[], None] = lambda: None,
) -> Iterator[WebServer]:
    server = WebServer(
        addresses or (LOOPBACK,),
        handler(routes or ROUTES, on_error),
        SystemClock(),
        limits=limits,
        max_connections=max_connections,
    )
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _connect(server: WebServer) -> socket.socket:
    address = server.bound[0]
    return socket.create_connection((address.host, address.port), timeout=10)


def _exchange(server: WebServer, sent: bytes) -> bytes:
    """Send bytes and return what the server sends until it closes."""
    with _connect(server) as sock:
        sock.sendall(sent)
        return b"".join(iter(lambda: sock.recv(65536), b""))


def _get(server: WebServer, path: str = "/", method: str = "GET") -> tuple[int, bytes]:
    address = server.bound[0]
    client = http.client.HTTPConnection(address.host, address.port, timeout=10)
    try:
        client.request(method, path)
        response = client.getresponse()
        return response.status, response.read()
    finally:
        client.close()


def test_server_listens_on_several_addresses() -> None:
    with served(LOOPBACK, ListenAddress("::1", 0), ListenAddress("", 0)) as server:
        hosts = [address.host for address in server.bound]
        assert hosts[:2] == ["127.0.0.1", "::1"]
        assert all(address.port for address in server.bound)
        for address in (*server.bound[:2], ListenAddress("127.0.0.1", server.bound[2].port)):
            client = http.client.HTTPConnection(address.host, address.port, timeout=10)
            client.request("GET", "/")
            assert client.getresponse().status == 200
            client.close()


def test_address_in_use_is_an_error() -> None:
    with served() as server:
        taken = server.bound[0]
        other = WebServer([LOOPBACK, taken], handler(ROUTES), SystemClock())
        with pytest.raises(OSError, match="in use") as refused:
            other.start()
        assert str(refused.value) == f"cannot listen on {taken}: Address already in use"


@pytest.mark.parametrize("host", ["a..b", "a" * 64])
def test_invalid_host_name_is_an_error_with_the_address(host: str) -> None:
    server = WebServer([ListenAddress(host, 80)], handler(ROUTES), SystemClock())
    with pytest.raises(OSError, match="cannot listen on") as refused:
        server.start()
    said = "invalid host name, a label is empty or longer than 63 characters"
    assert str(refused.value) == f"cannot listen on {host}:80: {said}"


def test_unknown_host_is_an_error_of_the_resolver() -> None:
    nowhere = ListenAddress("fe80::1%no-such-interface", 0)  # resolved without a DNS request
    server = WebServer([nowhere], handler(ROUTES), SystemClock())
    with pytest.raises(OSError, match="Name or service not known") as refused:
        server.start()
    assert str(refused.value) == f"cannot listen on {nowhere}: Name or service not known"


def test_connection_serves_many_requests() -> None:
    with served() as server:
        address = server.bound[0]
        client = http.client.HTTPConnection(address.host, address.port, timeout=10)
        client.connect()
        mine = client.sock
        for _ in range(3):
            client.request("GET", "/?name[]=a&name%5B%5D=b")
            assert client.getresponse().read() == b"GET {'name[]': ['a', 'b']}\n"
            assert client.sock is mine
        client.close()


def test_head_has_the_headers_of_get_and_no_body() -> None:
    with served() as server:
        raw = _exchange(server, b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head, _, body = raw.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nContent-Length: 8" in head
        assert body == b""
        assert b"\r\nX-Content-Type-Options: nosniff" in head
        assert b"\r\nDate: " in head
        assert b"Server:" not in head


def test_pipelined_requests_are_answered_in_order() -> None:
    with served() as server:
        raw = _exchange(server, b"GET /?n=1 HTTP/1.1\r\nHost: x\r\n\r\nGET /?n=2 HTTP/1.0\r\n\r\n")
        assert raw.index(b"'n': ['1']") < raw.index(b"'n': ['2']")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", 400),
        (b"hello\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\n bad: fold\r\nA\x00: b\r\n\r\n", 400),
        (b"GET /" + b"a" * 20_000, 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"".join(b"A%d: b\r\n" % n for n in range(101)) + b"\r\n", 431),
        (b"POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"a" * 70_000, 413),
        (b"POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n", 413),
        (b"POST /post HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 65537\r\n\r\n", 413),
        (b"POST /post HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n11170\r\n" + b"a" * 70_000, 413),
        (b"POST /post HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 65536\r\n\r\n" + b"a" * 65_536, 200),
        (b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405),
        (b"BREW / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
        (b"GET /none HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
        (b"POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", 200),
        (b"POST /post HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", 200),
        (b"GET http://any/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: Upgrade, close\r\n\r\n", 200),
    ],
)
def test_request_gets_the_expected_status(sent: bytes, status: int) -> None:
    with served(limits=ConnectionLimits(linger_seconds=0.1)) as server:
        assert _exchange(server, sent).startswith(b"HTTP/1.1 %d " % status)
        assert _get(server)[0] == 200


def test_too_large_body_is_rejected_before_it_is_sent() -> None:
    with served() as server, _connect(server) as sock:
        started = time.monotonic()
        sock.sendall(b"POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n")
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"\r\nConnection: close\r\n" in answer
        assert time.monotonic() - started < ConnectionLimits().read_seconds / 2


@pytest.mark.parametrize(
    "lengths",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"transfer-encoding: Chunked\r\ncontent-length: 0\r\n",
    ],
)
def test_request_with_two_lengths_closes_the_connection(lengths: bytes) -> None:
    smuggled = b"0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with served(limits=ConnectionLimits(linger_seconds=0.1)) as server:
        answer = _exchange(server, b"POST /post HTTP/1.1\r\nHost: x\r\n" + lengths + b"\r\n" + smuggled)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.count(b"HTTP/1.1 ") == 1


def test_unexpected_error_is_logged_and_gets_500() -> None:
    failures: list[int] = []
    with capture_logs() as logs, served(on_error=lambda: failures.append(1)) as server:
        assert _get(server, "/fail") == (500, b"internal error, see the log\n")
        assert _get(server)[0] == 200
    assert len(failures) == 1
    (entry,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert (entry["event"], entry["path"], entry["exc_info"]) == ("unexpected error in request", "/fail", True)


def test_silent_client_is_disconnected() -> None:
    with served(limits=SHORT_TIMEOUTS) as server, _connect(server) as sock:
        assert sock.recv(1) == b""


def test_client_sending_byte_by_byte_is_disconnected() -> None:
    with served(limits=SHORT_TIMEOUTS) as server, _connect(server) as sock:
        started = time.monotonic()
        sock.settimeout(0.02)
        closed = False
        while not closed and time.monotonic() - started < 10:
            try:
                sock.sendall(b"G")
                closed = sock.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                closed = True
        assert closed
        assert time.monotonic() - started < 5


def test_idle_connection_is_closed() -> None:
    with served(limits=SHORT_TIMEOUTS) as server, _connect(server) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"".join(iter(lambda: sock.recv(65536), b"")).startswith(b"HTTP/1.1 200 ")


def test_connection_beyond_the_limit_gets_503() -> None:
    with served(max_connections=2) as server, _connect(server) as first, _connect(server) as second:
        for sock in (first, second):
            sock.sendall(b"GET / HTTP/1.1\r\n")
        with _connect(server) as third:
            refused = third.recv(65536)
            assert refused.startswith(b"HTTP/1.1 503 ")
            assert b"Retry-After: 1" in refused
        for sock in (first, second):
            sock.sendall(b"Host: x\r\n\r\n")
            assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")


def _request_without_reading(server: WebServer, stack: ExitStack, path: str = "/large") -> socket.socket:
    sock = stack.enter_context(socket.socket())
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(10)
    sock.connect((server.bound[0].host, server.bound[0].port))
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert sock.recv(12) == b"HTTP/1.1 200"
    return sock


def test_unread_responses_are_limited_in_memory() -> None:
    long_lived = ResponseLimits(total_bytes=2 * LARGE, min_seconds=60)
    with served(limits=ConnectionLimits(responses=long_lived, linger_seconds=0.1)) as server, ExitStack() as stack:
        held = [_request_without_reading(server, stack) for _ in range(2)]
        refused = _exchange(server, b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in refused
        only_head = _exchange(server, b"HEAD /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert only_head.startswith(b"HTTP/1.1 200 "), "without a body, no memory is needed"
        assert _get(server)[0] == 200, "small responses are always sent"
        held[0].close()
        assert eventually(lambda: _get(server, "/large")[0] == 200)
        assert len(_read_rest(held[1])) > LARGE, "the slow client receives the whole response"


def test_unread_response_is_evicted_for_another_client() -> None:
    short_lived = ResponseLimits(total_bytes=2 * LARGE, min_seconds=0.2)
    with served(limits=ConnectionLimits(responses=short_lived)) as server, ExitStack() as stack:
        first, second = (_request_without_reading(server, stack) for _ in range(2))
        assert eventually(lambda: _get(server, "/large") == (200, bytes(LARGE)))
        assert len(_read_rest(first)) < LARGE
        assert len(_read_rest(second)) > LARGE, "evicting one was enough"


def _read_rest(sock: socket.socket) -> bytes:
    """Return what the server sends until it closes or pauses."""
    sock.settimeout(1)
    received = bytearray()
    with suppress(OSError):
        while piece := sock.recv(65536):
            received += piece
    return bytes(received)


def test_idle_connection_is_evicted_at_the_limit() -> None:
    with served(max_connections=2) as server, _connect(server) as first, _connect(server) as second:
        for sock in (first, second):
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert eventually(lambda: _get(server)[0] == 200)
        assert first.recv(1) == b""
        second.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert second.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_connection_without_a_thread_gets_503() -> None:
    with served() as server:
        usual = threading.stack_size(1 << 46)  # more than the address space, so no thread can start
        try:
            assert _get(server)[0] == 503
        finally:
            threading.stack_size(usual)
        assert _get(server)[0] == 200


def test_503_at_the_limit_arrives_despite_an_unread_request() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname(), timeout=10) as client,
    ):
        accepted, _ = listener.accept()
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert accepted.recv(1, socket.MSG_PEEK) == b"G"
        _refuse(accepted, plain=True)
        assert b"".join(iter(lambda: client.recv(65536), b"")).startswith(b"HTTP/1.1 503 ")


def test_stop_waits_for_a_response_in_flight_only() -> None:
    started_response = threading.Event()
    may_finish = threading.Event()

    def slow(_request: Request) -> Response:
        started_response.set()
        may_finish.wait(10)
        return text(HTTPStatus.OK, "done")

    server = WebServer([LOOPBACK], handler({"/": Route(slow)}), SystemClock())
    server.start()
    where = (server.bound[0].host, server.bound[0].port)
    with _connect(server) as silent, _connect(server) as busy:
        busy.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert started_response.wait(10)
        stopper = threading.Thread(target=server.stop)
        started = time.monotonic()
        stopper.start()
        may_finish.set()
        assert b"done" in busy.recv(65536)
        stopper.join(10)
        assert time.monotonic() - started < 2
        assert silent.recv(1) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(where, timeout=10).close()


def test_limits_match_the_documentation() -> None:
    limits = ConnectionLimits()
    section = " ".join(
        documented("docs/web-configuration.md").split("## Limits of the web server")[1].split("\n## ")[0].split()
    )
    responses = limits.responses
    for documented_limit in (
        f"| {MAX_CONNECTIONS} connections |",
        f"| {limits.head_bytes // 1024} KiB of an incomplete request head, {limits.headers} headers |",
        f"| {limits.body_bytes // 1024} KiB of request body |",
        f"| {limits.read_seconds:.0f} s for a whole request",
        f"| {limits.idle_seconds:.0f} s between two requests |",
        f"| {limits.write_seconds:.0f} s for a whole response |",
        f"| {MAX_SCRAPES} concurrent scrapes",
        f"| {responses.total_bytes // 2**20} MiB of responses in flight, or {responses.min_bodies} responses of any",
        f"up to {responses.uncounted_bytes // 1024} KiB each",
    ):
        assert documented_limit in section


def documented(path: str) -> str:
    return (Path(__file__).parents[2] / path).read_text(encoding="utf-8")
