"""Minimal HTTP server: keep-alive connections, small requests, responses after a fixed time.

It is a single thread with epoll and no library: at 1,000 calls per second, a framework would take the core that the
client under test needs.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import time
from collections import deque
from dataclasses import dataclass, field

from bench.cognito.arrivals import ArrivalLog
from bench.cognito.responses import Population, UnknownOperation

SO_TIMESTAMPNS = 35
"""Linux socket option that returns arrival times with the data. If the scheduler delays the server, its own timestamps
would show calls closer together."""

_TIMESTAMP = struct.Struct("qq")

_OF_STS = ("GetCallerIdentity", "AssumeRole")

STATISTICS, RESET = "GET /statistics", "POST /reset"
"""Requests of the benchmark itself, which receive an immediate response."""


@dataclass(slots=True, eq=False)
class _Connection:
    socket: socket.socket
    received: bytearray = field(default_factory=bytearray)
    arrived: float = 0.0


@dataclass(frozen=True, slots=True)
class _Request:
    operation: str
    body: bytes


class Server:
    """Server for one population that sends each response `latency` seconds after the request."""

    def __init__(self, population: Population, latency: float) -> None:
        """Listen on a free loopback port."""
        self._population = population
        self._latency = latency
        self._arrivals = ArrivalLog(time.time())
        self._due: deque[tuple[float, _Connection, bytes]] = deque()
        self._connections: dict[int, _Connection] = {}
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._listener.settimeout(0)
        self._epoll = select.epoll()
        self._epoll.register(self._listener, select.EPOLLIN)

    @property
    def port(self) -> int:
        """Port of the server."""
        return int(self._listener.getsockname()[1])

    def serve(self) -> None:
        """Serve forever."""
        while True:
            wait = max(0.0, self._due[0][0] - time.time()) if self._due else None
            for number, _ in self._epoll.poll(wait):
                if number == self._listener.fileno():
                    self._accept()
                else:
                    self._receive(self._connections[number])
            self._send_due()

    def _accept(self) -> None:
        sock, _ = self._listener.accept()
        sock.settimeout(0)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._connections[sock.fileno()] = _Connection(sock)
        self._epoll.register(sock, select.EPOLLIN)

    def _receive(self, connection: _Connection) -> None:
        try:
            data, ancillary, _, _ = connection.socket.recvmsg(65536, 64)
        except ConnectionError:
            data, ancillary = b"", []
        if not data:
            self._drop(connection)
            return
        for level, kind, value in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
                seconds, nanoseconds = _TIMESTAMP.unpack(value)
                connection.arrived = seconds + nanoseconds / 1e9
        connection.received += data
        while (request := _taken(connection.received)) is not None:
            self._handle(connection, request)

    def _handle(self, connection: _Connection, request: _Request) -> None:
        now = time.time()
        if request.operation == STATISTICS:
            statistics = self._arrivals.statistics(now, time.process_time())
            self._send(connection, _response(b"200 OK", json.dumps(statistics.as_dict()).encode()))
        elif request.operation == RESET:
            self._arrivals.reset(now)
            self._send(connection, _response(b"200 OK", b"{}"))
        else:
            self._arrivals.record_arrival(request.operation, connection.arrived or now)
            self._due.append((now + self._latency, connection, self._answer(request, now)))

    def _answer(self, request: _Request, now: float) -> bytes:
        try:
            return _response(b"200 OK", self._population.respond(request.operation, request.body, now))
        except UnknownOperation:
            return _response(b"400 Bad Request", b'{"__type":"UnknownOperationException","message":"not supported"}')

    def _send_due(self) -> None:
        now = time.time()
        while self._due and self._due[0][0] <= now:
            due, connection, answer = self._due.popleft()
            self._arrivals.record_response(now - due)
            self._send(connection, answer)

    def _send(self, connection: _Connection, answer: bytes) -> None:
        if connection.socket.fileno() < 0:
            return  # the client has disconnected
        try:
            sent = connection.socket.send(answer)
        except OSError:
            self._drop(connection)
            return
        if sent < len(answer):
            self._drop(connection)  # a partial response: the client reports the failure

    def _drop(self, connection: _Connection) -> None:
        del self._connections[connection.socket.fileno()]
        self._epoll.unregister(connection.socket)
        connection.socket.close()


def _taken(received: bytearray) -> _Request | None:
    """Remove the first complete request from the received data and return it, or return None."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(received[:end])
    length = int(_header(head, b"content-length") or b"0")
    if len(received) < end + 4 + length:
        return None
    body = bytes(received[end + 4 : end + 4 + length])
    del received[: end + 4 + length]
    return _Request(_operation(head, body), body)


def _operation(head: bytes, body: bytes) -> str:
    target = _header(head, b"x-amz-target")
    if target:
        return target.rpartition(b".")[2].decode()
    for operation in _OF_STS:
        if b"Action=%b" % operation.encode() in body:
            return operation
    return head[: head.find(b" HTTP/")].decode()


def _header(head: bytes, name: bytes) -> bytes:
    start = head.lower().find(b"\r\n" + name + b":")
    if start < 0:
        return b""
    start += len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else len(head)].strip()


def _response(status: bytes, body: bytes) -> bytes:
    kind = b"text/xml" if body.startswith(b"<") else b"application/x-amz-json-1.1"
    return b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\nx-amzn-RequestId: bench\r\n\r\n%b" % (
        status,
        kind,
        len(body),
        body,
    )
