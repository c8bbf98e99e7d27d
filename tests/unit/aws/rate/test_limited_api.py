from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping

import pytest

from exporter.aws.api import Category, Operation, PoolReader
from exporter.aws.rate.limited_api import PoolClient
from exporter.aws.rate.limiter import BACKOFF_FACTOR, RateLimiter
from exporter.clock import SystemClock
from exporter.errors import AwsError, Cancelled, CredentialsFault, Denied, ServerError, Throttled
from exporter.model import Device
from exporter.observers import RequestCounts, Target
from tests.fakes import ACCOUNT, FakeAccount, FakeCognito, FakePool, RecordingObserver, eventually

POOL = "eu-west-1_AbCdEfGhI"
FIREFOX = Device("key", attributes=(("device_name", "Firefox"), ("last_ip_used", "192.0.2.1")))


def nothing() -> None:
    """The request departs, and nobody minds."""


Ask = Callable[[PoolReader], object]

METHODS: tuple[tuple[Ask, Operation, Category], ...] = (
    (lambda reader: reader.describe(), Operation.DESCRIBE_USER_POOL, Category.USER_POOL_READ),
    (lambda reader: reader.users(user_filter=None, token=None), Operation.LIST_USERS, Category.USER_LIST),
    (lambda reader: reader.users_in_group("staff", token=None), Operation.LIST_USERS_IN_GROUP, Category.USER_LIST),
    (
        lambda reader: reader.devices("ann", token=None, on_send=nothing),
        Operation.ADMIN_LIST_DEVICES,
        Category.USER_RESOURCE_READ,
    ),
)
EVERY_METHOD = pytest.mark.parametrize(("ask", "operation", "category"), METHODS)


class Counting(RateLimiter):
    """A budget that remembers who took turns."""

    def __init__(self) -> None:
        super().__init__(10_000, SystemClock())
        self.keys: list[str] = []

    def acquire(self, key: str, cancelled: Callable[[], bool]) -> float:
        waited = super().acquire(key, cancelled)
        self.keys.append(key)
        return waited


class CountingAccount(FakeAccount):
    """An account with a counting budget per category."""

    def __init__(self) -> None:
        super().__init__()
        self.counting: Mapping[Category, Counting] = {category: Counting() for category in Category}

    def limiter(self, category: Category) -> Counting:
        return self.counting[category]

    def turns(self) -> dict[Category, list[str]]:
        return {category: limiter.keys for category, limiter in self.counting.items() if limiter.keys}


class Read:
    """A reader over the fake, and everything around it."""

    def __init__(self, *attributes: str) -> None:
        self.api = FakeCognito({POOL: FakePool(users={"ann": (FIREFOX,)}, groups={"staff": ["ann"]})})
        self.account = CountingAccount()
        self.observer = RecordingObserver()
        self.stopped = threading.Event()
        self.reader = PoolClient(
            self.api,
            POOL,
            self.account,
            self.observer,
            SystemClock(),
            self.stopped.is_set,
            attributes=frozenset(attributes),
        )

    def fail(self, error: AwsError) -> None:
        self.api.fault = lambda _operation, _subject: error


@EVERY_METHOD
def test_a_call_takes_one_turn_of_its_category_and_is_told_once(
    ask: Ask, operation: Operation, category: Category
) -> None:
    read = Read()
    ask(read.reader)
    assert read.account.turns() == {category: [POOL]}
    assert read.api.calls == {operation: 1}
    # A description names the account, and is already counted under that name.
    account = ACCOUNT if operation is Operation.DESCRIBE_USER_POOL else "unknown"
    assert read.observer.heard == {
        ("waited", "unknown", category): 1,
        ("request", account, operation, "None", "True"): 1,
    }
    assert read.reader.request_counts() == RequestCounts(calls=1, throttled=0)


@EVERY_METHOD
@pytest.mark.parametrize("kind", [Throttled, ServerError, Denied])
def test_a_call_that_fails_is_told_once_with_its_reason(
    ask: Ask, operation: Operation, category: Category, kind: type[AwsError]
) -> None:
    read = Read()
    read.fail(kind(operation, "Code"))
    with pytest.raises(kind):
        ask(read.reader)
    assert read.observer.heard["request", "unknown", operation, kind.reason, "True"] == 1
    assert read.observer.heard.total() == 2
    assert read.account.turns() == {category: [POOL]}
    assert read.reader.request_counts() == RequestCounts(calls=1, throttled=int(kind is Throttled))


def test_a_call_that_never_left_is_told_as_such() -> None:
    read = Read()
    error = CredentialsFault(Operation.LIST_USERS, "NoCredentialsError")
    error.attempted = False
    read.fail(error)
    with pytest.raises(CredentialsFault):
        read.reader.users(user_filter=None, token=None)
    assert read.observer.heard["request", "unknown", "ListUsers", "credentials", "False"] == 1


@EVERY_METHOD
def test_a_throttle_answer_lowers_the_budget_of_its_category_and_no_other(
    ask: Ask, operation: Operation, category: Category
) -> None:
    read = Read()
    read.fail(Throttled(operation, "TooManyRequestsException"))
    with pytest.raises(Throttled):
        ask(read.reader)
    lowered = {c for c, limiter in read.account.counting.items() if limiter.current <= 10_000 * BACKOFF_FACTOR}
    assert lowered == {category}


@EVERY_METHOD
def test_told_to_stop_before_its_turn_a_call_is_not_made(ask: Ask, operation: Operation, category: Category) -> None:
    read = Read()
    read.stopped.set()
    with pytest.raises(Cancelled):
        ask(read.reader)
    assert read.api.calls[operation] == 0
    assert read.observer.heard.total() == 0
    assert read.account.counting[category].keys == []
    assert read.reader.request_counts() == RequestCounts(calls=0, throttled=0)


def test_a_request_departs_once_its_turn_has_come_and_not_before() -> None:
    api = FakeCognito({POOL: FakePool(users={"ann": ()})})
    account = FakeAccount(rate=0.5)
    account.limiter(Category.USER_RESOURCE_READ).acquire("another pool", lambda: False)
    stopped, on_send = threading.Event(), threading.Event()
    reader = PoolClient(api, POOL, account, RecordingObserver(), SystemClock(), stopped.is_set, attributes=frozenset())

    def ask() -> None:
        with pytest.raises(Cancelled):
            reader.devices("ann", token=None, on_send=on_send.set)

    asking = threading.Thread(target=ask)
    asking.start()
    line = account.limiter(Category.USER_RESOURCE_READ)._queue._keys
    assert eventually(lambda: POOL in line)
    assert not on_send.is_set()
    stopped.set()
    asking.join(5)
    assert not on_send.is_set()
    assert api.calls.total() == 0


def test_the_request_departs_before_the_answer_comes() -> None:
    read = Read()
    order = itertools.count()
    moments: dict[str, int] = {}

    def note(_operation: Operation, _subject: str) -> None:
        moments["asked"] = next(order)

    read.api.fault = note
    read.reader.devices("ann", token=None, on_send=lambda: moments.update(on_send=next(order)))
    assert moments == {"departed": 0, "asked": 1}


def test_a_description_names_the_account_of_all_later_calls() -> None:
    read = Read()
    read.reader.describe()
    assert read.account.target == Target(ACCOUNT, "eu-west-1")
    read.reader.users(user_filter=None, token=None)
    assert read.observer.heard["request", ACCOUNT, "ListUsers", "None", "True"] == 1


def test_of_the_attributes_of_devices_only_those_asked_for_are_kept() -> None:
    (device,) = Read("device_name").reader.devices("ann", token=None, on_send=nothing).items
    assert device.attributes == (("device_name", "Firefox"),)


def test_what_was_asked_is_added_up_over_threads() -> None:
    read = Read()
    threads = [threading.Thread(target=lambda: [ask(read.reader) for ask, *_ in METHODS]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read.reader.request_counts() == RequestCounts(calls=8 * len(METHODS), throttled=0)
