"""`healthcheck`: ask the exporter on this machine whether it is alive."""

from __future__ import annotations

import urllib.error
import urllib.request
from http import HTTPStatus
from http.client import HTTPException

from exporter.errors import ExporterError
from exporter.options import ListenAddress, ServeOptions

TIMEOUT_SECONDS = 5.0

_EVERY_INTERFACE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not bound


class Unhealthy(ExporterError):
    """The exporter does not answer, or not well."""


def check_health(address: ListenAddress, timeout: float = TIMEOUT_SECONDS) -> None:
    """Ask `/-/healthy`; `timeout` in seconds.

    Raises `Unhealthy`, whose text says why.
    """
    url = f"http://{local(address)}/-/healthy"
    # A proxy of the environment is not the way to this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=timeout) as answer:
            status = answer.status
    except urllib.error.HTTPError as error:
        error.close()
        raise Unhealthy(f"{url} answers {error.code}") from None
    except urllib.error.URLError as error:
        raise Unhealthy(f"{url} does not answer: {error.reason}") from None
    except (OSError, HTTPException) as error:
        raise Unhealthy(f"{url} does not answer: {type(error).__name__}") from None
    if status != HTTPStatus.OK:
        raise Unhealthy(f"{url} answers {status}")


def health_address(options: ServeOptions) -> ListenAddress:
    """Where the probe paths are served: on an address of their own, else on the first of all."""
    return options.probe_listen_address or options.listen_addresses[0]


def local(address: ListenAddress) -> ListenAddress:
    """The address as seen from this machine."""
    return ListenAddress(_EVERY_INTERFACE.get(address.host, address.host), address.port)
