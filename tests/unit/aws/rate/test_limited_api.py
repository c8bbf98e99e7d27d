from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Mapping

import pytest

from exporter.aws.api import Category, Operation, PoolReader
from exporter.aws.rate.limited_api import PoolClient
from exporter.aws.rate.limiter import THROTTLED_RATE_FACTOR, RateLimiter
from exporter.clock import SystemClock
from exporter.errors import AwsError, Cancelled, CredentialsError, Denied, ServerError, Throttled
from exporter.model import Device
from exporter.observers import RequestCounts, Target
from tests.fakes import ACCOUNT, FakeAccount, FakeCognito, FakePool, RecordingObserver, eventually

POOL = "eu-west-1_AbCdEfGhI"
FIREFOX = Device("key", attributes=(("device_name", "Firefox"), ("last_ip_used", "192.0.2.1")))


def nothing() -> None:
    """Do nothing."""


Call = Callable[[PoolReader], object]

METHODS: tuple[tuple[Call, Operation, Category], ...] = (
    (lambda reader: reader.describe(), Operation.DESCRIBE_USER_POOL, Category.USER_POOL_READ),
    (lambda reader: reader.users(user_filter=None, token=None), Operation.LIST_USERS, Category.USER_LIST),
    (lambda reader: reader.users_in_group("staff", token=None), Operation.LIST_USERS_IN_GROUP, Category.USER_LIST),
    (
        lambda reader: reader.devices("ann", token=None, on_send=nothing),
        Operation.ADMIN_LIST_DEVICES,
        Category.USER_RESOURCE_READ,
    ),
)
EVERY_METHOD = pytest.mark.parametrize(("call", "operation", "category"), METHODS)


class RecordingLimiter(RateLimiter):
    """Rate limiter that records the keys of admitted requests."""

    def __init__(self) -> None:
        super().__init__(10_000, SystemClock())
        self.keys: list[str] = []

    def acquire(self, key: str, cancelled: Callable[[], bool]) -> float:
        waited = super().acquire(key, cancelled)
        self.keys.append(key)
        return waited


class RecordingAccount(FakeAccount):
    """Account with a recording rate limiter per category."""

    def __init__(self, observer: RecordingObserver) -> None:
        super().__init__(observer=observer)
        self.recording: Mapping[Category, RecordingLimiter] = {category: RecordingLimiter() for category in Category}

    def limiter(self, category: Category) -> RecordingLimiter:
        return self.recording[category]

    def admitted(self) -> dict[Category, list[str]]:
        return {category: limiter.keys for category, limiter in self.recording.items() if limiter.keys}


class Read:
    """Reader over the fake, with its collaborators."""

    def __init__(self, *attributes: str) -> None:
        self.api = FakeCognito({POOL: FakePool(users={"ann": (FIREFOX,)}, groups={"staff": ["ann"]})})
        self.observer = RecordingObserver()
        self.account = RecordingAccount(self.observer)
        self.stopped = threading.Event()
        self.reader = PoolClient(
            self.api,
            POOL,
            self.account,
            SystemClock(),
            self.stopped.is_set,
            attributes=frozenset(attributes),
        )

    def fail(self, error: AwsError) -> None:
        self.api.fault = lambda _operation, _subject: error


@EVERY_METHOD
def test_request_is_admitted_and_reported_once(call: Call, operation: Operation, category: Category) -> None:
    read = Read()
    call(read.reader)
    assert read.account.admitted() == {category: [POOL]}
    assert read.api.calls == {operation: 1}
    # A description contains the account id, and is counted under it.
    account = ACCOUNT if operation is Operation.DESCRIBE_USER_POOL else "unknown"
    assert read.observer.heard == {
        ("waited", "unknown", category): 1,
        ("request", account, operation, "None", "True"): 1,
    }
    assert read.reader.request_counts() == RequestCounts(calls=1, throttled=0)


@EVERY_METHOD
@pytest.mark.parametrize("kind", [Throttled, ServerError, Denied])
def test_failed_request_is_reported_once_with_its_reason(
    call: Call, operation: Operation, category: Category, kind: type[AwsError]
) -> None:
    read = Read()
    read.fail(kind(operation, "Code"))
    with pytest.raises(kind):
        call(read.reader)
    assert read.observer.heard["request", "unknown", operation, kind.reason, "True"] == 1
    assert read.observer.heard.total() == 2
    assert read.account.admitted() == {category: [POOL]}
    assert read.reader.request_counts() == RequestCounts(calls=1, throttled=int(kind is Throttled))


def test_request_that_was_not_sent_is_reported_as_such() -> None:
    read = Read()
    error = CredentialsError(Operation.LIST_USERS, "NoCredentialsError")
    error.attempted = False
    read.fail(error)
    with pytest.raises(CredentialsError):
        read.reader.users(user_filter=None, token=None)
    assert read.observer.heard["request", "unknown", "ListUsers", "credentials", "False"] == 1


@EVERY_METHOD
def test_throttling_lowers_the_rate_of_its_category_only(call: Call, operation: Operation, category: Category) -> None:
    read = Read()
    read.fail(Throttled(operation, "TooManyRequestsException"))
    with pytest.raises(Throttled):
        call(read.reader)
    lowered = {c for c, limiter in read.account.recording.items() if limiter.current <= 10_000 * THROTTLED_RATE_FACTOR}
    assert lowered == {category}


@EVERY_METHOD
def test_canceled_request_is_not_made(call: Call, operation: Operation, category: Category) -> None:
    read = Read()
    read.stopped.set()
    with pytest.raises(Cancelled):
        call(read.reader)
    assert read.api.calls[operation] == 0
    assert read.observer.heard.total() == 0
    assert read.account.recording[category].keys == []
    assert read.reader.request_counts() == RequestCounts(calls=0, throttled=0)


def test_on_send_is_not_called_before_admission() -> None:
    api = FakeCognito({POOL: FakePool(users={"ann": ()})})
    account = FakeAccount(rate=0.5)
    account.limiter(Category.USER_RESOURCE_READ).acquire("another pool", lambda: False)
    stopped, on_send = threading.Event(), threading.Event()
    reader = PoolClient(api, POOL, account, SystemClock(), stopped.is_set, attributes=frozenset())

    def read_devices() -> None:
        with pytest.raises(Cancelled):
            reader.devices("ann", token=None, on_send=on_send.set)

    thread = threading.Thread(target=read_devices)
    thread.start()
    assert eventually(lambda: account.limiter(Category.USER_RESOURCE_READ).waiting == 1)
    assert not on_send.is_set()
    stopped.set()
    thread.join(5)
    assert not on_send.is_set()
    assert api.calls.total() == 0


def test_on_send_is_called_before_the_request() -> None:
    read = Read()
    order = itertools.count()
    events: dict[str, int] = {}

    def record(_operation: Operation, _subject: str) -> None:
        events["request"] = next(order)

    read.api.fault = record
    read.reader.devices("ann", token=None, on_send=lambda: events.update(on_send=next(order)))
    assert events == {"on_send": 0, "request": 1}


def test_description_sets_the_account_of_later_requests() -> None:
    read = Read()
    read.reader.describe()
    assert read.account.target == Target(ACCOUNT, "eu-west-1")
    read.reader.users(user_filter=None, token=None)
    assert read.observer.heard["request", ACCOUNT, "ListUsers", "None", "True"] == 1


def test_devices_have_only_the_wanted_attributes() -> None:
    (device,) = Read("device_name").reader.devices("ann", token=None, on_send=nothing).items
    assert device.attributes == (("device_name", "Firefox"),)


def test_request_counts_are_summed_over_threads() -> None:
    read = Read()
    threads = [threading.Thread(target=lambda: [call(read.reader) for call, *_ in METHODS]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read.reader.request_counts() == RequestCounts(calls=8 * len(METHODS), throttled=0)
