"""`healthcheck`: query the health endpoint of the exporter on this machine."""

from __future__ import annotations

import ssl
import threading
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from queue import Empty, SimpleQueue

from exporter.errors import ExporterError
from exporter.options import ListenAddress, ServeOptions

TIMEOUT_SECONDS = 5.0

_PATH = "/-/healthy"
_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound
_REQUIRES_CERTIFICATE = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE")
"""Suffixes of the OpenSSL reason when the server requires a client certificate: TLS 1.3 and TLS 1.2."""


class Unhealthy(ExporterError):
    """Failed health check: no response, or a status other than 200."""


def check_health(address: ListenAddress, timeout: float = TIMEOUT_SECONDS) -> None:
    """Request `/-/healthy` over HTTP and, if the status is 400, over HTTPS, within `timeout` seconds in total.

    Raises `Unhealthy`, whose text says why.
    """
    local = loopback(address)
    results = SimpleQueue[Exception | None]()

    def work() -> None:
        try:
            _check(local, timeout)
        except Exception as error:  # noqa: BLE001 - raised in the waiting thread
            results.put(error)
        else:
            results.put(None)

    # The timeout of a socket limits each operation, so that a server could delay the end by sending byte after byte.
    threading.Thread(target=work, name="healthcheck", daemon=True).start()
    try:
        error = results.get(timeout=timeout)
    except Empty:
        raise Unhealthy(f"http://{local}{_PATH} is not responding: no response within {timeout:g}s") from None
    if error is not None:
        raise error


def _check(local: ListenAddress, timeout: float) -> None:
    url = f"http://{local}{_PATH}"
    status = _request(HTTPConnection(local.host, local.port, timeout=timeout), url)
    if status == HTTPStatus.BAD_REQUEST:  # the exporter's response to plain HTTP on a TLS port
        url = f"https://{local}{_PATH}"
        # Unverified: the certificate is for another name, and no secret is sent.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        status = _request(HTTPSConnection(local.host, local.port, timeout=timeout, context=context), url)
    if status != HTTPStatus.OK:
        raise Unhealthy(f"{url} returned status {status}")


def health_address(options: ServeOptions) -> ListenAddress:
    """Return the address of the health endpoint: the probe address if set, else the first listen address."""
    return options.probe_listen_address or options.listen_addresses[0]


def loopback(address: ListenAddress) -> ListenAddress:
    """Return the address with a wildcard host replaced by loopback."""
    return ListenAddress(_LOOPBACK.get(address.host, address.host), address.port)


def _request(connection: HTTPConnection, url: str) -> int:
    try:
        connection.request("GET", _PATH)
        return connection.getresponse().status
    except ssl.SSLError as error:
        if error.reason and error.reason.endswith(_REQUIRES_CERTIFICATE):
            raise Unhealthy(
                f"{url} requires a client certificate, which healthcheck does not have: set --web.probe-listen-address "
                "for the exporter and for healthcheck"
            ) from None
        raise Unhealthy(f"{url} is not responding: {error.reason}") from None
    except (OSError, HTTPException) as error:
        reason = str(error) if isinstance(error, OSError) and error.errno else type(error).__name__
        raise Unhealthy(f"{url} is not responding: {reason}") from None
    finally:
        connection.close()
