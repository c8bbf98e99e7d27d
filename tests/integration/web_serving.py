"""A protected server for tests: its certificates, its file, and what a client sees of it."""

from __future__ import annotations

import os
import socket
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any

import bcrypt
import trustme
import yaml

from exporter.clock import Clock, SystemClock
from exporter.options import ListenAddress
from exporter.web.connection import Bounds
from exporter.web.gate import Gate
from exporter.web.live import WebConfig
from exporter.web.messages import Response, Route, text
from exporter.web.server import WebServer
from tests.tools import required_tool

LOOPBACK = ListenAddress("127.0.0.1", 0)
QUICK = Bounds(linger_seconds=0.1)
SECRET = b"what only users may read"
LARGE = bytes(range(256)) * 10_000
OTHER_LARGE = bytes(len(LARGE))
PASSWORD = "correct horse"


@cache
def hashed(password: str = PASSWORD) -> str:
    """A bcrypt hash that costs next to nothing."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


@cache
def authority(_name: str = "ours") -> trustme.CA:
    return trustme.CA()


def basic(user: str = "alice", password: str = PASSWORD) -> str:
    """The value of an Authorization header."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def write_certificate(
    directory: Path, *names: str, ca: trustme.CA | None = None, stem: str = "server", **issue: Any
) -> None:
    """`STEM.crt`, `STEM.key` and `ca.crt` for some names."""
    issuer = ca or authority()
    issued = issuer.issue_cert(*(names or ("127.0.0.1", "localhost")), **issue)
    (directory / f"{stem}.key").write_bytes(issued.private_key_pem.bytes())
    (directory / f"{stem}.crt").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    (directory / "ca.crt").write_bytes(issuer.cert_pem.bytes())


def write_web(directory: Path, **sections: Any) -> Path:
    """The web configuration with these sections."""
    path = directory / "web.yml"
    path.write_text(yaml.safe_dump(sections), encoding="utf-8")
    return path


TLS: dict[str, Any] = {"cert_file": "server.crt", "key_file": "server.key"}
MUTUAL: dict[str, Any] = {**TLS, "client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.crt"}
USERS: dict[str, Any] = {"basic_auth_users": {"alice": hashed()}}


@dataclass
class Guarded:
    """A server that is up."""

    server: WebServer
    config: WebConfig
    failures: list[str] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        return self.server.bound[0].host, self.server.bound[0].port

    def url(self, path: str = "/metrics", scheme: str = "https") -> str:
        return f"{scheme}://{self.server.bound[0]}{path}"

    def raw(self, sent: bytes) -> bytes:
        """All that the server says to these bytes until it closes; the sending side is closed at once."""
        with socket.create_connection(self.address, timeout=10) as sock:
            try:
                sock.sendall(sent)
                sock.shutdown(socket.SHUT_WR)
                return b"".join(iter(lambda: sock.recv(65536), b""))
            except ConnectionError:  # let go before all was sent
                return b""


@contextmanager
def guarded(
    directory: Path,
    *,
    clock: Clock | None = None,
    bounds: Bounds = QUICK,
    max_connections: int = 20,
    gate: type[Gate] = Gate,
    **sections: Any,
) -> Iterator[Guarded]:
    """A server whose file, beside certificates that are there already, has these sections; `clock` is the file's."""
    config = WebConfig(write_web(directory, **sections), clock or SystemClock())
    routes = {
        "/metrics": Route(lambda _: Response(HTTPStatus.OK, SECRET)),
        "/-/reload": Route(lambda _: Response(HTTPStatus.OK, SECRET), methods=("POST",)),
        "/": Route(lambda _: Response(HTTPStatus.OK, SECRET, headers=(("Content-Security-Policy", "ours"),))),
        "/large": Route(lambda _: Response(HTTPStatus.OK, LARGE)),
        "/other-large": Route(lambda _: Response(HTTPStatus.OK, OTHER_LARGE)),
        "/-/healthy": Route(lambda _: text(HTTPStatus.OK, "healthy"), public=True),
        "/-/ready": Route(lambda _: text(HTTPStatus.OK, "ready"), public=True),
    }
    failures: list[str] = []
    server = WebServer(
        [LOOPBACK],
        routes,
        SystemClock(),
        on_failure=lambda: failures.append("failed"),
        gate=gate(config, SystemClock()),
        bounds=bounds,
        max_connections=max_connections,
    )
    server.start()
    try:
        yield Guarded(server, config, failures)
    finally:
        server.stop()


@dataclass(frozen=True)
class Curled:
    """What curl says of one request."""

    code: int
    status: int
    head: str
    body: str
    trouble: str


def curl(*arguments: str) -> Curled:
    """Run curl past any proxy and configuration of the environment."""
    program = required_tool("curl")
    done = subprocess.run(
        [program, "-q", "-sS", "-i", "--max-time", "10", "--noproxy", "*", *arguments],
        capture_output=True,
        check=False,
        env={"PATH": os.environ["PATH"]},
    )
    head, _, body = done.stdout.decode().partition("\r\n\r\n")
    status = int(head.split()[1]) if head else 0
    return Curled(done.returncode, status, head, body, done.stderr.decode().strip())
