"""Polling of the provisioned quotas that rates are a share of: at start, and then every hour."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

import structlog

from exporter.aws.api import AccountApi, Category, Operation
from exporter.aws.rate.limited_api import Account, observed
from exporter.aws.rate.limiters import RateLimiters
from exporter.clock import Clock
from exporter.errors import AwsError, Cancelled
from exporter.retry import RetryPolicy

LIMIT_MANAGEMENT_SECONDS = 1.1
"""Interval between requests of the category LimitManagement, of which AWS allows one per second."""

QUOTA_RETRIES = RetryPolicy(attempts=6, first_delay=LIMIT_MANAGEMENT_SECONDS)
"""Retries of one request. Other shards and roles may poll at the same time."""

QUOTA_REFRESH_SECONDS = 3600.0
"""Interval between polls."""

log = structlog.get_logger()


class QuotaConsumer(Account, Protocol):
    """Account whose quotas are polled."""

    def set_quota(self, category: Category, quota: float) -> None:
        """Set the provisioned quota of a category in requests per second."""
        ...


class QuotaPoller:
    """Poller of quotas, for any account. Thread-safe."""

    def __init__(
        self,
        rate_limiters: RateLimiters,
        clock: Clock,
        wait: Callable[[threading.Event, float], object] = threading.Event.wait,
    ) -> None:
        """Poll the categories whose rate is a share of the quota according to `rate_limiters`."""
        self._rate_limiters = rate_limiters
        self._clock = clock
        self._wait = wait

    def poll(self, consumer: QuotaConsumer, api: AccountApi, stop: threading.Event) -> None:
        """Poll the quotas until no rate is a share of a quota, or `stop` is set."""
        with suppress(Cancelled):
            while shared := self._rate_limiters.quota_share_categories():
                for category in shared:
                    self._poll_category(consumer, api, category, stop)
                self._wait(stop, QUOTA_REFRESH_SECONDS)

    def _poll_category(
        self, consumer: QuotaConsumer, api: AccountApi, category: Category, stop: threading.Event
    ) -> None:
        def request() -> float:
            if stop.is_set():
                raise Cancelled("the quotas are no longer needed")
            operation = Operation.GET_PROVISIONED_LIMIT
            return observed(consumer, self._clock, operation, lambda: api.provisioned_quota(category))

        retry = QUOTA_RETRIES.retrier(QUOTA_RETRIES.attempts, partial(self._wait, stop))
        try:
            quota = retry(request)
        except AwsError as error:
            log.warning(
                "cannot read provisioned quota; using the default quota",
                region=consumer.target.region,
                category=category.value,
                error=str(error),
            )
        else:
            consumer.set_quota(category, quota)
            self._wait(stop, LIMIT_MANAGEMENT_SECONDS)
