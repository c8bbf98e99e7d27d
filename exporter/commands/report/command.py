"""`report`: sweep the pools once and write every device to standard output."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

import click

from exporter.clock import Clock
from exporter.collect.identities import make_identity
from exporter.commands.aws_access import AwsAccess
from exporter.commands.discovery import resolve_discovery
from exporter.commands.report.formats import Change, Commands, Csv, DeviceFilter, Format, JsonLines, Table
from exporter.commands.report.output import Ordered, Output, Streamed
from exporter.commands.report.run import DeviceStream, ReportRun
from exporter.config.settings import IdentityMode, PoolSettings, Settings
from exporter.errors import ConfigError, Reason
from exporter.identity import Identity
from exporter.model import PoolState
from exporter.text import counted

COMPLETE, INCOMPLETE, INTERRUPTED = 0, 1, 130
"""Exit codes; 130 is what a shell returns for a program that Ctrl-C ended."""

POLL_SECONDS = 0.2
"""Interval at which the progress is polled and Ctrl-C is handled."""

CANCEL_SECONDS = 1.0
"""Timeout for the sweeps to stop after Ctrl-C."""


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """Options of the report."""

    format: str = "table"
    older_than_ms: int | None = None
    pool_ids: tuple[str, ...] = ()
    """Pools to report; empty for all."""
    sort: bool = False
    top: int | None = None
    identity: IdentityMode | None = None
    """None uses the configured mode of each pool."""
    change: Change | None = None
    """Print commands that make this change, instead of devices."""


def run_report(settings: Settings, options: ReportOptions, out: BinaryIO, access: AwsAccess) -> int:
    """Sweep the pools once, write their devices, and return the exit code.

    Raises `ConfigError` if a pool with identity hmac has no usable key, `click.UsageError` for options that contradict
    the configuration or each other.
    """
    resolved = resolve_discovery(settings, access)
    for error in resolved.errors:
        click.echo(error, err=True)
    pools = _selected_pools(resolved.settings, options)
    labels = _labels(pools, settings, options)
    device_filter = DeviceFilter(
        int(access.clock.wall() * 1000), options.older_than_ms, options.change is Change.UNREMEMBER
    )
    clients = access.clients({pool.target for pool in pools}, settings.limits.rate)
    try:
        output = _output(pools, options, out)
        streams = [DeviceStream(pool, labels[pool.id], device_filter, output) for pool in pools]
        # Rows streamed to the same terminal show the progress already.
        with_bar = sys.stderr.isatty() and not (isinstance(output, Streamed) and out.isatty())
        code = _finish(ReportRun(streams, clients.reader, access.clock), output, access.clock, with_bar=with_bar)
    except BrokenPipeError:  # the reader of the output, such as `head`, closed it
        return COMPLETE
    return INCOMPLETE if code == COMPLETE and resolved.errors else code


def _finish(run: ReportRun, output: Output, clock: Clock, *, with_bar: bool) -> int:
    """Run the sweeps, print what is missing from the report, and return the exit code."""
    try:
        run.start()
        if with_bar:
            _watch_with_bar(run, clock)
        else:
            while not run.wait(POLL_SECONDS):
                pass
        output.close()
    except KeyboardInterrupt:
        run.cancel()
        run.wait(CANCEL_SECONDS)
        output.close()
        users = counted(sum(stream.users_read for stream in run.streams), "user")
        devices = counted(sum(stream.devices_shown for stream in run.streams), "device")
        click.echo(f"interrupted: {users} read, {devices} shown", err=True)
        return INTERRUPTED
    incomplete = {stream.settings.id: problem for stream in run.streams if (problem := _problem(stream)) is not None}
    tracking_off = {
        stream.settings.id: "device tracking is off"
        for stream in run.streams
        if stream.state is PoolState.TRACKING_OFF  # not a problem, but different from "no devices"
    }
    for pool_id, message in (incomplete | tracking_off).items():
        click.echo(f"{pool_id}: {message}", err=True)
    return INCOMPLETE if incomplete else COMPLETE


def _selected_pools(settings: Settings, options: ReportOptions) -> list[PoolSettings]:
    known = {pool.id: pool for pool in settings.pools}
    for pool_id in options.pool_ids:
        if pool_id not in known:
            raise click.UsageError(f"--pool {pool_id}: unknown pool, expected one of {', '.join(known)}")
    return [known[pool_id] for pool_id in dict.fromkeys(options.pool_ids or known)]


def _labels(pools: Sequence[PoolSettings], settings: Settings, options: ReportOptions) -> dict[str, Identity]:
    """Return the identity of each pool, by pool id; commands always show user names."""
    mode = options.identity
    if options.change is not None:
        if mode is IdentityMode.HMAC:
            raise click.UsageError("--commands prints user names, so --identity hmac cannot be used with it")
        mode = IdentityMode.RAW
    labels: dict[str, Identity] = {}
    faults = []
    for pool in pools:
        try:
            labels[pool.id] = make_identity(
                replace(pool, identity=mode or pool.identity), settings.state_path, create_key=False
            )
        except (OSError, ValueError) as error:
            faults.append(f"{pool.id}: no key for identity hmac: {error}; or use --identity raw")
    if faults:
        raise ConfigError(faults)
    return labels


def _output(pools: Sequence[PoolSettings], options: ReportOptions, out: BinaryIO) -> Output:
    formatter: Format
    if options.change is not None:
        formatter = Commands(options.change)
    elif options.format == "csv":
        formatter = Csv()
    elif options.format == "json":
        formatter = JsonLines()
    else:
        formatter = Table([pool.id for pool in pools])
    if options.sort or options.top is not None:
        return Ordered(formatter, out, options.top)
    return Streamed(formatter, out)


def _watch_with_bar(run: ReportRun, clock: Clock) -> None:
    """Wait for the sweeps to finish, with a progress bar: users, time left, rate."""
    started = clock.monotonic()

    def rate(_: object) -> str:
        progress = run.progress()
        seconds = max(clock.monotonic() - started, POLL_SECONDS)
        return f"{progress.users_done / seconds:.1f} users/s  {progress.devices_shown} devices"

    with click.progressbar(length=0, label="users", file=sys.stderr, show_pos=True, item_show_func=rate) as bar:
        finished = False
        while not finished:
            finished = run.wait(POLL_SECONDS)
            progress = run.progress()
            bar.length = progress.users_expected
            if finished:
                bar.length = progress.users_done
            elif bar.length is not None:  # the estimate may be too low
                bar.length = max(bar.length, progress.users_done + 1)
            bar.update(progress.users_done - bar.pos)
        bar.render_progress()  # an update by 0 users does not show the final length


def _problem(stream: DeviceStream) -> str | None:
    """Return a message if users of the pool are missing from the report."""
    if stream.failure is None:
        if not stream.failed:
            return None
        reasons = ", ".join(f"{count} {reason.value}" for reason, count in stream.failed.most_common())
        return f"{counted(stream.failed.total(), 'user')} could not be read: {reasons}"
    reason = stream.failure.value
    if stream.state is PoolState.MISSING:
        reason = "user pool does not exist"
    elif stream.failure in {Reason.DENIED, Reason.CREDENTIALS}:
        reason = f"{reason}; run check-config --aws for details"
    return f"incomplete: {reason}"
