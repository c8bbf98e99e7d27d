"""Isolation of failing metrics, so that a scrape still serves all others."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import TypeVar

import structlog

T = TypeVar("T")

log = structlog.stdlib.get_logger(__name__)


class FailureIsolator:
    """Runner of the functions that compute metrics.

    Each failure is counted. Only the first of consecutive failures of a metric is logged.
    """

    def __init__(self, count_failure: Callable[[str], None]) -> None:
        self._count_failure = count_failure
        self._failing: set[str] = set()
        self._lock = Lock()

    def run(self, metric: str, compute: Callable[[], T]) -> T | None:
        """Return the result of `compute`, or None if it raised and the metric must be omitted."""
        try:
            result = compute()
        except Exception as error:  # noqa: BLE001 - any failure of one metric must not affect the others
            self._failed(metric, error)
            return None
        with self._lock:
            self._failing.discard(metric)
        return result

    def _failed(self, metric: str, error: Exception) -> None:
        with self._lock:
            known = metric in self._failing
            self._failing.add(metric)
        self._count_failure(metric)
        if not known:
            log.error("metric left out of the page", metric=metric, exc_info=error)
