from __future__ import annotations

import threading

from structlog.testing import capture_logs

from exporter.aws.api import Category, Operation
from exporter.aws.rate.limiters import RateLimiters, Rates
from exporter.aws.rate.quotas import LIMIT_MANAGEMENT_SECONDS, QUOTA_ATTEMPTS, QUOTA_REFRESH_SECONDS, QuotaPoller
from exporter.config.settings import Share
from exporter.errors import AwsError, Denied, ServerError
from tests.fakes import FakeAccount, FakeCognito, ManualClock, RecordingObserver

SHARED: Rates = {**{category.value: 1.0 for category in Category}, "UserList": Share(0.5), "UserPoolRead": Share(0.5)}
PLAIN = {category.value: 1.0 for category in Category}


class Asked(FakeAccount, RecordingObserver):
    """Whose quotas are asked for; its waits end at once, and after so many of them nobody wants to know any more."""

    def __init__(self, waits: int, *, answer: AwsError | None = None) -> None:
        FakeAccount.__init__(self)
        RecordingObserver.__init__(self)
        self.known: list[tuple[Category, float]] = []
        self.waited_for: list[float] = []
        self.over = threading.Event()
        self.api = FakeCognito({})
        self.api.fault = lambda _operation, _subject: answer
        self.rate_limiters = RateLimiters(SHARED, ManualClock())
        self._waits = waits

    def set_quota(self, category: Category, quota: float) -> None:
        self.known.append((category, quota))

    def wait(self, over: threading.Event, seconds: float) -> None:
        self.waited_for.append(seconds)
        if len(self.waited_for) == self._waits:
            over.set()

    @property
    def requests(self) -> int:
        return self.api.calls[Operation.GET_PROVISIONED_LIMIT]

    def ask(self) -> None:
        QuotaPoller(self.rate_limiters, ManualClock(), self.wait).ask(self, self.api, self.over)


def test_each_quota_that_a_rate_is_a_share_of_is_asked_for_at_once_and_then_every_hour() -> None:
    asked = Asked(waits=6)
    asked.ask()
    both = [(category, asked.api.quotas[category]) for category in (Category.USER_LIST, Category.USER_POOL_READ)]
    assert sorted(asked.known[:2]) == sorted(both)
    assert asked.known == asked.known[:2] * 2
    assert asked.waited_for == [LIMIT_MANAGEMENT_SECONDS, LIMIT_MANAGEMENT_SECONDS, QUOTA_REFRESH_SECONDS] * 2
    assert asked.heard["request", "unknown", "GetProvisionedLimit", "None", "True"] == 4


def test_once_it_is_over_nothing_more_is_asked_between_two_quotas_either() -> None:
    asked = Asked(waits=1)
    asked.ask()
    assert (len(asked.known), asked.requests) == (1, 1)


def test_what_was_over_before_it_began_asks_nothing() -> None:
    asked = Asked(waits=99)
    asked.over.set()
    asked.ask()
    assert (asked.requests, asked.waited_for) == (0, [])


def test_a_failure_is_asked_again_until_it_is_over_and_told_by_no_warning_then() -> None:
    asked = Asked(waits=2, answer=ServerError(Operation.GET_PROVISIONED_LIMIT, "HTTP 503"))
    with capture_logs() as log:
        asked.ask()
    assert asked.requests == 2
    assert log == []


def test_what_fails_for_good_is_a_warning_for_each_quota_and_asked_again_after_an_hour() -> None:
    asked = Asked(waits=2, answer=Denied(Operation.GET_PROVISIONED_LIMIT, "AccessDeniedException"))
    with capture_logs() as log:
        asked.ask()
    assert asked.waited_for == [QUOTA_REFRESH_SECONDS] * 2
    assert [line["category"] for line in log] == ["UserList", "UserPoolRead"] * 2
    assert {line["log_level"] for line in log} == {"warning"}
    assert asked.known == []


def test_a_failure_that_may_pass_is_asked_so_often() -> None:
    asked = Asked(waits=2 * (QUOTA_ATTEMPTS - 1) + 1, answer=ServerError(Operation.GET_PROVISIONED_LIMIT, "HTTP 503"))
    asked.ask()
    assert asked.requests == 2 * QUOTA_ATTEMPTS
    assert asked.waited_for[-1] == QUOTA_REFRESH_SECONDS


def test_where_no_rate_is_a_share_any_more_it_ends_by_itself() -> None:
    asked = Asked(waits=99)
    asked.rate_limiters.configure(PLAIN)
    asked.ask()
    assert (asked.requests, asked.waited_for) == (0, [])
