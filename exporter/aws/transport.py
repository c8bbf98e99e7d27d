"""One POST over a kept connection, reached as boto3 would reach it: proxies, CA bundle, timeouts, keep-alive.

urllib3's pool does the work. Its retries and redirects are off: one call is one request.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import urllib3
from botocore.exceptions import SSLError
from botocore.httpsession import ProxyConfiguration, create_urllib3_context, get_cert_path
from botocore.utils import get_environ_proxies
from urllib3.connection import HTTPConnection

MAX_BODY_BYTES = 8 * 1024 * 1024
"""Far beyond the largest page; more than that is no answer of Cognito, and must not fill the memory."""


class TooLong(Exception):
    """A body is longer than `MAX_BODY_BYTES`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    """Names in any case."""
    body: bytes = field(repr=False)


class Transport:
    """Connections to one URL; safe to use from many threads."""

    def __init__(self, url: str, config: Any, ca_bundle: str | None) -> None:
        """Connect as the boto3 client of this `botocore.config.Config` would; `ca_bundle` is boto3's setting.

        Raises botocore's `SSLError` when the CA bundle cannot be read.
        """  # botocore's stubs do not know the options of a Config
        proxies = config.proxies if config.proxies is not None else get_environ_proxies(url)
        proxy_url = ProxyConfiguration(proxies).proxy_url_for(url)
        context = _tls_context(url, ca_bundle) if "https:" in f"{url} {proxy_url}" else None
        manager = _manager(proxy_url, config, context)
        self._pool = manager.connection_from_url(url)
        parts = urllib3.util.parse_url(url)
        forwarded = bool(proxy_url) and parts.scheme == "http"
        self._target = url if forwarded else parts.request_uri

    def post(self, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send one request and read the answer.

        Raises urllib3's `HTTPError`, or `TooLong`.
        """
        response = self._pool.urlopen(
            "POST",
            self._target,
            body=body,
            headers=headers,
            retries=False,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
            decode_content=False,
            enforce_content_length=False,  # what is cut off is no JSON, and is refused as such
        )
        content = response.read(MAX_BODY_BYTES + 1)
        if len(content) > MAX_BODY_BYTES:
            response.close()
            raise TooLong
        return Answer(response.status, response.headers, content)


def _manager(proxy_url: str | None, config: Any, context: ssl.SSLContext | None) -> urllib3.PoolManager:
    keepalive = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)] if config.tcp_keepalive else []
    settings = {
        "maxsize": config.max_pool_connections,
        "timeout": urllib3.Timeout(connect=config.connect_timeout, read=config.read_timeout),
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
    """As botocore makes it, but the certificates are read once instead of once per connection."""
    context: ssl.SSLContext = create_urllib3_context()
    context.check_hostname = True
    trusted = ca_bundle or os.environ.get("REQUESTS_CA_BUNDLE") or get_cert_path(verify=True)
    try:
        context.load_verify_locations(cafile=trusted)
    except OSError as error:
        raise SSLError(endpoint_url=url, error=error) from error
    return context
