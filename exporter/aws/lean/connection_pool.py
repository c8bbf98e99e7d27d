"""Pool of connections to one URL, opened as boto3 opens them: proxies, CA bundle, host name check and timeouts.

urllib3's connections open the socket, the tunnel and the TLS session. Its connection pool provides only the address and
the options, because its work per request costs more than the request (docs/decisions/0008-lean-client.md).
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
    """Pool of idle connections to one URL. Thread-safe."""

    def __init__(self, url: str, config: Any, ca_bundle: str | None) -> None:
        """Connect as a boto3 client with this `botocore.config.Config`; `ca_bundle` is the setting of boto3.

        Raises botocore's `SSLError` if the CA bundle cannot be read.
        """  # the stubs of botocore lack the options of a Config
        proxies = config.proxies if config.proxies is not None else get_environ_proxies(url)
        proxy_url = ProxyConfiguration(proxies).proxy_url_for(url)
        context = _tls_context(url, ca_bundle) if "https:" in f"{url} {proxy_url}" else None
        server = urllib3.util.parse_url(url)
        self.urllib3_pool = _pool_manager(proxy_url, config, context).connection_from_url(url)
        """urllib3's pool for the URL, of which the address and the options are used; named in errors."""
        forwarded = self.urllib3_pool.proxy is not None and server.scheme == "http"
        self.request_target = url if forwarded else server.request_uri
        """Target in the request line."""
        self.headers: Mapping[str, str] = self.urllib3_pool.proxy_headers if forwarded else {}
        """Additional headers for the proxy, if it forwards the requests."""
        self._tunneled_host = None if forwarded or self.urllib3_pool.proxy is None else server.host
        self._connect_timeout = config.connect_timeout
        self._read_timeout = config.read_timeout
        self._max_idle = config.max_pool_connections
        self._idle: list[HTTPConnection] = []  # a stack: rarely used connections stay idle until the server closes them
        self._lock = threading.Lock()
        weakref.finalize(self, _close_all, self._idle)

    def acquire(self) -> HTTPConnection:
        """Return an idle or a new connection with the read timeout set. The caller must release or close it.

        Raises urllib3's `HTTPError` if no connection can be opened.
        """
        while True:
            with self._lock:
                if not self._idle:
                    break
                connection = self._idle.pop()
            if connection.is_connected:
                return connection
            connection.close()  # closed by the server, or it has unexpected data
        return self._connect()

    def release(self, connection: HTTPConnection) -> None:
        """Return a connection whose last response was read completely."""
        with self._lock:
            if len(self._idle) < self._max_idle:
                self._idle.append(connection)
                return
        connection.close()

    def _connect(self) -> HTTPConnection:
        connection = self._new_connection()
        try:
            connection.connect()
            connection.sock.settimeout(self._read_timeout)
        except (OSError, HTTPException, http.HTTPError) as error:
            proxy_failed = self.urllib3_pool.proxy is not None and not connection.has_connected_to_proxy
            connection.close()
            raise _as_urllib3_error(error, proxy_failed=proxy_failed) from error
        return connection

    def _new_connection(self) -> HTTPConnection:
        pool = self.urllib3_pool
        connection_class = HTTPSConnection if pool.scheme == "https" else HTTPConnection
        if pool.proxy is None or self._tunneled_host is None:
            return connection_class(pool.host, pool.port, timeout=self._connect_timeout, **pool.conn_kw)
        proxy = pool.proxy
        connection = connection_class(proxy.host or "", proxy.port, timeout=self._connect_timeout, **pool.conn_kw)
        connection.set_tunnel(self._tunneled_host, pool.port, headers=pool.proxy_headers, scheme=proxy.scheme or "http")
        return connection


def _as_urllib3_error(error: Exception, *, proxy_failed: bool) -> http.HTTPError:
    """Return the error that urllib3's pool raises for an error during connection setup."""
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


def _pool_manager(proxy_url: str | None, config: Any, context: ssl.SSLContext | None) -> urllib3.PoolManager:
    keepalive = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)] if config.tcp_keepalive else []
    options: dict[str, Any] = {
        "socket_options": [*HTTPConnection.default_socket_options, *keepalive],
        "ssl_context": context,
    }
    if proxy_url is None:
        return urllib3.PoolManager(**options)
    proxy_headers = ProxyConfiguration().proxy_headers_for(proxy_url)
    return urllib3.ProxyManager(proxy_url, proxy_headers=proxy_headers, proxy_ssl_context=context, **options)


def _tls_context(url: str, ca_bundle: str | None) -> ssl.SSLContext:
    path = ca_bundle or os.environ.get("REQUESTS_CA_BUNDLE") or get_cert_path(verify=True)
    try:
        return _load_tls_context(path)
    except OSError as error:
        raise SSLError(endpoint_url=url, error=error) from error


@cache
def _load_tls_context(ca_bundle: str) -> ssl.SSLContext:
    """Return a context as botocore creates it, shared by all clients: with its certificates it takes 0.6 MiB."""
    context: ssl.SSLContext = create_urllib3_context()
    context.check_hostname = True
    context.load_verify_locations(cafile=ca_bundle)
    return context
