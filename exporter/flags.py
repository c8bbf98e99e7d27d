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
    ServeOptions,
    parse_listen_address,
    parse_shard,
    parse_telemetry_path,
)
from exporter.shard import UNSHARDED

T = TypeVar("T")
Decorator = Callable[[Any], Any]

MIN_INTERVAL_MS = 100
"""Minimum of `--config.auto-reload-interval`, in milliseconds: a shorter one only costs CPU time."""

ENV_PREFIX = "COGNITO_DEVICE_EXPORTER_"


def environment_variable(flag: str) -> str:
    """Return the environment variable of a flag: COGNITO_DEVICE_EXPORTER_LOG_LEVEL for `--log.level`."""
    return ENV_PREFIX + flag.removeprefix("--").replace(".", "_").replace("-", "_").upper()


class _ParsedType(click.ParamType[Any]):
    """Parameter type that applies a parser; the text of its `ValueError` becomes the usage error."""

    envvar_list_splitter = ","

    def __init__(self, name: str, parse: Callable[[str], object]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the parsed value; a default value may be parsed already."""
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
    if 0 < milliseconds < MIN_INTERVAL_MS:
        raise ValueError(f"{text!r} is too short, expected at least {MIN_INTERVAL_MS}ms, or 0")
    return milliseconds / 1000


class _File(click.Path):
    """File path that rejects an empty value, such as an unset shell variable: it would be the current directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "":
            self.fail("empty, expected a file name", param, ctx)
        return super().convert(value, param, ctx)


FILE = _File(path_type=Path, readable=False)
"""Type of file parameters. It does not check access: the code that opens the file reports why it cannot be read."""

_DURATION = _ParsedType("duration", _parse_interval)
_ADDRESS = _ParsedType("host:port", parse_listen_address)
_PATH = _ParsedType("path", parse_telemetry_path)
_SHARD = _ParsedType("I/N", lambda text: parse_shard(text, socket.gethostname()))


def _flag(name: str, destination: str, help_text: str, **attributes: Any) -> Decorator:
    return click.option(
        name,
        destination,
        help=help_text,
        envvar=environment_variable(name),
        show_envvar=True,
        show_default=True,
        **attributes,
    )


CONFIG_FLAGS: tuple[Decorator, ...] = (
    _flag(
        "--config.file",
        "config_file",
        "Configuration file.",
        type=FILE,
        default=Path("config.yaml"),
    ),
)

SHARD_FLAGS: tuple[Decorator, ...] = (
    _flag(
        "--shard",
        "shard",
        "Shard of the users to read, with I from 0 to N-1. auto/N takes I from the name of a StatefulSet pod.",
        type=_SHARD,
        default=str(UNSHARDED),
        metavar="I/N",
    ),
)

SERVE_FLAGS: tuple[Decorator, ...] = (
    _flag(
        "--web.listen-address",
        "listen_addresses",
        "Address to listen on; repeatable (comma-separated in the environment variable).",
        type=_ADDRESS,
        multiple=True,
        default=[f":{DEFAULT_PORT}"],
    ),
    _flag(
        "--web.probe-listen-address",
        "probe_listen_address",
        "Address on which to serve only /-/healthy and /-/ready, over plain HTTP.",
        type=_ADDRESS,
    ),
    _flag("--web.telemetry-path", "telemetry_path", "Path of the metrics.", type=_PATH, default="/metrics"),
    _flag(
        "--log.level",
        "log_level",
        "Minimum log level.",
        type=click.Choice([level.value for level in LogLevel]),
        default=LogLevel.INFO.value,
    ),
    _flag(
        "--log.format",
        "log_format",
        "Log format.",
        type=click.Choice([log_format.value for log_format in LogFormat]),
        default=LogFormat.LOGFMT.value,
    ),
    *SHARD_FLAGS,
    _flag(
        "--config.auto-reload-interval",
        "auto_reload_interval",
        "Interval at which to check the configuration for changes; 0 disables the check.",
        type=_DURATION,
        default="30s",
        metavar="DURATION",
    ),
    _flag(
        "--web.config.file",
        "web_config_file",
        "Web configuration file for TLS, authentication and headers, in the format of the Prometheus exporter-toolkit.",
        type=FILE,
    ),
    _flag("--web.enable-lifecycle", "enable_lifecycle", "Enable POST /-/reload.", is_flag=True),
)


def with_flags(*groups: tuple[Decorator, ...]) -> Decorator:
    """Return a decorator that adds the flags of the groups to a command, in order."""

    def decorate(command: T) -> T:
        for group in reversed(groups):
            for decorator in reversed(group):
                command = decorator(command)
        return command

    return decorate


def flag_value(ctx: click.Context, destination: str) -> Any:
    """Return a flag's value: given after the command, else before it, else in the environment, else the default."""
    if ctx.parent is None or ctx.get_parameter_source(destination) is ParameterSource.COMMANDLINE:
        return ctx.params[destination]
    return ctx.parent.params[destination]


def serve_options(ctx: click.Context, config_file: Path) -> ServeOptions:
    """Return the options of a serving command.

    Raises `click.UsageError` if two listen addresses are the same.
    """
    listen = flag_value(ctx, "listen_addresses")
    probe = flag_value(ctx, "probe_listen_address")
    fixed = [address for address in (*listen, probe) if address is not None and address.port]
    for index, address in enumerate(fixed):
        if address in fixed[:index]:
            raise click.UsageError(f"duplicate listen address {address}", ctx)
    return ServeOptions(
        config_file=config_file,
        listen_addresses=tuple(listen),
        probe_listen_address=probe,
        auto_reload_interval=flag_value(ctx, "auto_reload_interval"),
        enable_lifecycle=flag_value(ctx, "enable_lifecycle"),
        web_config_file=flag_value(ctx, "web_config_file"),
        telemetry_path=flag_value(ctx, "telemetry_path"),
        log_level=LogLevel(flag_value(ctx, "log_level")),
        log_format=LogFormat(flag_value(ctx, "log_format")),
        shard=flag_value(ctx, "shard"),
    )
