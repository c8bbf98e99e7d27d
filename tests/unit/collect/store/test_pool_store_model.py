"""Model test: after any sequence of calls the store publishes what a naive model adds up."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as checking
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from exporter.collect.snapshot import PoolData
from exporter.collect.store.pool_store import PUBLISH_SECONDS, PoolStore
from exporter.config.settings import Detail
from exporter.errors import Reason
from exporter.identity import RawIdentity
from exporter.model import DateSource, Device, Mfa, PoolDescription, PoolState, RememberedStatus, Tracking
from tests.fakes import ACCOUNT, ManualClock
from tests.unit.collect.listed_pools import POOL_ID, settings

NEVER = 1e12
MOMENTS = st.none() | st.integers(1_700_000_000_000, 1_700_000_000_020)
DEVICES = st.lists(
    st.builds(
        Device,
        key=st.sampled_from(("a", "b", "c")),
        remembered=st.sampled_from(RememberedStatus),
        status=st.just("valid"),
        created_ms=MOMENTS,
        modified_ms=MOMENTS,
        authenticated_ms=MOMENTS,
    ),
    max_size=3,
).map(tuple)
IDENTITIES = st.sampled_from((b"ann", b"bob", b"carl", b"dora", b"emil"))


@dataclass(frozen=True)
class Known:
    """One user in the model."""

    devices: tuple[Device, ...]
    observed: float


@dataclass(frozen=True)
class Published:
    """Data published by the model."""

    users: dict[bytes, Known]


def description(tracking: Tracking) -> PoolDescription:
    return PoolDescription(
        POOL_ID, "shop", ACCOUNT, "eu-west-1", tracking, Mfa.ON, mfa_bypass=True, estimated_users=None
    )


class StoreMachine(RuleBasedStateMachine):
    """One pool with any sequence of calls."""

    @initialize(detail=st.sampled_from(Detail))
    def begin(self, detail: Detail) -> None:
        self.clock = ManualClock()
        self.detail = detail
        self.store = PoolStore(settings(detail=detail, max_staleness=NEVER), RawIdentity(), self.clock)
        self.users: dict[bytes, Known] = {}
        self.met: set[bytes] = set()
        self.sweeping = False
        self.complete_once = False
        self.published: Published | None = None
        self.state = PoolState.UNREAD

    @precondition(lambda self: not self.sweeping)
    @rule()
    def start(self) -> None:
        self.clock.advance(60)
        self.store.sweep_started()
        self.store.described(description(Tracking.ALWAYS))
        self.sweeping, self.met = True, set()
        if self.state in {PoolState.MISSING, PoolState.TRACKING_OFF}:
            self.state = PoolState.UNREAD

    @precondition(lambda self: self.sweeping)
    @rule(identity=IDENTITIES, devices=DEVICES)
    def put(self, identity: bytes, devices: tuple[Device, ...]) -> None:
        self.clock.advance(PUBLISH_SECONDS)
        self.store.put(identity, devices)
        self.users[identity] = Known(devices, int(self.clock.wall()))
        self.met.add(identity)
        self.publish()

    @precondition(lambda self: not self.sweeping)
    @rule(identity=IDENTITIES, devices=DEVICES)
    def put_too_late(self, identity: bytes, devices: tuple[Device, ...]) -> None:
        self.clock.advance(PUBLISH_SECONDS)
        self.store.put(identity, devices)

    @precondition(lambda self: self.sweeping)
    @rule(identity=IDENTITIES)
    def mark_unreadable(self, identity: bytes) -> None:
        self.store.mark_unreadable(identity)
        self.met.add(identity)

    @precondition(lambda self: self.sweeping)
    @rule(identity=IDENTITIES)
    def remove(self, identity: bytes) -> None:
        self.store.remove(identity)
        self.users.pop(identity, None)

    @precondition(lambda self: self.sweeping)
    @rule(every_user_read=st.booleans())
    def complete(self, every_user_read: bool) -> None:
        self.store.sweep_completed(every_user_read=every_user_read)
        self.users = {identity: known for identity, known in self.users.items() if identity in self.met}
        self.sweeping, self.complete_once, self.state = False, True, PoolState.OK
        self.publish()

    @precondition(lambda self: self.sweeping)
    @rule(reason=st.sampled_from((Reason.TIMEOUT, Reason.DENIED)))
    def fail(self, reason: Reason) -> None:
        self.store.sweep_failed(reason)
        self.sweeping = False
        self.state = PoolState.DENIED if reason is Reason.DENIED else PoolState.FAILING
        self.publish()

    @precondition(lambda self: self.sweeping)
    @rule()
    def abandon(self) -> None:
        self.store.sweep_abandoned()
        self.sweeping = False

    @precondition(lambda self: self.sweeping)
    @rule()
    def miss(self) -> None:
        self.store.pool_missing()
        self.forget(PoolState.MISSING)

    @precondition(lambda self: self.sweeping)
    @rule()
    def switch_tracking_off(self) -> None:
        self.store.described(description(Tracking.OFF))
        self.store.tracking_is_off()
        self.forget(PoolState.TRACKING_OFF)

    def forget(self, state: PoolState) -> None:
        self.users, self.published = {}, None
        self.sweeping = self.complete_once = False
        self.state = state

    def publish(self) -> None:
        if self.complete_once:
            self.published = Published(dict(self.users))

    @invariant()
    def published_data_equals_the_model(self) -> None:
        view = self.store.view()
        assert view.state is self.state
        assert (view.progress is not None) == self.sweeping
        if self.published is None:
            assert view.data is None
            assert view.oldest_observation is None
            return
        assert view.data is not None
        users = self.published.users
        assert view.oldest_observation == min((known.observed for known in users.values()), default=None)
        check_sums(view.data, [known.devices for known in users.values()])
        shown = {row.label.encode(): row.devices for row in view.data.rows}
        assert shown == ({} if self.detail is Detail.POOL else {i: known.devices for i, known in users.items()})


def check_sums(data: PoolData, users: list[tuple[Device, ...]]) -> None:
    devices = [device for owned in users for device in owned]
    assert data.users == len(users)
    assert dict(data.devices) == {s: sum(d.remembered is s for d in devices) for s in RememberedStatus}
    assert dict(data.date_sources) == {s: sum(d.date_source is s for d in devices) for s in DateSource}
    assert dict(data.devices_per_user) == dict(Counter(map(len, users)))
    dated = sorted(device.active_ms for device in devices if device.active_ms is not None)
    assert (data.oldest_ms, data.newest_ms) == ((dated[0], dated[-1]) if dated else (None, None))
    for status, index in data.activity.items():
        moments = sorted(d.active_ms for d in devices if d.remembered is status and d.active_ms is not None)
        now = 1_700_000_000_010
        assert len(index) == len(moments)
        assert index.age_sum_ms(now) == sum(max(0, now - moment) for moment in moments)
        for threshold in range(1_700_000_000_000, 1_700_000_000_022):
            assert index.count_before(threshold) == bisect_left(moments, threshold)
    # Invariants of the sums.
    assert sum(data.devices.values()) == sum(data.date_sources.values())
    assert sum(data.devices.values()) == sum(map(len, data.activity.values())) + data.date_sources[DateSource.NONE]


@pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning")
def test_published_data_always_equals_the_model() -> None:
    run_state_machine_as_test(
        StoreMachine,
        settings=checking(stateful_step_count=25, suppress_health_check=list(HealthCheck)),
    )
