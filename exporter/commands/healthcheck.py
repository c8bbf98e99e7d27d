"""`healthcheck`: query the health endpoint of the exporter on this machine."""

from __future__ import annotations

import ssl
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection

from exporter.errors import ExporterError
from exporter.options import ListenAddress, ServeOptions

TIMEOUT_SECONDS = 5.0

_PATH = "/-/healthy"
_EVERY_INTERFACE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
_WANTS_CERTIFICATE = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE")
"""Suffixes of the OpenSSL reason when the server requires a client certificate: TLS 1.3 and TLS 1.2."""


class Unhealthy(ExporterError):
    """Failed health check: no response, or a status other than 200."""


def check_health(address: ListenAddress, timeout: float = TIMEOUT_SECONDS) -> None:
    """Request `/-/healthy` over HTTP and, if the status is 400, over HTTPS; `timeout` is in seconds per request.

    Raises `Unhealthy`, whose text says why.
    """
    where = local(address)
    status = _asked(HTTPConnection(where.host, where.port, timeout=timeout), f"http://{where}{_PATH}")
    scheme = "http"
    if status == HTTPStatus.BAD_REQUEST:  # the exporter's response to plain HTTP on a TLS port
        scheme = "https"
        secure = HTTPSConnection(where.host, where.port, timeout=timeout, context=_unverified())
        status = _asked(secure, f"https://{where}{_PATH}")
    if status != HTTPStatus.OK:
        raise Unhealthy(f"{scheme}://{where}{_PATH} answers {status}")


def health_address(options: ServeOptions) -> ListenAddress:
    """Return the address of the health endpoint: the probe address if set, else the first listen address."""
    return options.probe_listen_address or options.listen_addresses[0]


def local(address: ListenAddress) -> ListenAddress:
    """Return the address with a wildcard host replaced by loopback."""
    return ListenAddress(_EVERY_INTERFACE.get(address.host, address.host), address.port)


def _asked(connection: HTTPConnection, url: str) -> int:
    try:
        connection.request("GET", _PATH)
        return connection.getresponse().status
    except ssl.SSLError as error:
        if error.reason and error.reason.endswith(_WANTS_CERTIFICATE):
            raise Unhealthy(
                f"{url} wants a client certificate, which healthcheck has none of: give the exporter and healthcheck a "
                "--web.probe-listen-address"
            ) from None
        raise Unhealthy(f"{url} does not answer: {error.reason}") from None
    except (OSError, HTTPException) as error:
        raise Unhealthy(f"{url} does not answer: {_reason(error)}") from None
    finally:
        connection.close()


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, OSError) and error.errno else type(error).__name__


def _unverified() -> ssl.SSLContext:
    """Return a TLS context without verification: the certificate is for another name, and no secret is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
