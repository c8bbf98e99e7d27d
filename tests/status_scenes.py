"""Pools in every state, for the tests and screenshots of the status page."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from random import Random
from typing import Any

from exporter.aws.api import Category, RateLimiterState
from exporter.collect.snapshot import (
    ActivityIndex,
    DetailCounts,
    PoolData,
    PoolView,
    RuleState,
    SweepFailure,
    SweepProgress,
)
from exporter.config.settings import Limits, PoolSettings, Settings, Share, TargetSettings, UserSelection
from exporter.errors import Reason
from exporter.metrics.self_metrics import SelfMetrics
from exporter.model import Mfa, PoolDescription, PoolState, RememberedStatus, Tracking, region_of
from exporter.observers import Target
from exporter.options import ListenAddress
from exporter.shard import UNSHARDED
from exporter.status.report import StatusReporter
from exporter.status.routes import status_routes
from exporter.web.access import Authenticator
from exporter.web.handler import RequestHandler
from exporter.web.server import WebServer
from tests.fakes import ManualClock
from tests.unit.metrics.builders import settings as pool_settings

NOW = 1_795_000_000.0
ACCOUNT, OTHER_ACCOUNT = "123456789012", "210987654321"
_REASONS = {
    PoolState.MISSING: Reason.NOT_FOUND,
    PoolState.DENIED: Reason.DENIED,
    PoolState.FAILING: Reason.SERVER_ERROR,
}

_NO_ACTIVITY = ActivityIndex(array("q"), (), (), 0)


RULES = (
    RuleState("0", "eu-west-1", 3, up=True, last_success=NOW - 190, reason=None),
    RuleState("0", "us-east-1", 2, up=False, last_success=NOW - 7_300, reason=Reason.DENIED),
    RuleState("1", "eu-central-1", 0, up=False, last_success=None, reason=None),
)
"""A rule that fails in one of two Regions, and one that has not run yet."""


def pool_data(users: int, remembered: int, not_remembered: int = 0) -> PoolData:
    """Data of a pool without users."""
    return PoolData(
        users=users,
        devices={RememberedStatus.REMEMBERED: remembered, RememberedStatus.NOT_REMEMBERED: not_remembered},
        date_sources={},
        devices_per_user={},
        activity=dict.fromkeys(RememberedStatus, _NO_ACTIVITY),
        oldest_ms=None,
        newest_ms=None,
        detail_counts=DetailCounts(0, 0, 0, 0, 0, 0),
        rows=(),
    )


def pool_view(
    pool_id: str, name: str | None, state: PoolState = PoolState.OK, *, account: str = ACCOUNT, **known: Any
) -> PoolView:
    """A pool after a sweep; `known` are fields of `PoolView`."""
    tracking = Tracking.OFF if state is PoolState.TRACKING_OFF else Tracking.ALWAYS
    description = None
    if name is not None:
        description = PoolDescription(
            pool_id, name, account, region_of(pool_id), tracking, Mfa.OPTIONAL, mfa_bypass=True, estimated_users=5200
        )
    configured = replace(pool_settings(pool_id), target=TargetSettings(region_of(pool_id)))
    up = state not in {PoolState.MISSING, PoolState.DENIED, PoolState.FAILING}
    fields = {"data": None, "progress": None, "last_sweep_seconds": None, "last_success": None, **known}
    fields = {"settings": configured, "oldest_observation": None, **fields}
    return PoolView(state=state, up=up, description=description, **fields)


def every_state() -> list[PoolView]:
    """Pools in each of the six states, one of them overdue, two with a sweep in progress."""
    secretive = replace(
        pool_settings("us-east-1_pArtnErs9"),
        target=TargetSettings(
            "us-east-1",
            role_arn=f"arn:aws:iam::{OTHER_ACCOUNT}:role/secret-role",
            external_id="secret-external-id",
            endpoint_url="http://secret-endpoint:1",
        ),
        users=UserSelection(usernames=("secret-alice", "secret-bob")),
    )
    return [
        pool_view(
            "eu-west-1_sHopPr0d1",
            "shop-prod",
            data=pool_data(12_480, 18_222, 2_110),
            progress=SweepProgress(4_243, 12_480, 822.0),
            last_sweep_seconds=1_252.0,
            last_success=NOW - 2_900,
        ),
        pool_view(
            "eu-west-1_wOrkf0rce",
            "workforce",
            data=pool_data(318, 402, 61),
            last_sweep_seconds=33.0,
            last_success=NOW - 754,
        ),
        pool_view(
            "eu-west-1_cUst0mers",
            "customers",
            data=pool_data(203_118, 288_410, 19_871),
            progress=SweepProgress(181_902, 203_118, 2_140.0),
            last_sweep_seconds=20_900.0,
            last_success=NOW - 21_400,
            users_not_read=17,
        ),
        pool_view("eu-west-1_lEgacyApp", "legacy-app", PoolState.TRACKING_OFF, last_success=NOW - 300),
        pool_view(
            "us-east-1_pArtnErs9",
            "partners",
            PoolState.DENIED,
            account=OTHER_ACCOUNT,
            settings=secretive,
            data=pool_data(2, 3),
            last_sweep_seconds=0.4,
            last_success=NOW - 90_000,
            last_failure=SweepFailure(Reason.DENIED, NOW - 190),
        ),
        pool_view(
            "us-east-1_mObileApp",
            "mobile",
            PoolState.FAILING,
            data=pool_data(41_007, 66_310, 940),
            last_sweep_seconds=61.0,
            last_success=NOW - 8_100,
            last_failure=SweepFailure(Reason.TIMEOUT, NOW - 34),
        ),
        pool_view(
            "us-east-1_dEleted00",
            None,
            PoolState.MISSING,
            last_sweep_seconds=0.2,
            last_failure=SweepFailure(Reason.NOT_FOUND, NOW - 1_200),
        ),
        pool_view("us-east-1_bRandNew1", "brand-new", PoolState.UNREAD, progress=SweepProgress(310, 5_200, 489.0)),
    ]


def many_pools(pools: int, seed: int = 0) -> list[PoolView]:
    """Pools, most of them healthy."""
    random = Random(seed)
    states = [state for state in PoolState if state is not PoolState.OK]
    made = []
    for number in range(pools):
        state = random.choice(states) if random.random() < 0.06 else PoolState.OK
        down = state in {PoolState.MISSING, PoolState.DENIED, PoolState.FAILING}
        users = random.randrange(20, 40_000)
        sweeping = state is PoolState.OK and random.random() < 0.1
        made.append(
            pool_view(
                f"eu-central-1_{number:09d}",
                None if state is PoolState.MISSING else f"{random.choice(('shop', 'forum', 'staff'))}-{number:03d}",
                state,
                data=pool_data(users, users * 3 // 2) if state in {PoolState.OK, PoolState.FAILING} else None,
                progress=SweepProgress(users // 3, users, users / 10) if sweeping else None,
                last_sweep_seconds=users / 10,
                last_success=None if state is PoolState.MISSING else NOW - random.randrange(30, 4_000),
                last_failure=SweepFailure(_REASONS[state], NOW - 60) if down else None,
            )
        )
    return made


def rate_limits(*targets: Target) -> list[RateLimiterState]:
    """Rate limits of some accounts and Regions, one of them throttled."""
    limits = []
    for target in targets or (Target(ACCOUNT, "eu-west-1"), Target(OTHER_ACCOUNT, "us-east-1")):
        busy = target.account_id == ACCOUNT
        for category, configured, current, used in (
            (Category.USER_RESOURCE_READ, 10.0, 10.0 if busy else 4.9, 9.8 if busy else 4.8),
            (Category.USER_LIST, 5.0, 5.0, 0.4 if busy else 0.0),
            (Category.USER_POOL_READ, 2.0, 2.0, 0.2 if busy else 0.0),
            (Category.USER_POOL_RESOURCE_READ, 2.0, 2.0, 0.0),
        ):
            limits.append(RateLimiterState(target, category, configured, current, 50.0, provisioned=False, used=used))
    return limits


def reporter(
    views: Sequence[PoolView], clock: ManualClock | None = None, *, rules: Sequence[RuleState] = ()
) -> StatusReporter:
    """A reporter of these pools, with some failures counted and a configuration loaded three hours ago."""
    self_metrics = SelfMetrics(version="1.2.3")
    self_metrics.configuration_loaded(successful=True, now=NOW - 3 * 3600)
    for view in views:
        self_metrics.pool_added(view.settings.id)
        if view.last_failure is not None:
            self_metrics.sweep_finished(view.settings.id, view.last_failure.reason)
        for _ in range(view.users_not_read):
            self_metrics.user_read_failed(view.settings.id, Reason.THROTTLED)
    return StatusReporter(
        settings=lambda: settings_for(tuple(view.settings for view in views)),
        pools=lambda: views,
        next_sweeps=lambda: {view.settings.id: NOW + _next_sweep_in(view) for view in views},
        rate_limits=lambda: rate_limits(*{Target(ACCOUNT, view.settings.region) for view in views if len(views) > 50}),
        self_metrics=self_metrics,
        clock=clock or ManualClock(NOW),
        version="1.2.3",
        revision="4f2c1d7",
        shard=UNSHARDED,
        started=NOW - 3 * 86400,
        rules=lambda: rules,
    )


def settings_for(pools: tuple[PoolSettings, ...]) -> Settings:
    """A configuration of these pools."""
    rates: dict[str, float | Share] = {"UserResourceRead": Share(0.2), "UserList": 5, "UserPoolRead": 2}
    return Settings(pools, Limits({**rates, "UserPoolResourceRead": 2}, series=10_000))


@contextmanager
def served(status: StatusReporter) -> Iterator[str]:
    """Serve the status page and its JSON on loopback; yields the base URL."""
    failures: list[None] = []
    routes = status_routes(status, telemetry_path="/metrics")
    handler = RequestHandler(routes, Authenticator(status.clock), on_error=lambda: failures.append(None))
    server = WebServer([ListenAddress("127.0.0.1", 0)], handler, status.clock)
    server.start()
    try:
        yield f"http://{server.bound[0]}"
    finally:
        server.stop()
        assert not failures, "unexpected error"


def _next_sweep_in(view: PoolView) -> float:
    return 26.0 if view.state is PoolState.FAILING else 2_846.0
