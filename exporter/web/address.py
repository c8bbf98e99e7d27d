"""Where to listen."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

BACKLOG = 128


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port to listen on; an empty host means every interface, port 0 any free port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can connect."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(text: str) -> Address:
    """An address as Go programs write it: `:10617`, `127.0.0.1:0`, `[::1]:10617`, `localhost:10617`.

    Raises `ValueError`, whose text says what was expected.
    """
    host, colon, port = text.rpartition(":")
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    bracketed = bare != host
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535 or (":" in bare and not bracketed):
        raise ValueError(f"expected host:port with a port from 0 to 65535, such as :10617 or [::1]:10617, got {text!r}")
    return Address(bare, int(port))


def listen(address: Address) -> socket.socket:
    """A listening socket; for every interface it takes IPv4 and IPv6 where the machine has both.

    Raises `OSError` when the address cannot be had.
    """
    if not address.host:
        if socket.has_dualstack_ipv6():
            return socket.create_server(
                ("::", address.port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG
            )
        return socket.create_server(("0.0.0.0", address.port), backlog=BACKLOG)  # noqa: S104 - asked for
    family, _, _, _, found = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    return socket.create_server(found[:2], family=family, backlog=BACKLOG)


def bound(listener: socket.socket) -> Address:
    """The address that a listening socket really has."""
    host, port = listener.getsockname()[:2]
    return Address(host, port)
