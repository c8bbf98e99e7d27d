"""Command-line flags, their environment variables, and their conversion to `ServeOptions`."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from exporter.config.values import parse_duration
from exporter.logging_setup import LogFormat, LogLevel
from exporter.options import (
    DEFAULT_PORT,
    ListenAddress,
    ServeOptions,
    parse_listen_address,
    parse_shard,
    parse_telemetry_path,
)
from exporter.shard import UNSHARDED

T = TypeVar("T")
Decorator = Callable[[Any], Any]

SHORTEST_INTERVAL_MS = 100
"""Minimum of `--config.auto-reload-interval`, in milliseconds: a shorter one only costs CPU time."""

ENV_PREFIX = "COGNITO_DEVICE_EXPORTER_"


def env_of(flag: str) -> str:
    """Return the environment variable of a flag: COGNITO_DEVICE_EXPORTER_LOG_LEVEL for `--log.level`."""
    return ENV_PREFIX + flag.removeprefix("--").replace(".", "_").replace("-", "_").upper()


class _Parsed(click.ParamType[Any]):
    """Parameter type that applies a parser; the text of its `ValueError` becomes the usage error."""

    envvar_list_splitter = ","

    def __init__(self, name: str, parse: Callable[[str], object]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value.strip())
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _parse_interval(text: str) -> float:
    try:
        milliseconds = parse_duration(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is {error}, expected one such as 30s, or 0") from None
    if 0 < milliseconds < SHORTEST_INTERVAL_MS:
        raise ValueError(f"{text!r} is too short, expected at least {SHORTEST_INTERVAL_MS}ms, or 0")
    return milliseconds / 1000


class _File(click.Path):
    """File path that rejects an empty value, such as an unset shell variable: it would be the current directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("empty, expected the path of a file", param, ctx)
        return super().convert(value, param, ctx)


FILE = _File(path_type=Path, readable=False)
"""Type of file parameters. It does not check access: the code that opens the file reports why it cannot be read."""

_DURATION = _Parsed("duration", _parse_interval)
_ADDRESS = _Parsed("host:port", parse_listen_address)
_PATH = _Parsed("path", parse_telemetry_path)
_SHARD = _Parsed("I/N", lambda text: parse_shard(text, socket.gethostname()))


def _flag(name: str, destination: str, help_text: str, **attributes: Any) -> Decorator:
    return click.option(
        name, destination, help=help_text, envvar=env_of(name), show_envvar=True, show_default=True, **attributes
    )


CONFIG_FLAGS: tuple[Decorator, ...] = (
    _flag(
        "--config.file",
        "config_file",
        "The configuration.",
        type=FILE,
        default=Path("config.yaml"),
    ),
)

SHARD_FLAGS: tuple[Decorator, ...] = (
    _flag(
        "--shard",
        "shard",
        "Which of N equal parts of the users to read, from 0; auto/N takes I from the pod's name in a StatefulSet.",
        type=_SHARD,
        default=str(UNSHARDED),
        metavar="I/N",
    ),
)

SERVE_FLAGS: tuple[Decorator, ...] = (
    _flag(
        "--web.listen-address",
        "listen_addresses",
        "Where to listen; repeatable (comma separated in the environment).",
        type=_ADDRESS,
        multiple=True,
        default=[f":{DEFAULT_PORT}"],
    ),
    _flag(
        "--web.probe-listen-address",
        "probe_listen_address",
        "Where to serve /-/healthy and /-/ready only, in plain HTTP.",
        type=_ADDRESS,
    ),
    _flag("--web.telemetry-path", "telemetry_path", "The path of the metrics.", type=_PATH, default="/metrics"),
    _flag(
        "--log.level",
        "log_level",
        "The least severe events to log.",
        type=click.Choice([level.value for level in LogLevel]),
        default=LogLevel.INFO.value,
    ),
    _flag(
        "--log.format",
        "log_format",
        "How to write a line of the log.",
        type=click.Choice([log_format.value for log_format in LogFormat]),
        default=LogFormat.LOGFMT.value,
    ),
    *SHARD_FLAGS,
    _flag(
        "--config.auto-reload-interval",
        "auto_reload_interval",
        "How often to look whether the content of the configuration has changed; 0 for never.",
        type=_DURATION,
        default="30s",
        metavar="DURATION",
    ),
    _flag(
        "--web.config.file",
        "web_config_file",
        "TLS, users and headers, in the format of Prometheus's exporter-toolkit.",
        type=FILE,
    ),
    _flag("--web.enable-lifecycle", "enable_lifecycle", "Allow POST /-/reload.", is_flag=True),
)


def with_flags(*groups: tuple[Decorator, ...]) -> Decorator:
    """Return a decorator that adds the flags of the groups to a command, in order."""

    def decorate(command: T) -> T:
        for group in reversed(groups):
            for decorator in reversed(group):
                command = decorator(command)
        return command

    return decorate


def value_of(ctx: click.Context, destination: str) -> Any:
    """Return a flag's value: given after the command, else before it, else in the environment, else the default."""
    if ctx.parent is None or ctx.get_parameter_source(destination) is ParameterSource.COMMANDLINE:
        return ctx.params[destination]
    return ctx.parent.params[destination]


def serve_options(ctx: click.Context, config_file: Path) -> ServeOptions:
    """Return the options of a serving command.

    Raises `click.UsageError` if two listen addresses are the same.
    """
    listen = value_of(ctx, "listen_addresses")
    probe = value_of(ctx, "probe_listen_address")
    _refuse_repeated([*listen, *([probe] if probe else [])])
    return ServeOptions(
        config_file=config_file,
        listen_addresses=tuple(listen),
        probe_listen_address=probe,
        auto_reload_interval=value_of(ctx, "auto_reload_interval"),
        enable_lifecycle=value_of(ctx, "enable_lifecycle"),
        web_config_file=value_of(ctx, "web_config_file"),
        telemetry_path=value_of(ctx, "telemetry_path"),
        log_level=LogLevel(value_of(ctx, "log_level")),
        log_format=LogFormat(value_of(ctx, "log_format")),
        shard=value_of(ctx, "shard"),
    )


def _refuse_repeated(addresses: list[ListenAddress]) -> None:
    fixed = [address for address in addresses if address.port]
    for place, address in enumerate(fixed):
        if address in fixed[:place]:
            raise click.UsageError(f"{address} stands twice among the addresses to listen on, expected it once")
