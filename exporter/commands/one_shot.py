"""Command-line options of the one-off commands; slow imports happen inside the commands."""

from __future__ import annotations

import sys
from typing import Any

import click
from click.core import ParameterSource

from exporter.config.load import load_settings
from exporter.config.settings import IdentityMode, Settings
from exporter.config.values import parse_duration
from exporter.flags import CONFIG_FLAGS, SHARD_FLAGS, value_of, with_flags
from exporter.logging_setup import LogFormat, LogLevel, configure_logging
from exporter.stdout import require_stdout


def _milliseconds(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is {error}, expected one such as 90d") from None


def quiet_logging(ctx: click.Context) -> None:
    """Log errors only, unless `--log.level` is set: the command prints its findings itself."""
    flags = ctx.find_root()
    asked = flags.get_parameter_source("log_level") is not ParameterSource.DEFAULT
    level = LogLevel(flags.params["log_level"]) if asked else LogLevel.ERROR
    configure_logging(level, LogFormat(flags.params["log_format"]), sys.stderr)


@click.option("--format", "form", type=click.Choice(["table", "csv", "json"]), default="table", show_default=True)
@click.option(
    "--older-than",
    "older_than_ms",
    metavar="DURATION",
    callback=_milliseconds,
    help="Only devices idle for longer, such as 90d.",
)
@click.option("--pool", "pool_ids", metavar="ID", multiple=True, help="Only this pool; repeatable.")
@click.option("--sort", is_flag=True, help="Longest idle first, once all are read; without it, as they are read.")
@click.option("--top", type=click.IntRange(min=1), metavar="N", help="Only the N that are idle longest, in order.")
@click.option(
    "--identity",
    type=click.Choice([mode.value for mode in IdentityMode]),
    help="Show users by fingerprint or by name, whatever the configuration says.",
)
@click.option(
    "--commands",
    "change",
    type=click.Choice(["forget", "unremember"]),
    help="Print the AWS CLI's commands that would forget the devices, or that would make them not remembered; "
    "nothing runs them.",
)
@with_flags(CONFIG_FLAGS)
@click.pass_context
def report_command(
    ctx: click.Context,
    /,
    *,
    form: str,
    older_than_ms: int | None,
    pool_ids: tuple[str, ...],
    sort: bool,
    top: int | None,
    identity: str | None,
    change: str | None,
    **_flags: Any,
) -> int:
    """Sweep every pool now and print each device; Ctrl-C ends it with what was read.

    It asks AWS at the rates of the configuration, beside what a running exporter asks.
    """
    # boto3 is slow to import, and every start of the program imports this module.
    from exporter.commands.report.command import ReportOptions, run_report  # noqa: PLC0415
    from exporter.commands.report.formats import Change  # noqa: PLC0415

    if change is not None and ctx.get_parameter_source("form") is not ParameterSource.DEFAULT:
        raise click.UsageError("--commands and --format each say what to print, expected one of them")
    asked = ReportOptions(
        form=form,
        older_than_ms=older_than_ms,
        pool_ids=pool_ids,
        sort=sort,
        top=top,
        identity=None if identity is None else IdentityMode(identity),
        change=None if change is None else Change(change),
    )
    require_stdout("the devices")
    settings = load_settings(value_of(ctx, "config_file"))
    quiet_logging(ctx)
    return run_report(settings, asked, sys.stdout.buffer, sys.stderr)


@click.option("--format", "form", type=click.Choice(["table", "json"]), default="table", show_default=True)
@click.option("--exact", is_flag=True, help="List every user, one call per 60 of them, where a pool has many.")
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    metavar="N",
    help="Ask for the devices of N users of each pool.",
)
@with_flags(CONFIG_FLAGS, SHARD_FLAGS)
@click.pass_context
def plan_command(ctx: click.Context, /, *, form: str, exact: bool, sample: int, **_flags: Any) -> int:
    """Forecast what sweeping the pools takes; it reads a little and changes nothing.

    Exit code 3: some pool cannot keep its refresh_interval, or there are more series than limits.series.
    """
    from exporter.commands.plan.command import PlanOptions, run_plan  # noqa: PLC0415 - as above
    from exporter.commands.plan.survey import SampleSize  # noqa: PLC0415 - as above

    require_stdout("the forecast")
    settings = load_settings(value_of(ctx, "config_file"))
    quiet_logging(ctx)
    asked = PlanOptions(form == "json", SampleSize(exact=exact, users=sample), value_of(ctx, "shard"))
    return run_plan(settings, asked, sys.stderr)


def check_aws_command(ctx: click.Context, settings: Settings) -> int:
    """Run `check-config --aws` on a valid configuration and return the exit code."""
    from exporter.commands.check.command import check_aws  # noqa: PLC0415 - as above

    quiet_logging(ctx)
    return check_aws(settings, sys.stderr)
