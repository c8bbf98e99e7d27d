"""Options of the daemon, and parsers of their flags."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from exporter.logging_setup import LogFormat, LogLevel
from exporter.shard import UNSHARDED, Shard

DEFAULT_PORT = 10617

_LAST_PORT = 65535
_PORT_DIGITS = 5
"""Maximum number of digits of a port: Python does not convert numbers of any length."""

_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?|")
_TELEMETRY_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_RESERVED = ("/-/", "/api/")
_SHARD = re.compile("(auto|[0-9]{1,9})/([0-9]{1,9})")
_POD_ORDINAL = re.compile("-([0-9]{1,9})$")


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """TCP address as in Go; an empty host is every interface, and port 0 any free port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """True if the address is reachable only from this machine."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:  # another name, or every interface
            return False


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Options of the daemon."""

    config_file: Path
    listen_addresses: tuple[ListenAddress, ...] = (ListenAddress("", DEFAULT_PORT),)
    probe_listen_address: ListenAddress | None = None
    """Address that serves only the two probe paths, in plain HTTP."""
    auto_reload_interval: float = 0.0
    """Seconds between two checks of the configuration file for changes; 0 disables them."""
    enable_lifecycle: bool = False
    """True if POST /-/reload is enabled."""
    web_config_file: Path | None = None
    """TLS, users and headers, in the format of Prometheus' exporter-toolkit."""
    telemetry_path: str = "/metrics"
    log_level: LogLevel = LogLevel.INFO
    log_format: LogFormat = LogFormat.LOGFMT
    shard: Shard = UNSHARDED


def parse_listen_address(text: str) -> ListenAddress:
    """Parse `:10617`, `127.0.0.1:10617` or `[::1]:0`.

    Raises `ValueError` with a message for the operator.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch("[0-9]+", port):
        raise ValueError(f"{text!r} has no port, expected HOST:PORT or :PORT with a port from 0 to 65535")
    if len(port) > _PORT_DIGITS or int(port) > _LAST_PORT:
        raise ValueError(f"{text!r} has a port out of range, expected one from 1 to 65535, or 0 for any free port")
    if host.startswith("[") and host.endswith("]"):
        return ListenAddress(_ipv6(host[1:-1], text), int(port))
    if not _HOST.fullmatch(host):
        raise ValueError(f"{text!r} has no valid host, expected a name, an IPv4 address or an IPv6 address in brackets")
    return ListenAddress(host, int(port))


def parse_telemetry_path(text: str) -> str:
    """Parse a path for the metrics, which no other page may use.

    Raises `ValueError` with a message for the operator.
    """
    if not _TELEMETRY_PATH.fullmatch(text):
        raise ValueError(f"{text!r} is not a valid path, expected one such as /metrics")
    if f"{text}/".startswith(_RESERVED):
        raise ValueError(f"{text!r} is reserved, expected a path that is not below /-/ or /api/")
    return text


def parse_shard(text: str, host_name: str) -> Shard:
    """Parse `0/3`, or `auto/3` for the ordinal of a pod in a StatefulSet: `name-2` is 2.

    Raises `ValueError` with a message for the operator.
    """
    match = _SHARD.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a shard, expected I/N such as 0/3, or auto/3 in a pod of a StatefulSet")
    ordinal, count = match[1], int(match[2])
    if not count:
        raise ValueError(f"{text!r} has a shard count of 0, expected at least 1")
    origin = ""
    if ordinal == "auto":
        ordinal = _ordinal_of_pod(host_name, text)
        origin = f" of the host name {host_name!r}"
    if int(ordinal) >= count:
        raise ValueError(f"{text!r} has no shard {int(ordinal)}{origin}, expected one from 0 to {count - 1}")
    return Shard(int(ordinal), count)


def _ordinal_of_pod(host_name: str, text: str) -> str:
    # The host name of a pod can be its fully qualified domain name.
    match = _POD_ORDINAL.search(host_name.partition(".")[0])
    if not match:
        raise ValueError(
            f"{text!r} requires an ordinal in the host name {host_name!r}, expected a pod of a StatefulSet such as "
            "exporter-0"
        )
    return match[1]


def _ipv6(host: str, text: str) -> str:
    try:
        IPv6Address(host)
    except ValueError:
        raise ValueError(
            f"{text!r} has no valid IPv6 address in its brackets, expected one such as [::1]:10617"
        ) from None
    return host
