"""Sweeps of a report over an in-memory Cognito: what is missing, and how they end."""

from __future__ import annotations

import io
import json
import shlex
import threading
from collections.abc import Callable
from typing import Any

import pytest

from exporter.aws.api import Operation
from exporter.clock import SystemClock
from exporter.commands.report.formats import Change, Commands, DeviceFilter, JsonLines
from exporter.commands.report.output import Output, Streamed
from exporter.commands.report.run import DeviceStream, Progress, ReportRun
from exporter.config.settings import PoolSettings, UserSelection
from exporter.errors import AwsError, ConnectionFailed, CredentialsError, Reason, ServerError, UserNotFound
from exporter.identity import RawIdentity
from exporter.model import Device, PoolState, Tracking
from tests.fakes import FakeCognito, FakePool, eventually, reader_of
from tests.harness import FAST_RETRIES
from tests.unit.collect.listed_pools import POOL_ID, device, settings

OTHER = "eu-west-1_Other"
NOW_MS = 1_700_000_000_000


def cognito(users: int = 10, **changes: Any) -> FakeCognito:
    pool = FakePool(users={f"user-{number}": (device(f"d{number}"),) for number in range(users)}, **changes)
    return FakeCognito({POOL_ID: pool, OTHER: FakePool(users={"zoe": (device("z"),)})})


class Running:
    """A running report over one or more pools."""

    def __init__(self, api: FakeCognito, *pools: PoolSettings, output: Output | None = None) -> None:
        self.out = io.BytesIO()
        to = output or Streamed(JsonLines(), self.out)
        device_filter = DeviceFilter(NOW_MS)
        self.streams = [DeviceStream(pool, RawIdentity(), device_filter, to) for pool in pools or (settings(),)]

        def connect(pool: PoolSettings, cancelled: Callable[[], bool]) -> Any:
            if pool.target.role_arn is not None:
                raise CredentialsError("making a client", "NoCredentialsError")
            return reader_of(api, pool.id, cancelled=cancelled)

        self.run = ReportRun(self.streams, connect, SystemClock(), retry_policy=FAST_RETRIES)
        self.run.start()

    def finished(self) -> Running:
        assert self.run.wait(20)
        return self

    @property
    def failures(self) -> dict[str, Reason]:
        return {stream.settings.id: stream.failure for stream in self.streams if stream.failure is not None}

    @property
    def devices(self) -> list[str]:
        return sorted(json.loads(line)["device_key"] for line in self.out.getvalue().splitlines())


def failing(error: AwsError, *names: str) -> FakeCognito:
    api = cognito()
    api.fault = lambda operation, name: (
        error if operation is Operation.ADMIN_LIST_DEVICES and (not names or name in names) else None
    )
    return api


def test_every_pool_is_read_and_counted() -> None:
    report = Running(cognito(), settings(), settings(id=OTHER)).finished()
    assert report.devices == sorted([*(f"d{number}" for number in range(10)), "z"])
    assert report.run.progress() == Progress(users_done=11, users_expected=11, devices_shown=11)
    assert report.failures == {}


def test_unreadable_users_are_counted_by_reason() -> None:
    report = Running(failing(ServerError(Operation.ADMIN_LIST_DEVICES, "InternalError"), "user-1", "user-2")).finished()
    assert len(report.devices) == 8
    assert report.streams[0].failed == {Reason.SERVER_ERROR: 2}
    assert report.failures == {}
    assert report.run.progress().users_done == 10


def test_deleted_user_is_not_a_failure() -> None:
    report = Running(failing(UserNotFound(Operation.ADMIN_LIST_DEVICES, "UserNotFoundException"), "user-1")).finished()
    assert len(report.devices) == 9
    assert not report.streams[0].failed
    assert report.run.progress().users_done == 10


def test_pool_without_readable_users_has_failed() -> None:
    report = Running(failing(ConnectionFailed(Operation.ADMIN_LIST_DEVICES, "EndpointConnectionError"))).finished()
    assert report.failures == {POOL_ID: Reason.CONNECTION}


def test_missing_or_unreachable_pool_does_not_affect_others() -> None:
    missing, unreachable = settings(id="eu-west-1_None"), settings(id="eu-west-1_Far")
    unreachable = settings(
        id="eu-west-1_Far", target=type(missing.target)("eu-west-1", role_arn="arn:aws:iam::1:role/x")
    )
    report = Running(cognito(), missing, unreachable, settings(id=OTHER)).finished()
    assert report.failures == {missing.id: Reason.NOT_FOUND, unreachable.id: Reason.CREDENTIALS}
    assert report.streams[0].state is PoolState.MISSING
    assert report.devices == ["z"]


def test_pool_without_tracking_is_not_a_failure() -> None:
    report = Running(cognito(tracking=Tracking.OFF)).finished()
    assert report.failures == {}
    assert report.streams[0].state is PoolState.TRACKING_OFF


def test_expected_users_are_known_early_if_all_are_selected() -> None:
    listed = threading.Event()
    for selection, expected in ((UserSelection(), 10), (UserSelection(filter='status = "Enabled"'), None)):
        api = cognito()

        def hold(operation: Operation, _: str) -> AwsError | None:
            if operation is Operation.LIST_USERS:
                listed.wait(20)
            return None

        listed.clear()
        api.fault = hold
        report = Running(api, settings(users=selection))
        assert eventually(lambda api=api: api.calls[Operation.LIST_USERS] == 1)  # type: ignore[misc] # a default of a lambda
        assert report.run.progress().users_expected == expected
        listed.set()
        assert report.finished().run.progress().users_expected == 10


def test_cancelled_report_finishes_without_a_failure() -> None:
    api = cognito(users=5000)
    report = Running(api)
    assert eventually(lambda: len(report.devices) > 10)
    report.run.cancel()
    assert report.finished().failures == {}
    assert len(report.devices) < 5000


@pytest.mark.parametrize("error", [BrokenPipeError(), RuntimeError("unexpected")])
def test_output_error_stops_all_sweeps_and_is_raised(error: Exception) -> None:
    class Failing:
        def put(self, rows: Any) -> None:  # noqa: ARG002 - none arrives
            raise error

        def close(self) -> None:
            """Never reached."""

    report = Running(cognito(users=3000), settings(), settings(id=OTHER), output=Failing())
    with pytest.raises(type(error)):
        report.run.wait(20)
    assert eventually(lambda: not any(thread.name.startswith("report-") for thread in threading.enumerate()))


def test_command_keeps_a_username_with_a_lone_surrogate() -> None:
    api = cognito()
    api.pools[OTHER].users = {"lone \udce4": (Device("s"),)}
    out = io.BytesIO()
    Running(api, settings(id=OTHER), output=Streamed(Commands(Change.FORGET), out)).finished()
    assert json.loads(shlex.split(out.getvalue().decode())[-1])["Username"] == "lone \udce4"
