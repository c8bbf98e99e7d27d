"""The HTTP server: listeners, one thread per connection, and a bound on everything."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from http import HTTPStatus
from threading import Event, Lock, Thread
from typing import TypeVar

import structlog

from exporter.clock import Clock
from exporter.config.web.settings import WebSettings
from exporter.options import ListenAddress
from exporter.web.access import Authenticator
from exporter.web.address import bound, listen
from exporter.web.connection import Connection, Timeouts
from exporter.web.messages import Request, Response, Routes, dispatch, route_of, text
from exporter.web.response_memory import ResponseMemoryLimit

log = structlog.stdlib.get_logger(__name__)

T = TypeVar("T")

MAX_CONNECTIONS = 100

STOP_GRACE_SECONDS = 1.0
"""How long answers under way may take when the server stops."""

ROOM_SECONDS = 0.5
"""How long an idle connection that has to make room may take to end."""

ACCEPT_PAUSE_SECONDS = 0.1
"""After a failure to accept: without descriptors left, trying at once would only burn CPU."""

UNSENT_BYTES = 128 * 1024
"""What the kernel takes of an answer beyond what is under way to the client; by itself it takes megabytes from each who
does not read. What is under way grows with the distance of the client, as it should."""

_OPEN = WebSettings()

_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class WebServer:
    """Serves routes on several addresses.

    `on_failure` hears of each error that a handler did not foresee, `on_answer` of the status of each answer. Without a
    `gate` it serves everybody, in plain HTTP.
    """

    def __init__(
        self,
        addresses: Sequence[ListenAddress],
        routes: Routes,
        clock: Clock,
        *,
        on_failure: Callable[[], None],
        on_answer: Callable[[int], None] = lambda _: None,
        gate: Authenticator | None = None,
        bounds: Timeouts | None = None,
        max_connections: int = MAX_CONNECTIONS,
    ) -> None:
        self._addresses = addresses
        self._routes = routes
        self._clock = clock
        self._on_failure = on_failure
        self._on_answer = on_answer
        self._gate = gate
        self._bounds = bounds or Timeouts()
        self._outbox = ResponseMemoryLimit(clock, self._bounds.room)
        self._max_connections = max_connections
        self._listeners: list[socket.socket] = []
        self._bound: tuple[ListenAddress, ...] = ()
        self._connections: dict[socket.socket, tuple[Connection, Thread]] = {}
        self._lock = Lock()
        self._stopping = Event()
        self._acceptor = Thread(target=self._accept_all, name="web", daemon=True)

    @property
    def bound(self) -> tuple[ListenAddress, ...]:
        """The addresses really listened on, in the order asked for."""
        return self._bound

    @property
    def outbox(self) -> ResponseMemoryLimit:
        """The room for answers on their way."""
        return self._outbox

    def start(self) -> None:
        """Listen, then serve in the background.

        Raises `OSError` when an address cannot be had; then none is listened on.
        """
        try:
            for address in self._addresses:
                self._listeners.append(listen(address))
        except OSError:
            self._close_listeners()
            raise
        self._bound = tuple(bound(listener) for listener in self._listeners)
        self._waker, self._woken = socket.socketpair()
        self._acceptor.start()

    def stop(self) -> None:
        """Stop listening, let answers under way finish for a moment, and close what is left."""
        self._stopping.set()
        self._waker.close()
        self._acceptor.join()
        with self._lock:
            serving = list(self._connections.items())
        for sock, (connection, _) in serving:
            if connection.idle:
                _shut(sock)
        deadline = self._clock.monotonic() + STOP_GRACE_SECONDS
        for sock, (_, thread) in serving:
            thread.join(max(0.0, deadline - self._clock.monotonic()))
            _shut(sock)
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
        except OSError as error:
            # The client went away again, or the process is out of file descriptors for the moment.
            log.debug("connection not accepted", error=str(error))
            self._stopping.wait(ACCEPT_PAUSE_SECONDS)
            return
        self._make_room()
        if not self._create_pools(sock):
            in_plain = self._gate is None or self._gate.in_force.tls is None
            if in_plain:
                self.answered(HTTPStatus.SERVICE_UNAVAILABLE)
            _refuse(sock, in_plain=in_plain)

    def _make_room(self) -> None:
        """End an idle connection where there are as many as may be: who asks nothing must not shut out who asks."""
        with self._lock:
            full = len(self._connections) >= self._max_connections
            idle = ((sock, thread) for sock, (connection, thread) in self._connections.items() if connection.idle)
            oldest = next(idle, None) if full else None
        if oldest is not None:
            sock, thread = oldest
            _shut(sock)
            thread.join(ROOM_SECONDS)

    def _create_pools(self, sock: socket.socket) -> bool:
        """Serve on a thread of its own, unless there are as many as may be, or as the system grants."""
        connection = Connection(sock, self, self._clock, self._bounds)
        thread = Thread(target=self._serve, args=(sock, connection), name="web-connection", daemon=True)
        with self._lock:
            if len(self._connections) >= self._max_connections:
                return False
            self._connections[sock] = (connection, thread)
        try:
            thread.start()
        except RuntimeError as error:  # a limit on processes or memory; without this thread nobody would be served
            log.debug("connection not served", error=str(error))
            with self._lock:
                del self._connections[sock]
            return False
        return True

    def _serve(self, sock: socket.socket, connection: Connection) -> None:
        try:
            with sock:
                # Answers are written in one piece or large ones; waiting to fill packets would only delay them.
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # not everywhere
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
                connection.serve()
                _shut(sock)
        finally:
            with self._lock:
                del self._connections[sock]

    def current(self) -> WebSettings:
        """What protects the pages now."""
        gate = self._gate
        if gate is None:
            return _OPEN
        return self._safely(gate.current, lambda: gate.in_force, path=None)

    def refusal(self, request: Request, settings: WebSettings) -> Response | None:
        """Why a request is not let in, and nothing about what there would be; None when it is."""
        gate = self._gate
        if gate is None:
            return None
        route = route_of(self._routes, request)
        if route is not None and route.public:
            return None
        return self._safely(lambda: gate.refusal(request, settings), _internal_error, path=request.path)

    def answer(self, request: Request) -> Response:
        """The answer to a request that was let in."""
        return self._safely(lambda: dispatch(self._routes, request), _internal_error, path=request.path)

    def answered(self, status: HTTPStatus) -> None:
        """Whoever asked is answered now, with this status."""
        self._on_answer(status.value)

    def _safely(self, act: Callable[[], T], instead: Callable[[], T], *, path: str | None) -> T:
        """What comes of an act; a failure that nobody foresaw is counted and logged, and something else comes."""
        try:
            return act()
        except Exception:
            self._on_failure()
            log.exception("request failed", path=path)
            return instead()

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.close()


def _internal_error() -> Response:
    return text(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error, see the log")


def _refuse(sock: socket.socket, *, in_plain: bool) -> None:
    with sock, suppress(OSError):
        sock.settimeout(0)
        if in_plain:
            sock.send(_BUSY)
        # Reading what is there keeps the kernel from answering with a reset, which would drop the 503.
        sock.shutdown(socket.SHUT_WR)
        sock.recv(4096)


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
