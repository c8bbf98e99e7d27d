"""`report`: sweep the pools once and write every device to standard output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import BinaryIO, TextIO

import click

from exporter.aws.sessions import AwsApis
from exporter.aws.targets import ApiFactory
from exporter.clock import Clock, SystemClock
from exporter.commands.discovery import resolve_discovery
from exporter.commands.identify import label_identity
from exporter.commands.pool_access import KeptApis, connections
from exporter.commands.report.formats import Change, Commands, Csv, Format, JsonLines, Table
from exporter.commands.report.gather import Progress, ReportRun
from exporter.commands.report.output import Ordered, Output, Streamed
from exporter.commands.report.rows import DeviceFilter
from exporter.commands.report.stream import DeviceStream
from exporter.config.settings import IdentityMode, PoolSettings, Settings
from exporter.errors import ConfigError, Reason
from exporter.identity import Identity
from exporter.model import PoolState
from exporter.retry import DEFAULT_RETRY_POLICY, RetryPolicy

COMPLETE, INCOMPLETE, INTERRUPTED = 0, 1, 130
"""Exit codes; 130 is what a shell returns for a program that Ctrl-C ended."""

LOOK_SECONDS = 0.2
"""Interval at which the progress is polled and Ctrl-C is handled."""

CANCEL_SECONDS = 1.0
"""Timeout for the sweeps to stop after Ctrl-C."""


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """Options of the report."""

    form: str = "table"
    older_than_ms: int | None = None
    pool_ids: tuple[str, ...] = ()
    """Pools to report; empty for all."""
    sort: bool = False
    top: int | None = None
    identity: IdentityMode | None = None
    """None uses the configured mode of each pool."""
    change: Change | None = None
    """Print commands that make this change, instead of devices."""


def run_report(
    settings: Settings,
    asked: ReportOptions,
    out: BinaryIO,
    err: TextIO,
    *,
    make_api: ApiFactory | None = None,
    clock: Clock | None = None,
    retry_policy: RetryPolicy = DEFAULT_RETRY_POLICY,
) -> int:
    """Sweep the pools once, write their devices, and return the exit code.

    Raises `ConfigError` if a pool with identity hmac has no usable key, `click.UsageError` for options that contradict
    the configuration or each other.
    """
    clock = clock or SystemClock()
    apis = KeptApis(make_api or AwsApis())
    seen = resolve_discovery(settings, err, make_api=apis, clock=clock, retry_policy=retry_policy)
    for fault in seen.faults:
        click.echo(fault, file=err)
    settings = seen.settings
    pools = _chosen(settings, asked)
    labels = _labels(pools, settings, asked)
    form = _format(pools, asked)
    wanted = DeviceFilter(int(clock.wall() * 1000), asked.older_than_ms)
    connected = connections({pool.target for pool in pools}, settings.limits.rate, clock, apis)
    try:
        output = _output(form, asked, out)
        streams = [DeviceStream(pool, labels[pool.id], wanted, form.wants, output) for pool in pools]
        gathering = ReportRun(streams, connected.reader, clock, retry_policy=retry_policy)
        # Rows streamed to the same terminal show the progress already.
        with_bar = err.isatty() and not (isinstance(output, Streamed) and out.isatty())
        watch = partial(_watch_with_bar, gathering, err, clock) if with_bar else partial(_watch, gathering)
        code = _gathered(gathering, streams, output, err, watch)
    except BrokenPipeError:  # the reader of the output, such as `head`, closed it
        return COMPLETE
    return INCOMPLETE if code == COMPLETE and seen.faults else code


def _gathered(
    gathering: ReportRun, streams: Sequence[DeviceStream], output: Output, err: TextIO, watch: Callable[[], None]
) -> int:
    try:
        gathering.start()
        watch()
        output.close()
    except KeyboardInterrupt:
        gathering.cancel()
        gathering.wait(CANCEL_SECONDS)
        output.close()
        click.echo(f"interrupted: {_read(streams)}", file=err)
        return INTERRUPTED
    failed = _faults(gathering, streams)
    for line in [*failed, *_remarks(streams)]:
        click.echo(line, file=err)
    return INCOMPLETE if failed else COMPLETE


def _chosen(settings: Settings, asked: ReportOptions) -> tuple[PoolSettings, ...]:
    known = {pool.id: pool for pool in settings.pools}
    for pool_id in asked.pool_ids:
        if pool_id not in known:
            raise click.UsageError(f"--pool {pool_id}: not in the configuration, expected one of {', '.join(known)}")
    chosen = [known[pool_id] for pool_id in dict.fromkeys(asked.pool_ids)] or list(settings.pools)
    return tuple(chosen if asked.identity is None else [replace(pool, identity=asked.identity) for pool in chosen])


def _labels(pools: Sequence[PoolSettings], settings: Settings, asked: ReportOptions) -> dict[str, Identity]:
    """Return the identity of each pool, by pool id; commands always show user names."""
    if asked.change is not None:
        if asked.identity is IdentityMode.HMAC:
            raise click.UsageError("--commands needs user names, so --identity hmac cannot go with it")
        pools = [replace(pool, identity=IdentityMode.RAW) for pool in pools]
    found: dict[str, Identity] = {}
    faults = []
    for pool in pools:
        try:
            found[pool.id] = label_identity(pool, settings.state_path)
        except (OSError, ValueError) as error:
            faults.append(f"{pool.id}: no key for identity hmac: {error}; or ask for --identity raw")
    if faults:
        raise ConfigError(faults)
    return found


def _format(pools: Sequence[PoolSettings], asked: ReportOptions) -> Format:
    if asked.change is not None:
        return Commands(asked.change)
    if asked.form == "csv":
        return Csv()
    return JsonLines() if asked.form == "json" else Table([pool.id for pool in pools])


def _output(form: Format, asked: ReportOptions, out: BinaryIO) -> Output:
    return Ordered(form, out, asked.top) if asked.sort or asked.top is not None else Streamed(form, out)


def _watch(gathering: ReportRun) -> None:
    """Wait for the sweeps to finish."""
    while not gathering.wait(LOOK_SECONDS):
        pass


def _watch_with_bar(gathering: ReportRun, err: TextIO, clock: Clock) -> None:
    """Wait for the sweeps to finish, with a progress bar: users, time left, rate."""
    started = clock.monotonic()

    def note(_: object) -> str:
        seen = gathering.progress()
        seconds = max(clock.monotonic() - started, LOOK_SECONDS)
        return f"{seen.users_done / seconds:.1f} users/s  {seen.devices_shown} devices"

    with click.progressbar(length=0, label="users", file=err, show_pos=True, item_show_func=note) as bar:
        over = False
        while not over:
            over = gathering.wait(LOOK_SECONDS)
            seen = gathering.progress()
            bar.length = _length(seen, over=over)
            bar.update(seen.users_done - bar.pos)


def _length(seen: Progress, *, over: bool) -> int | None:
    """Return the length of the progress bar: more than the users done until `over`, as an estimate may be too low."""
    if over:
        return seen.users_done
    return None if seen.users_expected is None else max(seen.users_expected, seen.users_done + 1)


def _faults(gathering: ReportRun, streams: Sequence[DeviceStream]) -> list[str]:
    """Return a message for each pool with users missing from the report."""
    failures = gathering.failures()
    found = []
    for stream in streams:
        pool_id = stream.settings.id
        if pool_id in failures:
            found.append(f"{pool_id}: not every user was read: {_why(stream, failures[pool_id])}")
        elif stream.failed:
            reasons = ", ".join(f"{count} {reason.value}" for reason, count in stream.failed.most_common())
            found.append(f"{pool_id}: {counted(stream.failed.total(), 'user')} could not be read: {reasons}")
    return found


def _why(stream: DeviceStream, reason: Reason) -> str:
    if stream.state is PoolState.MISSING:
        return "there is no such pool"
    if reason in {Reason.DENIED, Reason.CREDENTIALS}:
        return f"{reason.value}; check-config --aws says what is missing"
    return reason.value


def _remarks(streams: Sequence[DeviceStream]) -> list[str]:
    """Return a message for each pool without device tracking, which is not a fault but differs from "no devices"."""
    return [
        f"{stream.settings.id}: the pool does not track devices"
        for stream in streams
        if stream.state is PoolState.TRACKING_OFF
    ]


def _read(streams: Sequence[DeviceStream]) -> str:
    users = sum(stream.users_read for stream in streams)
    devices = sum(stream.devices_shown for stream in streams)
    return f"{counted(users, 'user')} read, {counted(devices, 'device')} shown"


def counted(number: int, thing: str) -> str:
    """Return a number with its noun: `1 user`, `1,234 users`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"
