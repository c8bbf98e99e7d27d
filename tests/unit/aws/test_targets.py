from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from exporter.aws.api import DEFAULT_QUOTAS, Category, CognitoApi, Operation
from exporter.aws.rate.limited_api import PoolClient
from exporter.aws.rate.limiters import RateLimiters, RateLimiterState, Rates
from exporter.aws.targets import ACCOUNT_ID_WAIT_SECONDS, TargetClients
from exporter.clock import SystemClock
from exporter.config.settings import Share, TargetSettings
from exporter.errors import Cancelled, CredentialsFault, ServerError
from exporter.model import PoolDescription
from exporter.observers import UNKNOWN_ACCOUNT, Target
from tests.fakes import ACCOUNT, FakeCognito, FakePool, ManualClock, RecordingObserver, eventually
from tests.unit.collect.listed_pools import POOL_ID, settings

OTHER_ACCOUNT = "210987654321"
IRELAND, OHIO = "eu-west-1", "us-east-2"
HERE = TargetSettings(IRELAND)
BY_ROLE = TargetSettings(IRELAND, role_arn=f"arn:aws:iam::{OTHER_ACCOUNT}:role/reader", external_id="s3cret")
RATES = {category.value: 1000.0 for category in Category}
STS_FAILS = ServerError(Operation.GET_CALLER_IDENTITY, "HTTP 503")


class Connected:
    """Connections over fakes, one per way to reach AWS."""

    def __init__(self, make_fake: Callable[[], FakeCognito] | None = None) -> None:
        self._threads = set(threading.enumerate())
        self.observer = RecordingObserver()
        self.rate_limiters = RateLimiters(RATES, SystemClock())
        self.apis: dict[TargetSettings, FakeCognito] = {}
        self._make_fake = make_fake or (lambda: FakeCognito({POOL_ID: FakePool()}))
        self.connections = TargetClients(self._make, self.rate_limiters, self.observer, SystemClock())

    def _make(self, target: TargetSettings) -> CognitoApi:
        assert target not in self.apis
        self.apis[target] = self._make_fake()
        return self.apis[target]

    def reader(self, target: TargetSettings = HERE) -> PoolClient:
        return self.connections.reader(settings(target=target), lambda: False)

    def is_idle(self) -> bool:
        """Whether nobody asks STS or for quotas any more."""
        return self.threads() == 0

    def threads(self) -> int:
        """How many ask, or wait to ask again."""
        return len(set(threading.enumerate()) - self._threads)

    def set_account_id(self, account: str = ACCOUNT) -> int:
        return self.observer.heard["target named", UNKNOWN_ACCOUNT, account]

    def targets(self) -> set[Target]:
        return {state.target for state in self.rate_limiters.states()}


def failing_sts() -> FakeCognito:
    fake = FakeCognito({POOL_ID: FakePool()})
    fake.fault = lambda operation, _: STS_FAILS if operation is Operation.GET_CALLER_IDENTITY else None
    return fake


class SlowSts(FakeCognito):
    """STS answers when a test lets it."""

    def __init__(self) -> None:
        super().__init__({POOL_ID: FakePool()})
        self.go_on = threading.Event()

    def account_id(self) -> str:
        assert self.go_on.wait(10)
        return super().account_id()


class Anonymous(FakeCognito):
    """A pool whose ARN says nothing."""

    def __init__(self) -> None:
        super().__init__({POOL_ID: FakePool()})
        self.fault = lambda operation, _: STS_FAILS if operation is Operation.GET_CALLER_IDENTITY else None

    def describe_user_pool(self, pool_id: str) -> PoolDescription:
        return replace(super().describe_user_pool(pool_id), account_id=None)


def test_what_is_retained_is_announced_and_not_yet_connected() -> None:
    world = Connected()
    world.connections.retain([HERE, BY_ROLE])
    assert world.observer.heard == {
        ("target added", UNKNOWN_ACCOUNT, IRELAND): 1,
        ("target added", OTHER_ACCOUNT, IRELAND): 1,
    }
    assert world.apis == {}


def test_what_is_retained_again_stays_and_what_is_not_goes() -> None:
    world = Connected()
    world.connections.retain([HERE, BY_ROLE])
    reader = world.reader(BY_ROLE)
    world.connections.retain([BY_ROLE])
    assert world.observer.heard["target removed", UNKNOWN_ACCOUNT, IRELAND] == 1
    assert world.observer.heard["target added", OTHER_ACCOUNT, IRELAND] == 1
    assert world.targets() == {Target(OTHER_ACCOUNT, IRELAND)}
    assert world.reader(BY_ROLE)._account is reader._account
    world.connections.retain([])
    assert world.observer.heard["target removed", OTHER_ACCOUNT, IRELAND] == 1
    assert world.targets() == set()


def test_pools_that_are_reached_alike_share_a_client() -> None:
    world = Connected()
    world.connections.retain([HERE, BY_ROLE])
    for target in (HERE, HERE, BY_ROLE, BY_ROLE):
        world.reader(target)  # making a second client for a target would fail
    assert world.apis.keys() == {HERE, BY_ROLE}


def test_a_client_that_could_not_be_made_is_tried_again() -> None:
    failures = [CredentialsFault("client", "ProfileNotFound")]

    def make(_target: TargetSettings) -> CognitoApi:
        if failures:
            raise failures.pop()
        return FakeCognito({POOL_ID: FakePool()})

    connections = TargetClients(make, RateLimiters(RATES, SystemClock()), RecordingObserver(), SystemClock())
    connections.retain([HERE])
    pool = settings(target=HERE)
    with pytest.raises(CredentialsFault):
        connections.reader(pool, lambda: False)
    assert connections.reader(pool, lambda: False).describe().pool_id == POOL_ID


def test_a_role_names_the_account_and_sts_is_not_asked() -> None:
    world = Connected()
    world.connections.retain([BY_ROLE])
    world.reader(BY_ROLE).describe()  # the fake's description names another account
    assert world.apis[BY_ROLE].calls[Operation.GET_CALLER_IDENTITY] == 0
    assert world.targets() == {Target(OTHER_ACCOUNT, IRELAND)}
    assert world.set_account_id() == 0


def test_sts_names_the_account_before_the_first_sweep_asks_anything() -> None:
    world = Connected()
    world.connections.retain([HERE])
    reader = world.reader()
    assert world.set_account_id() == 1
    assert world.targets() == {Target(ACCOUNT, IRELAND)}
    assert eventually(world.is_idle)
    reader.describe()
    world.reader().describe()
    assert world.set_account_id() == 1
    assert world.apis[HERE].calls[Operation.GET_CALLER_IDENTITY] == 1
    assert world.observer.heard["request", ACCOUNT, "DescribeUserPool", "None", "True"] == 2
    assert world.observer.heard["request", ACCOUNT, "GetCallerIdentity", "None", "True"] == 1


def test_where_sts_fails_the_description_names_the_account_and_nothing_is_held_up() -> None:
    world = Connected(failing_sts)
    world.connections.retain([HERE])
    started = time.monotonic()
    reader = world.reader()
    assert time.monotonic() - started < ACCOUNT_ID_WAIT_SECONDS / 2
    assert world.targets() == {Target(UNKNOWN_ACCOUNT, IRELAND)}
    assert world.observer.heard["request", UNKNOWN_ACCOUNT, "GetCallerIdentity", "server_error", "True"] == 1
    reader.describe()
    assert world.targets() == {Target(ACCOUNT, IRELAND)}
    assert world.set_account_id() == 1


def test_where_nothing_names_the_account_it_stays_unknown() -> None:
    world = Connected(Anonymous)
    world.connections.retain([HERE])
    world.reader().describe()
    assert world.targets() == {Target(UNKNOWN_ACCOUNT, IRELAND)}


def test_sts_without_an_answer_holds_up_the_first_sweep_for_a_moment_only() -> None:
    slow = SlowSts()
    world = Connected(lambda: slow)
    world.connections.retain([HERE])
    started = time.monotonic()
    reader = world.reader()
    waited = time.monotonic() - started
    assert ACCOUNT_ID_WAIT_SECONDS * 0.9 <= waited < ACCOUNT_ID_WAIT_SECONDS + 1
    reader.describe()
    assert world.set_account_id() == 1
    started = time.monotonic()
    world.reader()
    assert time.monotonic() - started < ACCOUNT_ID_WAIT_SECONDS / 2, "the description has named the account"
    slow.go_on.set()
    assert eventually(lambda: slow.calls[Operation.GET_CALLER_IDENTITY] == 1)
    assert eventually(world.is_idle)
    assert world.set_account_id() == 1, "named once, whoever was first"


def test_an_answer_of_sts_after_the_connection_is_gone_names_nothing() -> None:
    slow = SlowSts()
    world = Connected(lambda: slow)
    world.connections.retain([HERE])
    world.reader()
    world.connections.retain([])
    slow.go_on.set()
    assert eventually(world.is_idle)
    assert world.set_account_id() == 0
    assert world.targets() == set()


def test_a_reader_keeps_the_attributes_that_its_pool_asks_for() -> None:
    world = Connected()
    world.connections.retain([HERE])
    pool = settings(target=HERE, device_attributes=("device_name",))
    assert world.connections.reader(pool, lambda: False)._attributes == {"device_name"}


def test_two_ways_to_the_same_account_and_region_share_its_budgets_and_others_do_not() -> None:
    world = Connected()
    private = replace(HERE, endpoint_url="https://vpce.example.com")
    elsewhere = TargetSettings(OHIO)
    world.connections.retain([HERE, private, elsewhere, BY_ROLE])
    readers = [world.reader(target) for target in (HERE, private, elsewhere, BY_ROLE)]
    for category in Category:
        first, same, region, account = (reader._account.limiter(category) for reader in readers)
        assert first is same
        assert len({id(limiter) for limiter in (first, region, account)}) == 3
    assert len({id(readers[0]._account.limiter(category)) for category in Category}) == len(Category)
    world.connections.retain([private])
    assert world.targets() == {Target(ACCOUNT, IRELAND)}
    assert readers[1]._account.limiter(Category.USER_LIST) is world.reader(private)._account.limiter(Category.USER_LIST)


def test_budgets_follow_the_configured_rates() -> None:
    rate_limiters = RateLimiters(RATES, ManualClock())
    target = Target(ACCOUNT, IRELAND)
    used = rate_limiters.use(target)
    rate_limiters.configure({**RATES, "UserList": 7.0})
    assert used[Category.USER_LIST].configured == 7.0
    assert used[Category.USER_POOL_READ].configured == 1000.0
    assert rate_limiters.use(Target(ACCOUNT, OHIO))[Category.USER_LIST].configured == 7.0
    assert set(rate_limiters.states()) == {
        RateLimiterState(Target(ACCOUNT, region), category, rate, rate, DEFAULT_QUOTAS[category], provisioned=False)
        for region in (IRELAND, OHIO)
        for category in Category
        for rate in [7.0 if category is Category.USER_LIST else 1000.0]
    }


def test_budgets_go_with_their_last_user() -> None:
    rate_limiters = RateLimiters(RATES, ManualClock())
    target = Target(ACCOUNT, IRELAND)
    first = rate_limiters.use(target)
    assert rate_limiters.use(target) is first
    rate_limiters.release(target)
    assert rate_limiters.states()
    rate_limiters.release(target)
    assert rate_limiters.states() == ()
    assert rate_limiters.use(target) is not first


def test_a_rate_that_became_a_share_has_the_quota_asked_for_at_once() -> None:
    world = Connected()
    world.connections.retain([HERE, BY_ROLE])
    world.reader().describe()
    assert eventually(world.is_idle)
    assert world.apis[HERE].calls[Operation.GET_PROVISIONED_LIMIT] == 0
    world.apis[HERE].quotas[Category.USER_LIST] = 200.0
    world.connections.configure({**RATES, Category.USER_LIST.value: Share(0.5)})

    def configured(region: str) -> set[float]:
        states = world.rate_limiters.states()
        return {s.configured for s in states if s.category is Category.USER_LIST and s.target.account_id == region}

    assert eventually(lambda: configured(ACCOUNT) == {100.0})
    assert world.apis[HERE].calls[Operation.GET_PROVISIONED_LIMIT] == 1
    assert BY_ROLE not in world.apis, "who was not connected asks when it is"
    world.connections.retain([])


def test_other_rates_in_numbers_ask_for_nothing() -> None:
    world = Connected()
    world.connections.retain([HERE])
    world.reader().describe()
    world.connections.configure({**RATES, Category.USER_LIST.value: 3.0})
    assert eventually(world.is_idle)
    assert world.apis[HERE].calls[Operation.GET_PROVISIONED_LIMIT] == 0
    assert {s.configured for s in world.rate_limiters.states() if s.category is Category.USER_LIST} == {3.0}


SHARED: Rates = {**RATES, Category.USER_LIST.value: Share(0.5)}
WITHIN = 3.0
"""Seconds. Between two questions a thread that asks for quotas waits 1.1, then an hour."""


def asked(world: Connected, target: TargetSettings = HERE) -> int:
    return world.apis[target].calls[Operation.GET_PROVISIONED_LIMIT]


def asking_for_quotas(*targets: TargetSettings) -> Connected:
    """Connections whose threads have asked, and wait for the hour to pass."""
    world = Connected()
    world.connections.retain(targets)
    for target in targets:
        world.reader(target).describe()
    world.connections.configure(SHARED)
    assert eventually(lambda: all(asked(world, target) == 1 for target in targets))
    assert not world.is_idle()
    return world


def test_who_asks_for_quotas_ends_within_moments_of_its_connection() -> None:
    world = asking_for_quotas(HERE, BY_ROLE)
    world.connections.retain([])
    assert eventually(world.is_idle, within=WITHIN)
    assert (asked(world), asked(world, BY_ROLE)) == (1, 1)


def test_who_asks_for_the_quotas_of_another_connection_goes_on() -> None:
    world = asking_for_quotas(HERE, BY_ROLE)
    world.connections.retain([BY_ROLE])
    assert eventually(lambda: world.threads() == 1, within=WITHIN)
    assert not eventually(world.is_idle, within=0.1)
    world.connections.retain([])
    assert eventually(world.is_idle, within=WITHIN)


def test_targets_that_are_replaced_again_and_again_leave_no_threads_behind() -> None:
    world = Connected()
    world.connections.configure(SHARED)
    ways = [replace(HERE, endpoint_url=f"https://{number}.example.com") for number in range(20)]
    for way in ways:
        world.connections.retain([way])
        world.reader(way).describe()
    assert eventually(lambda: world.threads() == 1, within=WITHIN)
    world.connections.retain([])
    assert eventually(world.is_idle, within=WITHIN)


def test_rates_that_become_shares_again_and_again_have_one_thread_ask() -> None:
    world = asking_for_quotas(HERE)
    for number in range(5):
        world.connections.configure(RATES)
        assert eventually(world.is_idle, within=WITHIN), "nobody need know the quota"
        world.connections.configure(SHARED)
        assert eventually(lambda: asked(world) == number + 2)  # noqa: B023 - asked before the loop goes on
    both: Rates = {**SHARED, Category.USER_POOL_READ.value: Share(0.5)}
    world.connections.configure(both)
    assert eventually(lambda: asked(world) == 8)
    assert eventually(lambda: world.threads() == 1, within=WITHIN)
    world.connections.retain([])
    assert eventually(world.is_idle, within=WITHIN)


def test_a_connection_that_is_gone_before_sts_answers_has_no_quotas_asked_for() -> None:
    slow = SlowSts()
    world = Connected(lambda: slow)
    world.connections.configure(SHARED)
    world.connections.retain([HERE])
    world.reader()
    world.connections.retain([])
    slow.go_on.set()
    assert eventually(world.is_idle, within=WITHIN)
    assert asked(world) == 0


def test_a_target_that_is_retained_no_more_has_no_reader() -> None:
    world = Connected()
    world.connections.retain([])
    with pytest.raises(Cancelled):
        world.reader()
