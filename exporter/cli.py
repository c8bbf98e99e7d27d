"""Command-line interface: command definitions and the mapping of errors to exit codes."""

from __future__ import annotations

import platform
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from exporter import __version__
from exporter.buildinfo import revision
from exporter.commands.demo.command import MissingEmulator, require_addresses, run_demo
from exporter.commands.demo.prometheus import prometheus_beside
from exporter.commands.healthcheck import check_health, health_address
from exporter.commands.identify import labels
from exporter.commands.one_shot import check_aws_command, plan_command, report_command
from exporter.config.crosscheck import require_shared_keys
from exporter.config.load import load_settings
from exporter.config.settings import Settings
from exporter.errors import ConfigError, ExporterError
from exporter.flags import CONFIG_FLAGS, FILE, SERVE_FLAGS, serve_options, value_of, with_flags
from exporter.logging_setup import configure_logging
from exporter.options import ServeOptions
from exporter.stdout import StdoutClosed, require_stdout, writing_to_stdout

PROGRAM = "cognito-device-exporter"

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes; 130 is what a shell returns for a program that Ctrl-C ended."""

Serve = Callable[[Settings, ServeOptions], int]
"""Function that runs the daemon until it is stopped, and returns an exit code."""


@dataclass(frozen=True, slots=True)
class _Parts:
    """Dependencies that `main` injects into the commands."""

    serve: Serve


def main(args: Sequence[str] | None = None, serve: Serve | None = None) -> int:
    """Run the command line and return its exit code.

    0: success. 1: failure at run time. 2: wrong usage or configuration. 130: interrupted by Ctrl-C.

    `args` defaults to the arguments of the process, `serve` to `exporter.daemon.app.serve`.
    """
    parts = _Parts(serve or _serve_app)
    try:
        return int(cli.main(args, prog_name=PROGRAM, standalone_mode=False, obj=parts) or DONE)
    except (click.UsageError, MissingEmulator, StdoutClosed, ConfigError) as error:
        return _told(error, WRONG_USAGE)
    except (click.Abort, KeyboardInterrupt):
        return _told("interrupted", INTERRUPTED)
    except (click.ClickException, ExporterError, OSError) as error:
        return _told(error, FAILED)


def _told(error: Exception | str, code: int) -> int:
    text = error.format_message() if isinstance(error, click.ClickException) else str(error)
    click.echo(text, err=True)
    return code


def _serve_app(settings: Settings, options: ServeOptions) -> int:
    from exporter.daemon.app import serve  # noqa: PLC0415 - boto3 is slow to import, and only serving needs it

    return serve(settings, options)


def _print_version(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
    if value and not ctx.resilient_parsing:
        with writing_to_stdout():
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
    with _deaf_to_hangups():
        settings = load_settings(options.config_file)
        require_shared_keys(settings, options.shard)
        configure_logging(options.log_level, options.log_format, sys.stderr)
        parts: _Parts = ctx.obj
        return parts.serve(settings, options)


@contextmanager
def _deaf_to_hangups() -> Iterator[None]:
    """Ignore SIGHUP, whose default action ends the process, until the daemon installs its reload handler."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


@cli.command("check-config")
@click.argument("file", type=FILE)
@click.option("--aws", is_flag=True, help="Also try each permission that the configuration needs, read-only.")
@click.pass_context
def _check_config(ctx: click.Context, /, file: Path, *, aws: bool) -> int:
    """Validate FILE: every fault with its line and key."""
    settings = load_settings(file)
    counts = [_counted(len(settings.pools), "pool")] if settings.pools else []
    counts += [_counted(len(settings.discovery), "rule")] if settings.discovery else []
    with writing_to_stdout():
        click.echo(f"{file}: OK ({', '.join(counts)})")
    return check_aws_command(ctx, settings) if aws else DONE


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


@cli.command("identify")
@click.argument("user")
@click.option(
    "--pool", "pool_ids", metavar="ID", multiple=True, help="Only this pool, which a rule may find; repeatable."
)
@with_flags(CONFIG_FLAGS)
@click.pass_context
def _identify(ctx: click.Context, /, user: str, pool_ids: tuple[str, ...], **_flags: Any) -> int:
    """Print the label `user` that USER has in each configured pool."""
    require_stdout("the labels")
    settings = load_settings(value_of(ctx, "config_file"))
    try:
        found = labels(settings, user, pool_ids)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    with writing_to_stdout():
        for pool_id, label in found:
            click.echo(f"{pool_id} {label}")
    if settings.discovery and not pool_ids:
        click.echo("pools that a rule finds are not asked for here: name them, --pool ID", err=True)
    return DONE


@cli.command("iam-policy")
@click.option("--role", metavar="ARN", help="Print what this role of the configuration needs.")
@click.option("--trust", metavar="ARN", help="With --role, print what lets this principal assume it.")
@click.option("--part", metavar="I", type=click.IntRange(min=1), help="Which part, of a policy that needs several.")
@with_flags(CONFIG_FLAGS)
@click.pass_context
def _iam_policy(ctx: click.Context, /, role: str | None, trust: str | None, part: int | None, **_flags: Any) -> int:
    """Print the least-privilege policy for the configuration.

    It is for the principal as which the exporter runs; roles that the configuration assumes have policies of their own.
    """
    from exporter.commands.iam_policy import PolicyRequest, policy_text  # noqa: PLC0415 - boto3 is slow to import

    require_stdout("the policy")
    settings = load_settings(value_of(ctx, "config_file"))
    try:
        document, notes = policy_text(settings, PolicyRequest(role, trust, part))
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    with writing_to_stdout():
        click.echo(document)
    for note in notes:
        click.echo(note, err=True)
    return DONE


cli.command("plan")(plan_command)
cli.command("report")(report_command)


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
    options = serve_options(ctx, Path())
    require_addresses(options)
    return run_demo(lambda config_file: _serve(ctx, config_file), options, watch=prometheus_beside)
