"""Byte stream of a connection, plain or TLS, with a deadline for each read and write.

TLS runs over in-memory buffers. The socket stays a plain one: another thread may shut it down, and data that is left
to write then cannot be sent unencrypted.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress

from exporter.clock import Clock

_READ_BYTES = 16 * 1024
_WRITE_BYTES = 64 * 1024
"""Response bytes copied and encrypted at a time: the memory that each connection may hold."""
_TLS_HANDSHAKE = b"\x16"
_HTTP_ON_TLS_PORT = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 48\r\n"
    b"Connection: close\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"
)


class NotTls(Exception):
    """The client does not speak TLS; `answered` is True if it has received a 400 in plain HTTP."""

    def __init__(self, *, answered: bool) -> None:
        super().__init__()
        self.answered = answered


class Stream:
    """Plain socket until `start_tls`, then TLS."""

    def __init__(self, sock: socket.socket, clock: Clock) -> None:
        self._sock = sock
        self._clock = clock
        self._tls: ssl.SSLObject | None = None

    def start_tls(self, context: ssl.SSLContext, deadline: float) -> ssl.SSLObject:
        """Perform the TLS handshake.

        Raises `NotTls`, `TimeoutError`, and `ssl.SSLError` if the handshake fails.
        """
        first = self._read_plain(deadline)
        if not first.startswith(_TLS_HANDSHAKE):
            is_http = first[:1].isalpha()
            if is_http:
                self._write_plain(_HTTP_ON_TLS_PORT, deadline)
            raise NotTls(answered=is_http)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._incoming.write(first)
        tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        try:
            while True:
                try:
                    tls.do_handshake()
                    break
                except ssl.SSLWantReadError:
                    self._exchange(deadline)
        finally:
            self._flush(deadline)  # also sends the alert after a failure
        self._tls = tls
        return tls

    def receive(self, deadline: float) -> bytes:
        """Return the next bytes, or none if the client has closed its side. Raises `OSError`, such as a timeout."""
        if self._tls is None:
            return self._read_plain(deadline)
        while True:
            try:
                return self._tls.read(_READ_BYTES)
            except ssl.SSLWantReadError:
                self._exchange(deadline)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    def send(self, head: bytes, body: bytes, deadline: float) -> None:
        """Send head and body without copying the whole body. Raises `OSError`, such as a timeout."""
        self._write(memoryview(head + body[:_WRITE_BYTES]), deadline)
        rest = memoryview(body)[_WRITE_BYTES:]
        if rest:
            self._write(rest, deadline)

    def abort(self) -> None:
        """Make reads and writes in other threads fail at once."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def finish(self, deadline: float) -> None:
        """Close our side, then read until the client closes: closing with unread data would discard the response."""
        if self._tls is not None:
            with suppress(ssl.SSLError):
                self._tls.unwrap()
            self._flush(deadline)
        self._sock.shutdown(socket.SHUT_WR)
        while self._read_plain(deadline):
            pass

    def _write(self, data: memoryview, deadline: float) -> None:
        if self._tls is None:
            self._write_plain(data, deadline)
            return
        for start in range(0, len(data), _WRITE_BYTES):
            piece = data[start : start + _WRITE_BYTES]
            while piece:
                piece = piece[self._tls.write(piece) :]
            self._flush(deadline)

    def _exchange(self, deadline: float) -> None:
        self._flush(deadline)
        data = self._read_plain(deadline)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _flush(self, deadline: float) -> None:
        if self._outgoing.pending:
            self._write_plain(self._outgoing.read(), deadline)

    def _read_plain(self, deadline: float) -> bytes:
        self._set_timeout(deadline)
        return self._sock.recv(_READ_BYTES)

    def _write_plain(self, data: bytes | memoryview, deadline: float) -> None:
        self._set_timeout(deadline)
        self._sock.sendall(data)  # the timeout is for all of the data, however slowly the client reads

    def _set_timeout(self, deadline: float) -> None:
        remaining = deadline - self._clock.monotonic()
        if remaining <= 0:
            raise TimeoutError
        self._sock.settimeout(remaining)
