"""Kept connections to one URL, opened as boto3 would open them: proxies, CA bundle, host name, timeouts.

urllib3's connection objects open the socket, the tunnel and the TLS session. Its pool says where to and with
which options, and is not asked for more: what it does around every request costs more than the request
(docs/decisions/0008-lean-client.md).
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
import weakref
from collections.abc import Mapping
from functools import cache
from http.client import HTTPException
from typing import Any

import urllib3
import urllib3.exceptions as http
from botocore.exceptions import SSLError
from botocore.httpsession import ProxyConfiguration, create_urllib3_context, get_cert_path
from botocore.utils import get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection


class ConnectionPool:
    """Open connections that nobody uses just now; safe to use from many threads."""

    def __init__(self, url: str, config: Any, ca_bundle: str | None) -> None:
        """Connect as the boto3 client of this `botocore.config.Config` would; `ca_bundle` is boto3's setting.

        Raises botocore's `SSLError` when the CA bundle cannot be read.
        """  # botocore's stubs do not know the options of a Config
        proxies = config.proxies if config.proxies is not None else get_environ_proxies(url)
        proxy_url = ProxyConfiguration(proxies).proxy_url_for(url)
        context = _tls_context(url, ca_bundle) if "https:" in f"{url} {proxy_url}" else None
        server = urllib3.util.parse_url(url)
        self.pool = _manager(proxy_url, config, context).connection_from_url(url)
        """Address and options, and a name in errors."""
        forwarded = self.pool.proxy is not None and server.scheme == "http"
        self.target = url if forwarded else server.request_uri
        """What stands in the request line."""
        self.headers: Mapping[str, str] = self.pool.proxy_headers if forwarded else {}
        """What a request needs beside its own headers."""
        self._tunnelled_host = None if forwarded or self.pool.proxy is None else server.host
        self._connect_timeout = config.connect_timeout
        self._read_timeout = config.read_timeout
        self._most = config.max_pool_connections
        self._idle: list[HTTPConnection] = []  # the one used last is taken first, so that the others may end
        self._lock = threading.Lock()
        weakref.finalize(self, _close_all, self._idle)

    def take(self) -> HTTPConnection:
        """A connection with the read timeout set; give it back, or close it.

        Raises urllib3's `HTTPError` when none can be opened.
        """
        while True:
            with self._lock:
                if not self._idle:
                    break
                connection = self._idle.pop()
            if connection.is_connected:
                return connection
            connection.close()  # the server has ended it, or has sent what nobody asked for
        return self._opened()

    def give_back(self, connection: HTTPConnection) -> None:
        """Keep a connection whose last answer was read to its end."""
        with self._lock:
            if len(self._idle) < self._most:
                self._idle.append(connection)
                return
        connection.close()

    def _opened(self) -> HTTPConnection:
        connection = self._unopened()
        try:
            connection.connect()
            connection.sock.settimeout(self._read_timeout)
        except (OSError, HTTPException, http.HTTPError) as error:
            proxy_failed = self.pool.proxy is not None and not connection.has_connected_to_proxy
            connection.close()
            raise _told(error, proxy_failed=proxy_failed) from error
        return connection

    def _unopened(self) -> HTTPConnection:
        pool = self.pool
        kind = HTTPSConnection if pool.scheme == "https" else HTTPConnection
        if pool.proxy is None or self._tunnelled_host is None:
            return kind(pool.host, pool.port, timeout=self._connect_timeout, **pool.conn_kw)
        connection = kind(pool.proxy.host or "", pool.proxy.port, timeout=self._connect_timeout, **pool.conn_kw)
        connection.set_tunnel(
            self._tunnelled_host, pool.port, headers=pool.proxy_headers, scheme=pool.proxy.scheme or "http"
        )
        return connection


def _told(error: Exception, *, proxy_failed: bool) -> http.HTTPError:
    """What urllib3's pool makes of an error while a connection is opened."""
    if proxy_failed:
        return http.ProxyError("Unable to connect to proxy", error)
    if isinstance(error, http.HTTPError):
        return error
    if isinstance(error, TimeoutError):
        return http.ConnectTimeoutError(str(error))
    if isinstance(error, ssl.SSLError):
        return http.SSLError(error)
    return http.ProtocolError("Connection aborted.", error)


def _close_all(connections: list[HTTPConnection]) -> None:
    for connection in connections:
        connection.close()


def _manager(proxy_url: str | None, config: Any, context: ssl.SSLContext | None) -> urllib3.PoolManager:
    keepalive = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)] if config.tcp_keepalive else []
    settings: dict[str, Any] = {
        "socket_options": [*HTTPConnection.default_socket_options, *keepalive],
        "ssl_context": context,
    }
    if proxy_url is None:
        return urllib3.PoolManager(**settings)
    return urllib3.ProxyManager(
        proxy_url,
        proxy_headers=ProxyConfiguration().proxy_headers_for(proxy_url),
        proxy_ssl_context=context,
        **settings,
    )


def _tls_context(url: str, ca_bundle: str | None) -> ssl.SSLContext:
    trusted = ca_bundle or os.environ.get("REQUESTS_CA_BUNDLE") or get_cert_path(verify=True)
    try:
        return _context_that_trusts(trusted)
    except OSError as error:
        raise SSLError(endpoint_url=url, error=error) from error


@cache
def _context_that_trusts(ca_bundle: str) -> ssl.SSLContext:
    """As botocore makes it, but once for all accounts and Regions: with its certificates it takes 0.6 MiB."""
    context: ssl.SSLContext = create_urllib3_context()
    context.check_hostname = True
    context.load_verify_locations(cafile=ca_bundle)
    return context
