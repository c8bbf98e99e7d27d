"""Command-line interface: command definitions and the mapping of errors to exit codes.

Modules that import boto3 are slow to import, so that each command imports its own.
"""

from __future__ import annotations

import platform
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from exporter import __version__
from exporter.buildinfo import revision
from exporter.commands.demo.command import MissingEmulator, require_addresses, run_demo
from exporter.commands.demo.prometheus import run_prometheus
from exporter.commands.healthcheck import check_health, health_address
from exporter.commands.identify import labels
from exporter.config.crosscheck import require_shared_keys
from exporter.config.load import load_settings
from exporter.config.settings import IdentityMode, Settings
from exporter.config.values import parse_duration
from exporter.errors import ConfigError, ExporterError
from exporter.flags import CONFIG_FLAGS, FILE, SERVE_FLAGS, SHARD_FLAGS, flag_value, serve_options, with_flags
from exporter.logging_setup import LogFormat, LogLevel, configure_logging
from exporter.options import ServeOptions
from exporter.stdout import StdoutClosed, require_stdout, writing_to_stdout
from exporter.text import counted

PROGRAM = "cognito-device-exporter"

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes; 130 is what a shell returns for a program that Ctrl-C ended."""

Serve = Callable[[Settings, ServeOptions], int]
"""Function that runs the daemon until it is stopped, and returns an exit code."""


def main(args: Sequence[str] | None = None, serve: Serve | None = None) -> int:
    """Run the command line and return its exit code.

    0: success. 1: failure at run time. 2: wrong usage or configuration. 130: interrupted by Ctrl-C.

    `args` defaults to the arguments of the process, `serve` to `exporter.daemon.app.serve`.
    """
    try:
        return int(cli.main(args, prog_name=PROGRAM, standalone_mode=False, obj=serve or _serve_app) or DONE)
    except click.UsageError as error:
        command = PROGRAM if error.ctx is None else error.ctx.command_path
        message = error.format_message().removesuffix(".")
        return _fail(f"{PROGRAM}: error: {message}, try '{command} --help'", WRONG_USAGE)
    except (MissingEmulator, StdoutClosed, ConfigError) as error:
        return _fail(str(error), WRONG_USAGE)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", INTERRUPTED)
    except (click.ClickException, ExporterError, OSError) as error:
        return _fail(str(error), FAILED)


def _serve_app(settings: Settings, options: ServeOptions) -> int:
    from exporter.daemon.app import serve  # noqa: PLC0415

    return serve(settings, options)


def _fail(message: str, code: int) -> int:
    click.echo(message, err=True)
    return code


def _print_version(ctx: click.Context, _param: click.Parameter, value: Any) -> None:
    if value and not ctx.resilient_parsing:
        with writing_to_stdout():
            click.echo(f"{PROGRAM}, version {__version__} (revision: {revision()})")
            click.echo(f"  python version:   {platform.python_version()}")
            click.echo(f"  platform:         {platform.system().lower()}/{platform.machine()}")
        ctx.exit()


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version and exit.",
)
@with_flags(CONFIG_FLAGS, SERVE_FLAGS)
@click.pass_context
def cli(ctx: click.Context, /, **_flags: Any) -> int:
    """Prometheus exporter for the remembered devices of Amazon Cognito user pools.

    Runs `serve` if no command is given. Flags are accepted before and after a command.
    """
    return _serve(ctx, flag_value(ctx, "config_file")) if ctx.invoked_subcommand is None else DONE


@cli.command("serve")
@with_flags(CONFIG_FLAGS, SERVE_FLAGS)
@click.pass_context
def _serve_command(ctx: click.Context, /, **_flags: Any) -> int:
    """Sweep the pools on schedule and serve metrics.

    Runs until SIGTERM or SIGINT.
    """
    return _serve(ctx, flag_value(ctx, "config_file"))


def _serve(ctx: click.Context, config_file: Path) -> int:
    options = serve_options(ctx, config_file)
    # The default action of SIGHUP ends the process. The daemon installs its reload handler later.
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        settings = load_settings(options.config_file)
        require_shared_keys(settings, options.shard)
        configure_logging(options.log_level, options.log_format, sys.stderr)
        serve: Serve = ctx.obj
        return serve(settings, options)
    finally:
        signal.signal(signal.SIGHUP, before)


@cli.command("check-config")
@click.argument("file", type=FILE)
@click.option("--aws", is_flag=True, help="Also check every AWS permission that the configuration needs (read-only).")
@click.pass_context
def _check_config(ctx: click.Context, /, file: Path, *, aws: bool) -> int:
    """Validate FILE and print every error with its line and key."""
    settings = load_settings(file)
    counts = [counted(len(settings.pools), "pool")] if settings.pools else []
    counts += [counted(len(settings.discovery), "rule")] if settings.discovery else []
    with writing_to_stdout():
        click.echo(f"{file}: OK ({', '.join(counts)})")
    if not aws:
        return DONE
    from exporter.commands.aws_access import AwsAccess  # noqa: PLC0415
    from exporter.commands.check import check_aws  # noqa: PLC0415

    _log_errors_only(ctx)
    return check_aws(settings, AwsAccess())


def _log_errors_only(ctx: click.Context) -> None:
    """Configure logging with level error, unless `--log.level` is set: the command prints its findings itself."""
    flags = ctx.find_root()
    is_set = flags.get_parameter_source("log_level") is not ParameterSource.DEFAULT
    level = LogLevel(flags.params["log_level"]) if is_set else LogLevel.ERROR
    configure_logging(level, LogFormat(flags.params["log_format"]), sys.stderr)


@cli.command("identify")
@click.argument("user")
@click.option(
    "--pool",
    "pool_ids",
    metavar="ID",
    multiple=True,
    help="Print the label in this pool only, which may be a discovered one; repeatable.",
)
@with_flags(CONFIG_FLAGS)
@click.pass_context
def _identify(ctx: click.Context, /, user: str, pool_ids: tuple[str, ...], **_flags: Any) -> int:
    """Print the label `user` of USER in each configured pool."""
    require_stdout("the labels")
    settings = load_settings(flag_value(ctx, "config_file"))
    try:
        pairs = labels(settings, user, pool_ids)
    except ValueError as error:
        raise click.UsageError(str(error), ctx) from None
    with writing_to_stdout():
        for pool_id, label in pairs:
            click.echo(f"{pool_id} {label}")
    if settings.discovery and not pool_ids:
        click.echo("discovered pools are not included; specify them with --pool ID", err=True)
    return DONE


@cli.command("iam-policy")
@click.option("--role", metavar="ARN", help="Print the policy of this role, which must be in the configuration.")
@click.option("--trust", metavar="ARN", help="Print the trust policy of --role for this principal.")
@click.option("--part", metavar="I", type=click.IntRange(min=1), help="Part to print of a policy that has several.")
@with_flags(CONFIG_FLAGS)
@click.pass_context
def _iam_policy(ctx: click.Context, /, role: str | None, trust: str | None, part: int | None, **_flags: Any) -> int:
    """Print the least-privilege IAM policy for the configuration.

    The policy is for the principal that runs the exporter. Roles that the configuration assumes need their own.
    """
    from exporter.commands.iam_policy import PolicyRequest, policy_text  # noqa: PLC0415

    require_stdout("the policy")
    settings = load_settings(flag_value(ctx, "config_file"))
    try:
        document, notes = policy_text(settings, PolicyRequest(role, trust, part))
    except ValueError as error:
        raise click.UsageError(str(error), ctx) from None
    with writing_to_stdout():
        click.echo(document)
    for note in notes:
        click.echo(note, err=True)
    return DONE


@cli.command("plan")
@click.option("--format", "format_", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--exact", is_flag=True, help="List all users, at one request per 60 users.")
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    metavar="N",
    help="Number of users per pool whose devices are read.",
)
@with_flags(CONFIG_FLAGS, SHARD_FLAGS)
@click.pass_context
def _plan(ctx: click.Context, /, *, format_: str, exact: bool, sample: int, **_flags: Any) -> int:
    """Forecast the requests, duration and series of sweeps.

    The forecast is based on a small sample, which is read from AWS.

    Exit code 3: a pool cannot keep its refresh_interval, or the series exceed limits.series.
    """
    from exporter.commands.aws_access import AwsAccess  # noqa: PLC0415
    from exporter.commands.plan.command import PlanOptions, run_plan  # noqa: PLC0415
    from exporter.commands.plan.survey import SampleSize  # noqa: PLC0415

    require_stdout("the forecast")
    settings = load_settings(flag_value(ctx, "config_file"))
    _log_errors_only(ctx)
    options = PlanOptions(format_ == "json", SampleSize(exact=exact, users=sample), flag_value(ctx, "shard"))
    return run_plan(settings, options, AwsAccess())


def _parse_older_than(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is {error}, expected one such as 90d") from None


@cli.command("report")
@click.option("--format", "format_", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@click.option(
    "--older-than",
    "older_than_ms",
    metavar="DURATION",
    callback=_parse_older_than,
    help="Print only devices idle for longer than this, such as 90d.",
)
@click.option("--pool", "pool_ids", metavar="ID", multiple=True, help="Report this pool only; repeatable.")
@click.option("--sort", is_flag=True, help="Print the longest idle devices first, after all are read.")
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="Print only the N longest idle devices, sorted.")
@click.option(
    "--identity",
    type=click.Choice([mode.value for mode in IdentityMode]),
    help="Show users by fingerprint or by name; overrides the configuration.",
)
@click.option(
    "--commands",
    "change",
    type=click.Choice(["forget", "unremember"]),
    help="Print AWS CLI commands that forget the devices or make them not remembered, without running them.",
)
@with_flags(CONFIG_FLAGS)
@click.pass_context
def _report(
    ctx: click.Context,
    /,
    *,
    format_: str,
    older_than_ms: int | None,
    pool_ids: tuple[str, ...],
    sort: bool,
    top: int | None,
    identity: str | None,
    change: str | None,
    **_flags: Any,
) -> int:
    """Read every pool once and print each device. Ctrl-C prints what was read so far.

    The requests keep to the configured rates, in addition to those of a running exporter.
    """
    from exporter.commands.aws_access import AwsAccess  # noqa: PLC0415
    from exporter.commands.report.command import ReportOptions, run_report  # noqa: PLC0415
    from exporter.commands.report.formats import Change  # noqa: PLC0415

    if change is not None and ctx.get_parameter_source("format_") is not ParameterSource.DEFAULT:
        raise click.UsageError("--commands and --format are mutually exclusive", ctx)
    options = ReportOptions(
        format=format_,
        older_than_ms=older_than_ms,
        pool_ids=pool_ids,
        sort=sort,
        top=top,
        identity=None if identity is None else IdentityMode(identity),
        change=None if change is None else Change(change),
    )
    require_stdout("the devices")
    settings = load_settings(flag_value(ctx, "config_file"))
    _log_errors_only(ctx)
    return run_report(settings, options, sys.stdout.buffer, AwsAccess())


@cli.command("healthcheck")
@with_flags(SERVE_FLAGS)
@click.pass_context
def _healthcheck(ctx: click.Context, /, **_flags: Any) -> int:
    """Query /-/healthy of the exporter on this machine."""
    address = health_address(serve_options(ctx, flag_value(ctx, "config_file")))
    if not address.port:
        raise click.UsageError(f"address {address} has no fixed port; healthcheck needs one", ctx)
    check_health(address)
    return DONE


@cli.command("demo")
@with_flags(SERVE_FLAGS)
@click.pass_context
def _demo(ctx: click.Context, /, **_flags: Any) -> int:
    """Serve metrics of the bundled Cognito emulator.

    Needs no AWS account and no network access.
    """
    options = serve_options(ctx, Path())
    require_addresses(options)
    return run_demo(lambda config_file: _serve(ctx, config_file), options, watch=run_prometheus)
