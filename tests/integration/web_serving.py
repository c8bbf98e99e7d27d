"""Web server with a web configuration for tests, and a client."""

from __future__ import annotations

import socket
import ssl
import warnings
from argparse import ArgumentParser, Namespace
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

import bcrypt
import trustme
import yaml

from exporter.clock import SystemClock
from exporter.config.web.load import load_web_settings
from exporter.config.web.settings import WebSettings
from exporter.daemon.active_config import WebConfigFile
from exporter.daemon.reload import SETTLE_SECONDS, Reloader
from exporter.options import ListenAddress
from exporter.web.access import Authenticator
from exporter.web.connection import ConnectionLimits
from exporter.web.handler import RequestHandler
from exporter.web.messages import Response, Route, text
from exporter.web.server import WebServer

LOOPBACK = ListenAddress("127.0.0.1", 0)
QUICK = ConnectionLimits(linger_seconds=0.1)
SECRET = b"for users only"
LARGE = bytes(range(256)) * 10_000
OTHER_LARGE = bytes(len(LARGE))
PASSWORD = "correct horse"


@cache
def hashed(password: str = PASSWORD) -> str:
    """Return a bcrypt hash of minimum cost."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()


@cache
def authority(_name: str = "ours") -> trustme.CA:
    return trustme.CA()


def basic(user: str = "alice", password: str = PASSWORD) -> str:
    """Return the value of an Authorization header."""
    return "Basic " + b64encode(f"{user}:{password}".encode()).decode()


def write_certificate(
    directory: Path, *names: str, ca: trustme.CA | None = None, stem: str = "server", **issue: Any
) -> None:
    """Write `STEM.crt`, `STEM.key` and `ca.crt` for some names."""
    issuer = ca or authority()
    issued = issuer.issue_cert(*(names or ("127.0.0.1", "localhost")), **issue)
    (directory / f"{stem}.key").write_bytes(issued.private_key_pem.bytes())
    (directory / f"{stem}.crt").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    (directory / "ca.crt").write_bytes(issuer.cert_pem.bytes())


def write_web(directory: Path, **sections: Any) -> Path:
    """Write a web configuration with these sections."""
    path = directory / "web.yml"
    path.write_text(yaml.safe_dump(sections), encoding="utf-8")
    return path


TLS: dict[str, Any] = {"cert_file": "server.crt", "key_file": "server.key"}
MUTUAL: dict[str, Any] = {**TLS, "client_auth_type": "RequireAndVerifyClientCert", "client_ca_file": "ca.crt"}
USERS: dict[str, Any] = {"basic_auth_users": {"alice": hashed()}}


class ActiveWeb:
    """The active web configuration of a server without a daemon."""

    def __init__(self, settings: WebSettings) -> None:
        self.settings = settings

    def apply(self, settings: WebSettings) -> None:
        self.settings = settings


class NoConfig:
    """A configuration without files, and a listener that ignores reloads."""

    def files(self) -> tuple[Path, ...]:
        return ()

    def read(self) -> Callable[[], None]:
        return lambda: None

    def configuration_loaded(self, *, successful: bool, now: float) -> None:
        pass

    def unexpected_error(self, component: str) -> None:
        raise AssertionError(component)


@dataclass
class Site:
    """A running server."""

    server: WebServer
    active: ActiveWeb
    reloader: Reloader
    failures: list[str] = field(default_factory=list)

    @property
    def address(self) -> tuple[str, int]:
        return self.server.bound[0].host, self.server.bound[0].port

    def url(self, path: str = "/metrics", scheme: str = "https") -> str:
        return f"{scheme}://{self.server.bound[0]}{path}"

    def raw(self, sent: bytes) -> bytes:
        """Send bytes, close the sending side, and return what the server sends until it closes."""
        with socket.create_connection(self.address, timeout=10) as sock:
            try:
                sock.sendall(sent)
                sock.shutdown(socket.SHUT_WR)
                return b"".join(iter(lambda: sock.recv(65536), b""))
            except ConnectionError:  # closed before all was sent
                return b""


@contextmanager
def serving_site(
    directory: Path,
    *,
    watch: bool = False,
    limits: ConnectionLimits = QUICK,
    max_connections: int = 20,
    authenticator: Authenticator | None = None,
    **sections: Any,
) -> Iterator[Site]:
    """Serve with a web configuration of these sections; with `watch`, a thread checks the file for changes."""
    path = write_web(directory, **sections)
    active = ActiveWeb(load_web_settings(path))
    source = WebConfigFile(path, active.settings, active.apply)
    no_config = NoConfig()
    settle = SETTLE_SECONDS if watch else 0.0
    reloader = Reloader(no_config, source, no_config, SystemClock(), interval=0, settle=settle)
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
        RequestHandler(
            routes,
            authenticator or Authenticator(SystemClock()),
            web_settings=lambda: active.settings,
            on_error=lambda: failures.append("failed"),
        ),
        SystemClock(),
        limits=limits,
        max_connections=max_connections,
    )
    server.start()
    if watch:
        reloader.start()
    try:
        yield Site(server, active, reloader, failures)
    finally:
        reloader.stop()
        server.stop()


@dataclass(frozen=True, slots=True)
class Fetched:
    """Response to a request; without a response, the status is 0 and `error` has the reason."""

    status: int = 0
    head: str = ""
    body: str = ""
    error: str = ""


def fetch(url: str, *options: str) -> Fetched:
    """Make one request over a new connection; the options are those of curl."""
    parts, given = urlsplit(url), _OPTIONS.parse_args(options)
    connection = (
        HTTPSConnection(parts.netloc, timeout=10, context=_context(given))
        if parts.scheme == "https"
        else HTTPConnection(parts.netloc, timeout=10)
    )
    try:
        _send(connection, parts, given)
        with connection.getresponse() as response:
            head = f"HTTP/1.1 {response.status} {response.reason}\r\n{response.msg.as_string()}"
            return Fetched(response.status, head.replace("\r\n", "\n").replace("\n", "\r\n"), response.read().decode())
    except (OSError, HTTPException) as error:
        return Fetched(error=repr(error))
    finally:
        connection.close()


def _options() -> ArgumentParser:
    parser = ArgumentParser(allow_abbrev=False)
    parser.add_argument("-X", dest="method")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    for name in ("--user", "--data", "--cacert", "--cert", "--key", "--tls-max", "--ciphers", "--curves"):
        parser.add_argument(name)
    for name in ("--insecure", "--http2", "--tlsv1.0", "--tlsv1.3"):
        parser.add_argument(name, action="store_true", dest=name.strip("-").replace(".", "_"))
    return parser


_OPTIONS = _options()
_VERSIONS = {"1.1": ssl.TLSVersion.TLSv1_1, "1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_CURVES = {"P-256": "prime256v1", "P-384": "secp384r1", "P-521": "secp521r1"}


def _send(connection: HTTPConnection, parts: SplitResult, given: Namespace) -> None:
    headers = [header.partition(":")[::2] for header in given.headers]
    if given.user is not None:
        headers.append(("Authorization", basic(*given.user.split(":", 1))))
    if given.data is not None:
        headers.append(("Content-Length", str(len(given.data))))
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    method = given.method or ("GET" if given.data is None else "POST")
    connection.putrequest(method, target, skip_host=("Host", "") in headers, skip_accept_encoding=True)
    for name, value in headers:
        if value:
            connection.putheader(name, value.strip())
    connection.endheaders()
    if given.data is not None:
        with suppress(ConnectionError):  # a server may respond before it has read the body
            connection.send(given.data.encode())


def _context(given: Namespace) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=given.cacert)
    if given.insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if given.cert:
        context.load_cert_chain(given.cert, given.key)
    if given.ciphers:
        context.set_ciphers(given.ciphers)
    if given.curves:
        context.set_ecdh_curve(_CURVES[given.curves])
    if given.http2:
        context.set_alpn_protocols(["h2", "http/1.1"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # some tests offer old versions
        if given.tlsv1_0:
            context.minimum_version = ssl.TLSVersion.TLSv1
        if given.tlsv1_3:
            context.minimum_version = ssl.TLSVersion.TLSv1_3
        if given.tls_max:
            context.maximum_version = _VERSIONS[given.tls_max]
    return context
