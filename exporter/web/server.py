"""HTTP server with one thread per connection."""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from threading import Event, Lock, Thread

import structlog

from exporter.clock import Clock
from exporter.options import ListenAddress
from exporter.web.connection import Connection, ConnectionLimits
from exporter.web.handler import RequestHandler
from exporter.web.response_memory import ResponseMemoryLimit

log = structlog.stdlib.get_logger(__name__)

MAX_CONNECTIONS = 100

BACKLOG = 128

STOP_GRACE_SECONDS = 1.0
"""Timeout for responses in flight when the server stops."""

EVICT_SECONDS = 0.5
"""Timeout for an idle connection to close at the connection limit."""

ACCEPT_PAUSE_SECONDS = 0.1
"""Pause after a failed accept: without file descriptors, retrying at once would only use CPU."""

UNSENT_BYTES = 128 * 1024
"""Unsent response bytes in the kernel, in addition to those in flight. By default it buffers megabytes for each client
that does not read. Data in flight may still grow with the round-trip time."""

_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class WebServer:
    """Serves requests on several addresses."""

    def __init__(
        self,
        addresses: Sequence[ListenAddress],
        handler: RequestHandler,
        clock: Clock,
        *,
        limits: ConnectionLimits | None = None,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._addresses = addresses
        self._handler = handler
        self._clock = clock
        self._limits = limits or ConnectionLimits()
        self._response_memory = ResponseMemoryLimit(clock, self._limits.responses)
        self._max_connections = max_connections
        self._listeners: list[socket.socket] = []
        self._connections: dict[socket.socket, tuple[Connection, Thread]] = {}
        self._lock = Lock()
        self._stopping = Event()
        self._acceptor = Thread(target=self._accept_all, name="web", daemon=True)
        self.bound: tuple[ListenAddress, ...] = ()
        """After `start`, the addresses of the listening sockets, in the order of `addresses`."""

    def start(self) -> None:
        """Listen on all addresses, then serve in the background.

        Raises `OSError` if one of them is unavailable; then none stays open.
        """
        try:
            for address in self._addresses:
                self._listeners.append(listen(address))
        except OSError:
            self._close_listeners()
            raise
        self.bound = tuple(ListenAddress(*listener.getsockname()[:2]) for listener in self._listeners)
        self._waker, self._woken = socket.socketpair()
        self._acceptor.start()

    def stop(self) -> None:
        """Stop listening, give responses in flight a moment to finish, and close all connections."""
        self._stopping.set()
        self._waker.close()
        self._acceptor.join()
        with self._lock:
            connections = list(self._connections.items())
        for sock, (connection, _) in connections:
            if connection.idle:
                _shut_down(sock)
        deadline = self._clock.monotonic() + STOP_GRACE_SECONDS
        for sock, (_, thread) in connections:
            thread.join(max(0.0, deadline - self._clock.monotonic()))
            _shut_down(sock)
        self._woken.close()

    def _accept_all(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            for listener in self._listeners:
                listener.settimeout(0)
                selector.register(listener, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if self._woken in ready:
                    break
                for listener in self._listeners:
                    if listener in ready:
                        self._accept(listener)
        self._close_listeners()

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError as error:  # the client has gone, or no file descriptor is free
            log.debug("accept failed", error=str(error))
            self._stopping.wait(ACCEPT_PAUSE_SECONDS)
            return
        self._evict_idle_connection()
        if not self._start_connection(sock):
            plain = self._handler.web_settings().tls is None
            if plain:
                self._handler.on_response(HTTPStatus.SERVICE_UNAVAILABLE.value)
            _refuse(sock, plain=plain)

    def _evict_idle_connection(self) -> None:
        """At the connection limit, close the oldest idle connection."""
        with self._lock:
            if len(self._connections) < self._max_connections:
                return
            idle = ((sock, thread) for sock, (connection, thread) in self._connections.items() if connection.idle)
            oldest = next(idle, None)
        if oldest is not None:
            sock, thread = oldest
            _shut_down(sock)
            thread.join(EVICT_SECONDS)

    def _start_connection(self, sock: socket.socket) -> bool:
        """Serve a connection in a new thread; return False if no connection or thread is available."""
        connection = Connection(sock, self._handler, self._response_memory, self._clock, self._limits)
        thread = Thread(target=self._serve, args=(sock, connection), name="web-connection", daemon=True)
        with self._lock:
            if len(self._connections) >= self._max_connections:
                return False
            self._connections[sock] = (connection, thread)
        try:
            thread.start()
        except RuntimeError as error:  # the process has reached a limit on threads or memory
            log.debug("cannot start a thread", error=str(error))
            with self._lock:
                del self._connections[sock]
            return False
        return True

    def _serve(self, sock: socket.socket, connection: Connection) -> None:
        try:
            with sock:
                # Responses are written in one piece or in large ones, so waiting to fill packets would only delay them.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # not on every platform
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
                connection.serve()
                _shut_down(sock)
        finally:
            with self._lock:
                del self._connections[sock]

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()


def listen(address: ListenAddress) -> socket.socket:
    """Return a listening socket; without a host, for all interfaces, with IPv4 and IPv6 if the machine has both.

    Raises `OSError`, whose text names the address, if the address is unavailable.
    """
    try:
        if address.host:
            family, _, _, _, resolved = socket.getaddrinfo(
                address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            return socket.create_server(resolved[:2], family=family, backlog=BACKLOG)
        if socket.has_dualstack_ipv6():
            return socket.create_server(
                ("::", address.port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG
            )
        return socket.create_server(("0.0.0.0", address.port), backlog=BACKLOG)  # noqa: S104 - asked for
    except socket.gaierror as error:
        raise OSError(f"cannot listen on {address}: {error.strerror}") from error
    except OSError as error:
        # create_server() adds the address to strerror again.
        reason = error.strerror if error.errno is None else os.strerror(error.errno)
        raise OSError(f"cannot listen on {address}: {reason or error}") from error
    except UnicodeError as error:  # from the IDNA codec, before the resolver is called
        reason = "invalid host name, a label is empty or longer than 63 characters"
        raise OSError(f"cannot listen on {address}: {reason}") from error


def _refuse(sock: socket.socket, *, plain: bool) -> None:
    """Close a connection that cannot be served; in plain HTTP, send 503 first."""
    with sock, suppress(OSError):
        sock.settimeout(0)
        if plain:
            sock.send(_BUSY)
        # Unread data would make the kernel send a reset, which discards the 503.
        sock.shutdown(socket.SHUT_WR)
        sock.recv(4096)


def _shut_down(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
