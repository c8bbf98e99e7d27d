"""The quotas that rates are shares of: asked of AWS beside the sweeps, at once and then every hour."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Protocol

import structlog
import tenacity

from exporter.aws.api import Category, CognitoApi, Operation
from exporter.aws.rate.limited_api import Account, observed
from exporter.aws.rate.limiters import RateLimiters
from exporter.clock import Clock
from exporter.errors import AwsError, Cancelled
from exporter.observers import RequestObserver

LIMIT_MANAGEMENT_SECONDS = 1.1
"""Between two requests of the category LimitManagement, of which AWS grants one per second."""

QUOTA_ATTEMPTS = 6
"""At reading one quota: other shards and roles ask at the same time."""

QUOTA_REFRESH_SECONDS = 3600.0
"""A quota that was bought shows at the latest so much later."""

log = structlog.get_logger()


def wait(over: threading.Event, seconds: float) -> None:
    """Wait until an event is set, for so many seconds at the most."""
    over.wait(seconds)


class QuotaConsumer(Account, RequestObserver, Protocol):
    """Whose quotas are asked for."""

    def set_quota(self, category: Category, quota: float) -> None:
        """AWS has told how many requests per second it grants."""
        ...


class QuotaPoller:
    """Asks for quotas, for any connection; safe to use from many threads."""

    def __init__(
        self, rate_limiters: RateLimiters, clock: Clock, wait: Callable[[threading.Event, float], None] = wait
    ) -> None:
        """`rate_limiters` knows which rates are shares."""
        self._rate_limiters = rate_limiters
        self._clock = clock
        self._wait = wait

    def ask(self, grantee: QuotaConsumer, api: CognitoApi, over: threading.Event) -> None:
        """Ask for each quota of which a rate is a share, now and every hour, as long as there are such rates.

        Returns soon after `over` is set, however long it would have waited.
        """
        with suppress(Cancelled):
            while shared := self._rate_limiters.shared_categories():
                for category in shared:
                    self._ask_one(grantee, api, category, over)
                self._wait(over, QUOTA_REFRESH_SECONDS)

    def _ask_one(self, grantee: QuotaConsumer, api: CognitoApi, category: Category, over: threading.Event) -> None:
        def ask() -> float:
            if over.is_set():
                raise Cancelled("nobody wants to know the quota any more")
            return observed(
                grantee,
                grantee,
                self._clock,
                Operation.GET_PROVISIONED_LIMIT,
                lambda: api.provisioned_quota(category),
            )

        patiently = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, AwsError) and error.is_retryable),
            stop=tenacity.stop_after_attempt(QUOTA_ATTEMPTS),
            wait=tenacity.wait_random_exponential(multiplier=LIMIT_MANAGEMENT_SECONDS, max=30),
            sleep=partial(self._wait, over),
            reraise=True,
        )
        try:
            quota = patiently(ask)
        except AwsError as error:
            log.warning(
                "the provisioned quota cannot be read; taking the rate as a share of AWS's documented default",
                region=grantee.target.region,
                category=category.value,
                error=str(error),
            )
        else:
            grantee.set_quota(category, quota)
            self._wait(over, LIMIT_MANAGEMENT_SECONDS)
