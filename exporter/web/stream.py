"""The bytes of one connection, plain or in TLS, every read and write within a deadline.

TLS runs over buffers in memory and not in the socket: the socket stays a plain one, which another thread may shut,
and what is left to write when that happens cannot go out unencrypted.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress

from exporter.clock import Clock

_CHUNK = 16 * 1024
_WRITE = 64 * 1024
"""What is copied of an answer, and encrypted, at a time: each connection may hold as much."""
_HANDSHAKE_RECORD = b"\x16"
_SPEAKS_TLS = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 28\r\n"
    b"Connection: close\r\n\r\nthis port speaks HTTPS only\n"
)


class NotTls(Exception):
    """The client speaks something else, or nothing at all; `told` is whether it was answered in plain HTTP."""

    def __init__(self, *, told: bool) -> None:
        super().__init__()
        self.told = told


class Stream:
    """A socket until `secure`, and TLS in it from then on."""

    def __init__(self, sock: socket.socket, clock: Clock) -> None:
        self._sock = sock
        self._clock = clock
        self._tls: ssl.SSLObject | None = None

    def secure(self, context: ssl.SSLContext, deadline: float) -> ssl.SSLObject:
        """Shake hands.

        Raises `NotTls`, which a client who speaks HTTP has been told, `TimeoutError`, and `ssl.SSLError` when the two
        do not come together.
        """
        first = self._read_plain(deadline)
        if not first.startswith(_HANDSHAKE_RECORD):
            speaks_http = first[:1].isalpha()
            if speaks_http:
                self._write_plain(_SPEAKS_TLS, deadline)
            raise NotTls(told=speaks_http)
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
            self._flush(deadline)  # the alert that tells the client why, too
        self._tls = tls
        return tls

    def receive(self, deadline: float) -> bytes:
        """What comes next; nothing when the client has ended its side. Raises `OSError`, such as `TimeoutError`."""
        if self._tls is None:
            return self._read_plain(deadline)
        while True:
            try:
                return self._tls.read(_CHUNK)
            except ssl.SSLWantReadError:
                self._exchange(deadline)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    def send(self, head: bytes, body: bytes, deadline: float) -> None:
        """Send all of it, without another copy of the body. Raises `OSError`, such as `TimeoutError`."""
        self._write(memoryview(head + body[:_WRITE]), deadline)
        rest = memoryview(body)[_WRITE:]
        if rest:
            self._write(rest, deadline)

    def give_up(self) -> None:
        """Have whichever thread reads or writes here fail at once."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def finish(self, deadline: float) -> None:
        """End our side, and read for a moment what the client still sends: closing before would take an answer back."""
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
        for start in range(0, len(data), _WRITE):
            piece = data[start : start + _WRITE]
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
        self._sock.settimeout(self._left(deadline))
        return self._sock.recv(_CHUNK)

    def _write_plain(self, data: bytes | memoryview, deadline: float) -> None:
        # The time a socket gives sendall is for all of it, however slowly the client reads.
        self._sock.settimeout(self._left(deadline))
        self._sock.sendall(data)

    def _left(self, deadline: float) -> float:
        left = deadline - self._clock.monotonic()
        if left <= 0:
            raise TimeoutError
        return left
