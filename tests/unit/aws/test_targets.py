from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from exporter.aws.api import Category, CognitoApi, Operation
from exporter.aws.rate.limited_api import PoolClient
from exporter.aws.rate.limiters import RateLimiters, Rates
from exporter.aws.targets import TargetClients
from exporter.clock import SystemClock
from exporter.config.settings import Share, TargetSettings
from exporter.errors import Cancelled, CredentialsError, ServerError
from exporter.model import Device, PoolDescription
from exporter.observers import UNKNOWN_ACCOUNT, Target
from tests.fakes import ACCOUNT, FakeCognito, FakePool, RecordingObserver, eventually
from tests.unit.collect.listed_pools import POOL_ID, settings

OTHER_ACCOUNT = "210987654321"
IRELAND, OHIO = "eu-west-1", "us-east-2"
HERE = TargetSettings(IRELAND)
BY_ROLE = TargetSettings(IRELAND, role_arn=f"arn:aws:iam::{OTHER_ACCOUNT}:role/reader", external_id="s3cret")
RATES = {category.value: 1000.0 for category in Category}
STS_FAILS = ServerError(Operation.GET_CALLER_IDENTITY, "HTTP 503")


class Clients:
    """`TargetClients` over fakes."""

    def __init__(self, make_fake: Callable[[], FakeCognito] | None = None) -> None:
        self._threads = set(threading.enumerate())
        self.observer = RecordingObserver()
        self.rate_limiters = RateLimiters(RATES, SystemClock())
        self.apis: dict[TargetSettings, FakeCognito] = {}
        self._make_fake = make_fake or (lambda: FakeCognito({POOL_ID: FakePool()}))
        self.clients = TargetClients(self._make, self.rate_limiters, self.observer, SystemClock())

    def _make(self, target: TargetSettings) -> CognitoApi:
        assert target not in self.apis
        self.apis[target] = self._make_fake()
        return self.apis[target]

    def reader(self, target: TargetSettings = HERE) -> PoolClient:
        return self.clients.reader(settings(target=target), lambda: False)

    def is_idle(self) -> bool:
        """True if no account thread is running."""
        return self.threads() == 0

    def threads(self) -> int:
        """Return the number of account threads."""
        return len(set(threading.enumerate()) - self._threads)

    def resolved(self, account: str = ACCOUNT) -> int:
        return self.observer.heard["target resolved", UNKNOWN_ACCOUNT, account]

    def targets(self) -> set[Target]:
        return {state.target for state in self.rate_limiters.states()}


@pytest.fixture
def account_id_wait(monkeypatch: pytest.MonkeyPatch) -> float:
    """Shorten the wait for the account id."""
    monkeypatch.setattr("exporter.aws.targets.ACCOUNT_ID_WAIT_SECONDS", 0.3)
    return 0.3


def failing_sts() -> FakeCognito:
    fake = FakeCognito({POOL_ID: FakePool()})
    fake.fault = lambda operation, _: STS_FAILS if operation is Operation.GET_CALLER_IDENTITY else None
    return fake


class SlowSts(FakeCognito):
    """Fake whose STS responds when `respond` is set."""

    def __init__(self) -> None:
        super().__init__({POOL_ID: FakePool()})
        self.respond = threading.Event()

    def account_id(self) -> str:
        assert self.respond.wait(10)
        return super().account_id()


class WithoutAccount(FakeCognito):
    """Fake that never returns an account id."""

    def __init__(self) -> None:
        super().__init__({POOL_ID: FakePool()})
        self.fault = lambda operation, _: STS_FAILS if operation is Operation.GET_CALLER_IDENTITY else None

    def describe_user_pool(self, pool_id: str) -> PoolDescription:
        return replace(super().describe_user_pool(pool_id), account_id=None)


def test_retain_adds_targets_without_connecting() -> None:
    world = Clients()
    world.clients.retain([HERE, BY_ROLE])
    assert world.observer.heard == {
        ("target added", UNKNOWN_ACCOUNT, IRELAND): 1,
        ("target added", OTHER_ACCOUNT, IRELAND): 1,
    }
    assert world.apis == {}


def test_retain_keeps_targets_and_closes_the_others() -> None:
    world = Clients()
    world.clients.retain([HERE, BY_ROLE])
    reader = world.reader(BY_ROLE)
    world.clients.retain([BY_ROLE])
    assert world.observer.heard["target removed", UNKNOWN_ACCOUNT, IRELAND] == 1
    assert world.observer.heard["target added", OTHER_ACCOUNT, IRELAND] == 1
    assert world.targets() == {Target(OTHER_ACCOUNT, IRELAND)}
    assert world.reader(BY_ROLE).account is reader.account
    world.clients.retain([])
    assert world.observer.heard["target removed", OTHER_ACCOUNT, IRELAND] == 1
    assert world.targets() == set()


def test_pools_with_the_same_target_share_a_client() -> None:
    world = Clients()
    world.clients.retain([HERE, BY_ROLE])
    for target in (HERE, HERE, BY_ROLE, BY_ROLE):
        world.reader(target)  # making a second client for a target would fail
    assert world.apis.keys() == {HERE, BY_ROLE}


def test_failed_client_creation_is_retried() -> None:
    failures = [CredentialsError("client", "ProfileNotFound")]

    def make(_target: TargetSettings) -> CognitoApi:
        if failures:
            raise failures.pop()
        return FakeCognito({POOL_ID: FakePool()})

    clients = TargetClients(make, RateLimiters(RATES, SystemClock()), RecordingObserver(), SystemClock())
    clients.retain([HERE])
    pool = settings(target=HERE)
    with pytest.raises(CredentialsError):
        clients.reader(pool, lambda: False)
    assert clients.reader(pool, lambda: False).describe().pool_id == POOL_ID


def test_account_of_a_role_is_known_without_sts() -> None:
    world = Clients()
    world.clients.retain([BY_ROLE])
    world.reader(BY_ROLE).describe()  # the description of the fake has another account id
    assert world.apis[BY_ROLE].calls[Operation.GET_CALLER_IDENTITY] == 0
    assert world.targets() == {Target(OTHER_ACCOUNT, IRELAND)}
    assert world.resolved() == 0


def test_first_reader_waits_for_the_account_id() -> None:
    world = Clients()
    world.clients.retain([HERE])
    reader = world.reader()
    assert world.resolved() == 1
    assert world.targets() == {Target(ACCOUNT, IRELAND)}
    assert eventually(world.is_idle)
    reader.describe()
    world.reader().describe()
    assert world.resolved() == 1
    assert world.apis[HERE].calls[Operation.GET_CALLER_IDENTITY] == 1
    assert world.observer.heard["request", ACCOUNT, "DescribeUserPool", "None", "True"] == 2
    assert world.observer.heard["request", ACCOUNT, "GetCallerIdentity", "None", "True"] == 1


def test_description_sets_the_account_id_if_sts_fails() -> None:
    world = Clients(failing_sts)
    world.clients.retain([HERE])
    started = time.monotonic()
    reader = world.reader()
    assert time.monotonic() - started < 0.5
    assert world.targets() == {Target(UNKNOWN_ACCOUNT, IRELAND)}
    assert world.observer.heard["request", UNKNOWN_ACCOUNT, "GetCallerIdentity", "server_error", "True"] == 1
    reader.describe()
    assert world.targets() == {Target(ACCOUNT, IRELAND)}
    assert world.resolved() == 1


def test_account_without_any_source_stays_unknown() -> None:
    world = Clients(WithoutAccount)
    world.clients.retain([HERE])
    world.reader().describe()
    assert world.targets() == {Target(UNKNOWN_ACCOUNT, IRELAND)}


def test_first_reader_waits_a_moment_for_slow_sts(account_id_wait: float) -> None:
    slow = SlowSts()
    world = Clients(lambda: slow)
    world.clients.retain([HERE])
    started = time.monotonic()
    reader = world.reader()
    waited = time.monotonic() - started
    assert account_id_wait * 0.9 <= waited < account_id_wait + 1
    reader.describe()
    assert world.resolved() == 1
    started = time.monotonic()
    world.reader()
    assert time.monotonic() - started < account_id_wait / 2, "the description has set the account id"
    slow.respond.set()
    assert eventually(lambda: slow.calls[Operation.GET_CALLER_IDENTITY] == 1)
    assert eventually(world.is_idle)
    assert world.resolved() == 1, "set once"


@pytest.mark.usefixtures("account_id_wait")
def test_sts_response_after_close_is_ignored() -> None:
    slow = SlowSts()
    world = Clients(lambda: slow)
    world.clients.retain([HERE])
    world.reader()
    world.clients.retain([])
    slow.respond.set()
    assert eventually(world.is_idle)
    assert world.resolved() == 0
    assert world.targets() == set()


def test_reader_has_the_device_attributes_of_its_pool() -> None:
    firefox = Device("key", attributes=(("device_name", "Firefox"), ("last_ip_used", "192.0.2.1")))
    world = Clients(lambda: FakeCognito({POOL_ID: FakePool(users={"ann": (firefox,)})}))
    world.clients.retain([HERE])
    pool = settings(target=HERE, device_attributes=("device_name",))
    reader = world.clients.reader(pool, lambda: False)
    (device,) = reader.devices("ann", token=None, on_send=lambda: None).items
    assert device.attributes == (("device_name", "Firefox"),)


def test_targets_of_one_account_and_region_share_limiters() -> None:
    world = Clients()
    private = replace(HERE, endpoint_url="https://vpce.example.com")
    elsewhere = TargetSettings(OHIO)
    world.clients.retain([HERE, private, elsewhere, BY_ROLE])
    readers = [world.reader(target) for target in (HERE, private, elsewhere, BY_ROLE)]
    for category in Category:
        first, same, region, account = (reader.account.limiter(category) for reader in readers)
        assert first is same
        assert len({id(limiter) for limiter in (first, region, account)}) == 3
    assert len({id(readers[0].account.limiter(category)) for category in Category}) == len(Category)
    world.clients.retain([private])
    assert world.targets() == {Target(ACCOUNT, IRELAND)}
    assert readers[1].account.limiter(Category.USER_LIST) is world.reader(private).account.limiter(Category.USER_LIST)


def test_configure_requests_a_quota_that_became_shared() -> None:
    world = Clients()
    world.clients.retain([HERE, BY_ROLE])
    world.reader().describe()
    assert eventually(world.is_idle)
    assert world.apis[HERE].calls[Operation.GET_PROVISIONED_LIMIT] == 0
    world.apis[HERE].quotas[Category.USER_LIST] = 200.0
    world.clients.configure({**RATES, Category.USER_LIST.value: Share(0.5)})

    def configured(region: str) -> set[float]:
        states = world.rate_limiters.states()
        return {s.configured for s in states if s.category is Category.USER_LIST and s.target.account_id == region}

    assert eventually(lambda: configured(ACCOUNT) == {100.0})
    assert world.apis[HERE].calls[Operation.GET_PROVISIONED_LIMIT] == 1
    assert BY_ROLE not in world.apis, "a target without a client polls when it is created"
    world.clients.retain([])


def test_configure_with_absolute_rates_requests_no_quota() -> None:
    world = Clients()
    world.clients.retain([HERE])
    world.reader().describe()
    world.clients.configure({**RATES, Category.USER_LIST.value: 3.0})
    assert eventually(world.is_idle)
    assert world.apis[HERE].calls[Operation.GET_PROVISIONED_LIMIT] == 0
    assert {s.configured for s in world.rate_limiters.states() if s.category is Category.USER_LIST} == {3.0}


SHARED: Rates = {**RATES, Category.USER_LIST.value: Share(0.5)}
WITHIN = 3.0
"""Seconds, more than the 1.1 that a thread waits between two requests."""


def quota_requests(world: Clients, target: TargetSettings = HERE) -> int:
    return world.apis[target].calls[Operation.GET_PROVISIONED_LIMIT]


def polling(*targets: TargetSettings) -> Clients:
    """Return clients whose threads have polled, and wait for the next poll."""
    world = Clients()
    world.clients.retain(targets)
    for target in targets:
        world.reader(target).describe()
    world.clients.configure(SHARED)
    assert eventually(lambda: all(quota_requests(world, target) == 1 for target in targets))
    assert not world.is_idle()
    return world


def test_quota_poll_ends_when_its_target_is_removed() -> None:
    world = polling(HERE, BY_ROLE)
    world.clients.retain([])
    assert eventually(world.is_idle, within=WITHIN)
    assert (quota_requests(world), quota_requests(world, BY_ROLE)) == (1, 1)


def test_quota_poll_of_another_target_continues() -> None:
    world = polling(HERE, BY_ROLE)
    world.clients.retain([BY_ROLE])
    assert eventually(lambda: world.threads() == 1, within=WITHIN)
    assert not eventually(world.is_idle, within=0.1)
    world.clients.retain([])
    assert eventually(world.is_idle, within=WITHIN)


def test_replaced_targets_leave_no_threads() -> None:
    world = Clients()
    world.clients.configure(SHARED)
    targets = [replace(HERE, endpoint_url=f"https://{number}.example.com") for number in range(20)]
    for target in targets:
        world.clients.retain([target])
        world.reader(target).describe()
    assert eventually(lambda: world.threads() == 1, within=WITHIN)
    world.clients.retain([])
    assert eventually(world.is_idle, within=WITHIN)


def test_repeated_configure_leaves_one_quota_poll() -> None:
    world = polling(HERE)
    for number in range(5):
        world.clients.configure(RATES)
        assert eventually(world.is_idle, within=WITHIN), "no rate is a share"
        world.clients.configure(SHARED)
        assert eventually(lambda: quota_requests(world) == number + 2)  # noqa: B023 - called in this iteration only
    both: Rates = {**SHARED, Category.USER_POOL_READ.value: Share(0.5)}
    world.clients.configure(both)
    assert eventually(lambda: quota_requests(world) == 8)
    assert eventually(lambda: world.threads() == 1, within=WITHIN)
    world.clients.retain([])
    assert eventually(world.is_idle, within=WITHIN)


@pytest.mark.usefixtures("account_id_wait")
def test_target_removed_before_sts_responds_polls_no_quotas() -> None:
    slow = SlowSts()
    world = Clients(lambda: slow)
    world.clients.configure(SHARED)
    world.clients.retain([HERE])
    world.reader()
    world.clients.retain([])
    slow.respond.set()
    assert eventually(world.is_idle, within=WITHIN)
    assert quota_requests(world) == 0


def test_removed_target_has_no_reader() -> None:
    world = Clients()
    world.clients.retain([])
    with pytest.raises(Cancelled):
        world.reader()
