from __future__ import annotations

import threading

from structlog.testing import capture_logs

from exporter.aws.api import Category, Operation
from exporter.aws.rate.limiters import RateLimiters, Rates
from exporter.aws.rate.quotas import LIMIT_MANAGEMENT_SECONDS, QUOTA_REFRESH_SECONDS, QUOTA_RETRIES, QuotaPoller
from exporter.config.settings import Share
from exporter.errors import AwsError, Denied, ServerError
from tests.fakes import FakeAccount, FakeCognito, ManualClock, RecordingObserver

SHARED: Rates = {**{category.value: 1.0 for category in Category}, "UserList": Share(0.5), "UserPoolRead": Share(0.5)}
ABSOLUTE = {category.value: 1.0 for category in Category}


class Consumer(FakeAccount):
    """Quota consumer whose waits return at once, and which stops the poll in its `waits`-th wait."""

    def __init__(self, waits: int, *, error: AwsError | None = None) -> None:
        self.recorded = RecordingObserver()
        super().__init__(observer=self.recorded)
        self.quotas: list[tuple[Category, float]] = []
        self.waited_for: list[float] = []
        self.stop = threading.Event()
        self.api = FakeCognito({})
        self.api.fault = lambda _operation, _subject: error
        self.rate_limiters = RateLimiters(SHARED, ManualClock())
        self._waits = waits

    def set_quota(self, category: Category, quota: float) -> None:
        self.quotas.append((category, quota))

    def wait(self, stop: threading.Event, seconds: float) -> None:
        self.waited_for.append(seconds)
        if len(self.waited_for) == self._waits:
            stop.set()

    @property
    def requests(self) -> int:
        return self.api.calls[Operation.GET_PROVISIONED_LIMIT]

    def poll(self) -> None:
        QuotaPoller(self.rate_limiters, ManualClock(), self.wait).poll(self, self.api, self.stop)


def test_poll_reads_each_shared_quota_at_once_and_every_hour() -> None:
    consumer = Consumer(waits=6)
    consumer.poll()
    both = [(category, consumer.api.quotas[category]) for category in (Category.USER_LIST, Category.USER_POOL_READ)]
    assert sorted(consumer.quotas[:2]) == sorted(both)
    assert consumer.quotas == consumer.quotas[:2] * 2
    assert consumer.waited_for == [LIMIT_MANAGEMENT_SECONDS, LIMIT_MANAGEMENT_SECONDS, QUOTA_REFRESH_SECONDS] * 2
    assert consumer.recorded.heard["request", "unknown", "GetProvisionedLimit", "None", "True"] == 4


def test_poll_stopped_between_two_quotas_makes_no_request() -> None:
    consumer = Consumer(waits=1)
    consumer.poll()
    assert (len(consumer.quotas), consumer.requests) == (1, 1)


def test_poll_stopped_before_it_starts_makes_no_request() -> None:
    consumer = Consumer(waits=99)
    consumer.stop.set()
    consumer.poll()
    assert (consumer.requests, consumer.waited_for) == (0, [])


def test_poll_stopped_during_retries_logs_no_warning() -> None:
    consumer = Consumer(waits=2, error=ServerError(Operation.GET_PROVISIONED_LIMIT, "HTTP 503"))
    with capture_logs() as log:
        consumer.poll()
    assert consumer.requests == 2
    assert log == []


def test_permanent_failure_is_logged_and_retried_after_an_hour() -> None:
    consumer = Consumer(waits=2, error=Denied(Operation.GET_PROVISIONED_LIMIT, "AccessDeniedException"))
    with capture_logs() as log:
        consumer.poll()
    assert consumer.waited_for == [QUOTA_REFRESH_SECONDS] * 2
    assert [line["category"] for line in log] == ["UserList", "UserPoolRead"] * 2
    assert {line["log_level"] for line in log} == {"warning"}
    assert consumer.quotas == []


def test_retryable_failure_is_retried_up_to_the_limit() -> None:
    error = ServerError(Operation.GET_PROVISIONED_LIMIT, "HTTP 503")
    consumer = Consumer(waits=2 * (QUOTA_RETRIES.attempts - 1) + 1, error=error)
    consumer.poll()
    assert consumer.requests == 2 * QUOTA_RETRIES.attempts
    assert consumer.waited_for[-1] == QUOTA_REFRESH_SECONDS


def test_poll_without_shared_categories_ends() -> None:
    consumer = Consumer(waits=99)
    consumer.rate_limiters.configure(ABSOLUTE)
    consumer.poll()
    assert (consumer.requests, consumer.waited_for) == (0, [])
