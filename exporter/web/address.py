"""Where to listen: the sockets behind an address."""

from __future__ import annotations

import os
import socket

from exporter.options import ListenAddress

BACKLOG = 128


def listen(address: ListenAddress) -> socket.socket:
    """A listening socket; for every interface it takes IPv4 and IPv6 where the machine has both.

    Raises `OSError`, whose text names the address, when it cannot be had.
    """
    try:
        return _listening(address)
    except OSError as error:
        raise OSError(f"cannot listen on {address}: {_reason(error)}") from error
    except UnicodeError as error:  # what the resolver is not even asked for
        said = "no name of a host has a part that is empty or longer than 63 characters"
        raise OSError(f"cannot listen on {address}: {said}") from error


def _reason(error: OSError) -> str:
    """The system's words: those of `create_server` say the address again."""
    if error.errno is None or isinstance(error, socket.gaierror):  # whose numbers are the resolver's own
        return error.strerror or str(error)
    return os.strerror(error.errno)


def _listening(address: ListenAddress) -> socket.socket:
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


def bound(listener: socket.socket) -> ListenAddress:
    """The address that a listening socket really has."""
    host, port = listener.getsockname()[:2]
    return ListenAddress(host, port)
