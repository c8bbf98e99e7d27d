"""Retry policy for requests to AWS."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from exporter.errors import AwsError

T = TypeVar("T")


class Retrier(Protocol):
    """Function that makes a call and retries it after retryable errors, up to a limit."""

    def __call__(self, call: Callable[[], T], /) -> T:
        """Return the result of the call, or raise its last error."""
        ...


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Retry policy for calls that fail with a retryable error."""

    attempts: int = 12
    """Maximum attempts per call and sweep. If a third of all calls fail, one call in 500,000 reaches this limit."""
    first_attempts: int = 6
    """Maximum attempts of the first call of a sweep. A pool that does not respond is reported as failing within
    seconds, and its next sweep starts soon."""
    max_consecutive_failures: int = 50
    """Consecutive retryable failures, over all calls, after which the sweep ends if `outage_tolerance` has passed."""
    outage_tolerance: float = 60.0
    """Seconds without a success that must have passed before the sweep ends, so that it survives short outages."""
    first_delay: float = 0.5
    """Delay in seconds before the second attempt. Doubles with each attempt; up to half of it is removed as jitter."""
    max_delay: float = 30.0
    """Upper limit of the delay in seconds."""

    def delay(self, attempts: int) -> float:
        """Return the delay in seconds after the given number of failed attempts."""
        longest = min(self.max_delay, self.first_delay * 2.0 ** (attempts - 1))
        return longest * random.uniform(0.5, 1)  # noqa: S311 - jitter, no secret

    def retrier(self, attempts: int, sleep: Callable[[float], object]) -> Retrier:
        """Return a function that makes a call up to `attempts` times while it fails with a retryable error.

        The function keeps no reference to an error that it raises, because the traceback would close a reference cycle.
        """

        def retry(call: Callable[[], T]) -> T:
            for attempt in range(1, attempts):
                try:
                    return call()
                except AwsError as error:
                    if not error.is_retryable:
                        raise
                sleep(self.delay(attempt))
            return call()

        return retry


DEFAULT_RETRY_POLICY = RetryPolicy()
