"""The commands, and the one place where an error becomes an exit code."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from exporter import __version__
from exporter.buildinfo import revision
from exporter.cli.demo import MissingEmulator, run_demo
from exporter.cli.demo_prometheus import prometheus_beside
from exporter.cli.flags import CONFIG_FLAGS, SERVE_FLAGS, serve_options, value_of, with_flags
from exporter.cli.health import check_health, health_address
from exporter.cli.identify import labels
from exporter.config.load import load_settings
from exporter.config.settings import Settings
from exporter.config.sharding import require_shared_keys
from exporter.errors import ConfigError, ExporterError
from exporter.logs import configure_logging
from exporter.options import ServeOptions

PROGRAM = "cognito-device-exporter"

DONE, FAILED, WRONG_USAGE = 0, 1, 2

Serve = Callable[[Settings, ServeOptions], int]
"""Serves until told to stop, and returns an exit code."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """What the commands are given instead of importing it."""

    serve: Serve


def main(args: Sequence[str] | None = None, serve: Serve | None = None) -> int:
    """Run the command line and return its exit code: 0 done, 1 failed while running, 2 wrong usage or configuration.

    `args` are those of the process unless given; `serve` is `exporter.app.serve` unless given.
    """
    parts = _Parts(serve or _serve_app)
    try:
        return int(cli.main(args, prog_name=PROGRAM, standalone_mode=False, obj=parts) or DONE)
    except (click.UsageError, MissingEmulator, ConfigError) as error:
        return _told(error, WRONG_USAGE)
    except (click.Abort, KeyboardInterrupt):
        return _told("interrupted", FAILED)
    except (click.ClickException, ExporterError, OSError) as error:
        return _told(error, FAILED)


def _told(error: Exception | str, code: int) -> int:
    text = error.format_message() if isinstance(error, click.ClickException) else str(error)
    click.echo(text, err=True)
    return code


def _serve_app(settings: Settings, options: ServeOptions) -> int:
    from exporter.app import serve  # noqa: PLC0415 - boto3 is slow to import, and only serving needs it

    return serve(settings, options)


def _print_version(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
    if value and not ctx.resilient_parsing:
        click.echo(f"{PROGRAM}, version {__version__} (revision: {revision()})")
        click.echo(f"  python version:   {platform.python_version()}")
        click.echo(f"  platform:         {platform.system().lower()}/{platform.machine()}")
        ctx.exit()


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
@with_flags(CONFIG_FLAGS, SERVE_FLAGS)
@click.pass_context
def cli(ctx: click.Context, /, **_flags: Any) -> int:
    """Serve the remembered devices of Amazon Cognito user pools to Prometheus.

    Without a command it serves. Flags may stand before or after a command.
    """
    return _serve(ctx, value_of(ctx, "config_file")) if ctx.invoked_subcommand is None else DONE


@cli.command("serve")
@with_flags(CONFIG_FLAGS, SERVE_FLAGS)
@click.pass_context
def _serve_command(ctx: click.Context, /, **_flags: Any) -> int:
    """Sweep on schedule and serve until SIGTERM or SIGINT."""
    return _serve(ctx, value_of(ctx, "config_file"))


def _serve(ctx: click.Context, config_file: Path) -> int:
    options = serve_options(ctx, config_file)
    settings = load_settings(options.config_file)
    require_shared_keys(settings, options.shard)
    configure_logging(options.log_level, options.log_format, sys.stderr)
    parts: _Parts = ctx.obj
    return parts.serve(settings, options)


@cli.command("check-config")
@click.argument("file", type=click.Path(path_type=Path))
def _check_config(file: Path) -> int:
    """Validate FILE: every fault with its line and key."""
    pools = len(load_settings(file).pools)
    click.echo(f"{file}: OK ({pools} {'pool' if pools == 1 else 'pools'})")
    return DONE


@cli.command("identify")
@click.argument("user")
@with_flags(CONFIG_FLAGS)
@click.pass_context
def _identify(ctx: click.Context, /, user: str, **_flags: Any) -> int:
    """Print the label `user` that USER has in each configured pool."""
    for pool_id, label in labels(load_settings(value_of(ctx, "config_file")), user):
        click.echo(f"{pool_id} {label}")
    return DONE


@cli.command("healthcheck")
@with_flags(SERVE_FLAGS)
@click.pass_context
def _healthcheck(ctx: click.Context, /, **_flags: Any) -> int:
    """Ask the exporter on this machine whether it is alive, for container health checks."""
    address = health_address(serve_options(ctx, value_of(ctx, "config_file")))
    if not address.port:
        raise click.UsageError(f"the address {address} leaves the port open, expected one with a port to ask")
    check_health(address)
    return DONE


@cli.command("demo")
@with_flags(SERVE_FLAGS)
@click.pass_context
def _demo(ctx: click.Context, /, **_flags: Any) -> int:
    """Serve from the bundled Cognito emulation: no AWS account, no network."""
    return run_demo(lambda config_file: _serve(ctx, config_file), serve_options(ctx, Path()), watch=prometheus_beside)
