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
"""More than the kernel keeps for a client who does not read."""
HASTY = ConnectionLimits(read_seconds=0.3, idle_seconds=0.3, linger_seconds=0.1)


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


def _answer(server: WebServer, sent: bytes) -> bytes:
    """All that the server says to these bytes until it closes."""
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


def test_it_serves_on_several_addresses_and_says_which() -> None:
    with served(LOOPBACK, ListenAddress("::1", 0), ListenAddress("", 0)) as server:
        hosts = [address.host for address in server.bound]
        assert hosts[:2] == ["127.0.0.1", "::1"]
        assert all(address.port for address in server.bound)
        for address in (*server.bound[:2], ListenAddress("127.0.0.1", server.bound[2].port)):
            client = http.client.HTTPConnection(address.host, address.port, timeout=10)
            client.request("GET", "/")
            assert client.getresponse().status == 200
            client.close()


def test_an_address_in_use_is_refused_and_nothing_is_left_listening() -> None:
    with served() as server:
        taken = server.bound[0]
        other = WebServer([LOOPBACK, taken], handler(ROUTES), SystemClock())
        with pytest.raises(OSError, match="in use") as refused:
            other.start()
        assert str(refused.value) == f"cannot listen on {taken}: Address already in use"


@pytest.mark.parametrize("host", ["a..b", "a" * 64])
def test_a_host_that_no_name_can_be_is_refused_with_its_address(host: str) -> None:
    server = WebServer([ListenAddress(host, 80)], handler(ROUTES), SystemClock())
    with pytest.raises(OSError, match="cannot listen on") as refused:
        server.start()
    said = "invalid host name, a label is empty or longer than 63 characters"
    assert str(refused.value) == f"cannot listen on {host}:80: {said}"


def test_a_host_that_is_not_known_is_refused_in_the_words_of_the_resolver() -> None:
    nowhere = ListenAddress("fe80::1%no-such-interface", 0)  # no other machine is asked for its address
    server = WebServer([nowhere], handler(ROUTES), SystemClock())
    with pytest.raises(OSError, match="Name or service not known") as refused:
        server.start()
    assert str(refused.value) == f"cannot listen on {nowhere}: Name or service not known"


def test_one_connection_serves_many_requests() -> None:
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
        raw = _answer(server, b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head, _, body = raw.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nContent-Length: 8" in head
        assert body == b""
        assert b"\r\nX-Content-Type-Options: nosniff" in head
        assert b"\r\nDate: " in head
        assert b"Server:" not in head


def test_pipelined_requests_are_answered_in_order() -> None:
    with served() as server:
        raw = _answer(server, b"GET /?n=1 HTTP/1.1\r\nHost: x\r\n\r\nGET /?n=2 HTTP/1.0\r\n\r\n")
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
def test_whatever_is_sent_has_a_fitting_answer(sent: bytes, status: int) -> None:
    with served(limits=ConnectionLimits(linger_seconds=0.1)) as server:
        assert _answer(server, sent).startswith(b"HTTP/1.1 %d " % status)
        assert _get(server)[0] == 200


def test_a_body_that_is_too_large_is_refused_before_it_is_sent() -> None:
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
def test_a_request_with_two_lengths_is_refused_and_the_last_of_its_connection(lengths: bytes) -> None:
    smuggled = b"0\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with served(limits=ConnectionLimits(linger_seconds=0.1)) as server:
        answer = _answer(server, b"POST /post HTTP/1.1\r\nHost: x\r\n" + lengths + b"\r\n" + smuggled)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.count(b"HTTP/1.1 ") == 1


def test_an_unforeseen_error_is_a_500_without_details_logged_and_counted() -> None:
    failures: list[int] = []
    with capture_logs() as logs, served(on_error=lambda: failures.append(1)) as server:
        assert _get(server, "/fail") == (500, b"internal error, see the log\n")
        assert _get(server)[0] == 200
    assert len(failures) == 1
    (entry,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert (entry["event"], entry["path"], entry["exc_info"]) == ("request failed", "/fail", True)


def test_a_client_that_says_nothing_is_let_go() -> None:
    with served(limits=HASTY) as server, _connect(server) as sock:
        assert sock.recv(1) == b""


def test_a_client_that_drips_is_let_go_in_spite_of_every_byte() -> None:
    with served(limits=HASTY) as server, _connect(server) as sock:
        started = time.monotonic()
        sock.settimeout(0.02)
        gone = False
        while not gone and time.monotonic() - started < 10:
            try:
                sock.sendall(b"G")
                gone = sock.recv(1) == b""
            except TimeoutError:
                continue
            except OSError:
                gone = True
        assert gone
        assert time.monotonic() - started < 5


def test_an_idle_connection_is_let_go() -> None:
    with served(limits=HASTY) as server, _connect(server) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"".join(iter(lambda: sock.recv(65536), b"")).startswith(b"HTTP/1.1 200 ")


def test_more_connections_than_allowed_are_told_to_come_back() -> None:
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


def _asks_and_never_reads(server: WebServer, stack: ExitStack, path: str = "/large") -> socket.socket:
    sock = stack.enter_context(socket.socket())
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(10)
    sock.connect((server.bound[0].host, server.bound[0].port))
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert sock.recv(12) == b"HTTP/1.1 200"
    return sock


def test_answers_that_nobody_reads_take_so_much_and_no_more() -> None:
    patient = ResponseLimits(total_bytes=2 * LARGE, min_seconds=60)
    with served(limits=ConnectionLimits(responses=patient, linger_seconds=0.1)) as server, ExitStack() as stack:
        held = [_asks_and_never_reads(server, stack) for _ in range(2)]
        refused = _answer(server, b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nRetry-After: 1\r\n" in refused
        only_head = _answer(server, b"HEAD /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert only_head.startswith(b"HTTP/1.1 200 "), "what has no body takes no room"
        assert _get(server)[0] == 200, "what is small is answered all the while"
        held[0].close()
        assert eventually(lambda: _get(server, "/large")[0] == 200)
        assert len(_read_on(held[1])) > LARGE, "who was slow has the whole answer still"


def test_who_does_not_read_makes_room_for_who_does() -> None:
    hasty = ResponseLimits(total_bytes=2 * LARGE, min_seconds=0.2)
    with served(limits=ConnectionLimits(responses=hasty)) as server, ExitStack() as stack:
        first, second = (_asks_and_never_reads(server, stack) for _ in range(2))
        assert eventually(lambda: _get(server, "/large") == (200, bytes(LARGE)))
        assert len(_read_on(first)) < LARGE
        assert len(_read_on(second)) > LARGE, "one was enough"


def _read_on(sock: socket.socket) -> bytes:
    """What still comes until the server closes, or has nothing to say for a moment."""
    sock.settimeout(1)
    received = bytearray()
    with suppress(OSError):
        while piece := sock.recv(65536):
            received += piece
    return bytes(received)


def test_connections_that_ask_nothing_make_room_for_who_asks() -> None:
    with served(max_connections=2) as server, _connect(server) as first, _connect(server) as second:
        for sock in (first, second):
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert sock.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert eventually(lambda: _get(server)[0] == 200)
        assert first.recv(1) == b""
        second.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert second.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_where_the_system_grants_no_thread_one_connection_is_refused_and_the_next_one_served() -> None:
    with served() as server:
        usual = threading.stack_size(1 << 46)  # more than there are addresses: no thread can begin
        try:
            assert _get(server)[0] == 503
        finally:
            threading.stack_size(usual)
        assert _get(server)[0] == 200


def test_who_is_told_to_come_back_reads_it_to_its_end_though_a_request_was_sent_already() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname(), timeout=10) as client,
    ):
        accepted, _ = listener.accept()
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert accepted.recv(1, socket.MSG_PEEK) == b"G"
        _refuse(accepted, plain=True)
        assert b"".join(iter(lambda: client.recv(65536), b"")).startswith(b"HTTP/1.1 503 ")


def test_stopping_lets_an_answer_finish_closes_the_rest_and_is_quick() -> None:
    begun = threading.Event()
    go_on = threading.Event()

    def slow(_request: Request) -> Response:
        begun.set()
        go_on.wait(10)
        return text(HTTPStatus.OK, "done")

    server = WebServer([LOOPBACK], handler({"/": Route(slow)}), SystemClock())
    server.start()
    where = (server.bound[0].host, server.bound[0].port)
    with _connect(server) as silent, _connect(server) as busy:
        busy.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert begun.wait(10)
        stopper = threading.Thread(target=server.stop)
        started = time.monotonic()
        stopper.start()
        go_on.set()
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
