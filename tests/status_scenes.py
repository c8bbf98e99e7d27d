"""Pools in every state for the status page: what its tests look at, and what its pictures show."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import Any

from exporter.collect.snapshot import ActivityIndex, DetailCounts, PoolData, PoolView, SweepFailure, SweepProgress
from exporter.config.settings import Limits, PoolSettings, Settings, Share, TargetSettings, UserSelection
from exporter.errors import Reason
from exporter.metrics.self_metrics import SelfMetrics
from exporter.model import Mfa, PoolDescription, PoolState, RememberedStatus, Tracking, region_of
from exporter.observers import Target
from exporter.options import ListenAddress
from exporter.shard import UNSHARDED
from exporter.status.report import Sources
from exporter.status.routes import status_routes
from exporter.web.access import Authenticator
from exporter.web.handler import RequestHandler
from exporter.web.server import WebServer
from tests.fakes import ManualClock
from tests.unit.metrics.builders import settings as pool_settings

NOW = 1_795_000_000.0
ACCOUNT, OTHER_ACCOUNT = "123456789012", "210987654321"
CATEGORIES = ("UserResourceRead", "UserList", "UserPoolRead", "UserPoolResourceRead")

_REASONS = {
    PoolState.MISSING: Reason.NOT_FOUND,
    PoolState.DENIED: Reason.DENIED,
    PoolState.FAILING: Reason.SERVER_ERROR,
}

_NOBODY = ActivityIndex(array("q"), (), (), 0)


@dataclass(frozen=True)
class Looked:
    """A rule of discovery in one Region at one moment."""

    rule: str
    region: str
    pools: int
    up: bool
    last_success: float | None
    reason: Reason | None = None


RULES = (
    Looked("0", "eu-west-1", 3, up=True, last_success=NOW - 190),
    Looked("0", "us-east-1", 2, up=False, last_success=NOW - 7_300, reason=Reason.DENIED),
    Looked("1", "eu-central-1", 0, up=False, last_success=None),
)
"""A rule that fails in one of two Regions, and one that has not looked yet."""


@dataclass(frozen=True)
class Spent:
    """A rate budget at one moment."""

    target: Target
    category: str
    configured: float = 10.0
    current: float = 10.0
    used: float = 0.0
    quota: float | None = 50.0
    provisioned: bool = False


def counted(users: int, remembered: int, not_remembered: int = 0) -> PoolData:
    """The numbers of a pool, without its users."""
    return PoolData(
        users=users,
        devices={RememberedStatus.REMEMBERED: remembered, RememberedStatus.NOT_REMEMBERED: not_remembered},
        date_sources={},
        devices_per_user={},
        activity=dict.fromkeys(RememberedStatus, _NOBODY),
        oldest_ms=None,
        newest_ms=None,
        detail_counts=DetailCounts(0, 0, 0, 0, 0, 0),
        rows=(),
    )


def seen_pool(
    pool_id: str, name: str | None, state: PoolState = PoolState.OK, *, account: str = ACCOUNT, **known: Any
) -> PoolView:
    """A pool as a sweep has left it; `known` are fields of `PoolView`."""
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
    """Pools in each of the six states, one of them overdue, two being swept."""
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
        seen_pool(
            "eu-west-1_sHopPr0d1",
            "shop-prod",
            data=counted(12_480, 18_222, 2_110),
            progress=SweepProgress(4_243, 12_480, 822.0),
            last_sweep_seconds=1_252.0,
            last_success=NOW - 2_900,
        ),
        seen_pool(
            "eu-west-1_wOrkf0rce",
            "workforce",
            data=counted(318, 402, 61),
            last_sweep_seconds=33.0,
            last_success=NOW - 754,
        ),
        seen_pool(
            "eu-west-1_cUst0mers",
            "customers",
            data=counted(203_118, 288_410, 19_871),
            progress=SweepProgress(181_902, 203_118, 2_140.0),
            last_sweep_seconds=20_900.0,
            last_success=NOW - 21_400,
            users_not_read=17,
        ),
        seen_pool("eu-west-1_lEgacyApp", "legacy-app", PoolState.TRACKING_OFF, last_success=NOW - 300),
        seen_pool(
            "us-east-1_pArtnErs9",
            "partners",
            PoolState.DENIED,
            account=OTHER_ACCOUNT,
            settings=secretive,
            data=counted(2, 3),
            last_sweep_seconds=0.4,
            last_success=NOW - 90_000,
            last_failure=SweepFailure(Reason.DENIED, NOW - 190),
        ),
        seen_pool(
            "us-east-1_mObileApp",
            "mobile",
            PoolState.FAILING,
            data=counted(41_007, 66_310, 940),
            last_sweep_seconds=61.0,
            last_success=NOW - 8_100,
            last_failure=SweepFailure(Reason.TIMEOUT, NOW - 34),
        ),
        seen_pool(
            "us-east-1_dEleted00",
            None,
            PoolState.MISSING,
            last_sweep_seconds=0.2,
            last_failure=SweepFailure(Reason.NOT_FOUND, NOW - 1_200),
        ),
        seen_pool("us-east-1_bRandNew1", "brand-new", PoolState.UNREAD, progress=SweepProgress(310, 5_200, 489.0)),
    ]


def many(pools: int, seed: int = 0) -> list[PoolView]:
    """A fleet most of whose pools are well."""
    random = Random(seed)
    states = [state for state in PoolState if state is not PoolState.OK]
    made = []
    for number in range(pools):
        state = random.choice(states) if random.random() < 0.06 else PoolState.OK
        down = state in {PoolState.MISSING, PoolState.DENIED, PoolState.FAILING}
        users = random.randrange(20, 40_000)
        sweeping = state is PoolState.OK and random.random() < 0.1
        made.append(
            seen_pool(
                f"eu-central-1_{number:09d}",
                None if state is PoolState.MISSING else f"{random.choice(('shop', 'forum', 'staff'))}-{number:03d}",
                state,
                data=counted(users, users * 3 // 2) if state in {PoolState.OK, PoolState.FAILING} else None,
                progress=SweepProgress(users // 3, users, users / 10) if sweeping else None,
                last_sweep_seconds=users / 10,
                last_success=None if state is PoolState.MISSING else NOW - random.randrange(30, 4_000),
                last_failure=SweepFailure(_REASONS[state], NOW - 60) if down else None,
            )
        )
    return made


def budgets(*targets: Target) -> list[Spent]:
    """The budgets of some accounts and Regions, one of them throttled."""
    found = []
    for target in targets or (Target(ACCOUNT, "eu-west-1"), Target(OTHER_ACCOUNT, "us-east-1")):
        busy = target.account_id == ACCOUNT
        found += [
            Spent(target, CATEGORIES[0], used=9.8 if busy else 4.8, current=10.0 if busy else 4.9),
            Spent(target, CATEGORIES[1], configured=5, current=5, used=0.4 if busy else 0.0),
            Spent(target, CATEGORIES[2], configured=2, current=2, used=0.2 if busy else 0.0),
            Spent(target, CATEGORIES[3], configured=2, current=2),
        ]
    return found


def sources(views: Sequence[PoolView], clock: ManualClock | None = None, *, rules: Sequence[Looked] = ()) -> Sources:
    """Who tells of these pools; some failures are counted, and the configuration was loaded three hours ago."""
    own = SelfMetrics(version="1.2.3")
    own.configuration_loaded(successful=True, now=NOW - 3 * 3600)
    for view in views:
        own.pool_added(view.settings.id)
        if view.last_failure is not None:
            own.sweep_finished(view.settings.id, view.last_failure.reason)
        for _ in range(view.users_not_read):
            own.user_read_failed(view.settings.id, Reason.THROTTLED)
    return Sources(
        settings=lambda: configured(tuple(view.settings for view in views)),
        views=lambda: views,
        next_sweeps=lambda: {view.settings.id: NOW + _until(view) for view in views},
        budgets=lambda: budgets(*{Target(ACCOUNT, view.settings.region) for view in views if len(views) > 50}),
        own=own,
        clock=clock or ManualClock(NOW),
        version="1.2.3",
        revision="4f2c1d7",
        shard=UNSHARDED,
        started=NOW - 3 * 86400,
        rules=lambda: rules,
    )


def configured(pools: tuple[PoolSettings, ...]) -> Settings:
    """A configuration of these pools."""
    rates: dict[str, float | Share] = {"UserResourceRead": Share(0.2), "UserList": 5, "UserPoolRead": 2}
    return Settings(pools, Limits({**rates, "UserPoolResourceRead": 2}, series=10_000))


@contextmanager
def served(told: Sources) -> Iterator[str]:
    """The status page and its JSON on a port of loopback; where they are."""
    failures: list[None] = []
    routes = status_routes(told, telemetry_path="/metrics")
    handler = RequestHandler(routes, Authenticator(told.clock), on_error=lambda: failures.append(None))
    server = WebServer([ListenAddress("127.0.0.1", 0)], handler, told.clock)
    server.start()
    try:
        yield f"http://{server.bound[0]}"
    finally:
        server.stop()
        assert not failures, "a page failed in a way nobody foresaw"


def _until(view: PoolView) -> float:
    return 26.0 if view.state is PoolState.FAILING else 2_846.0
