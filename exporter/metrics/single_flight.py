"""Deduplication of concurrent computations of the same result."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from concurrent.futures import Future
from threading import Lock
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class SingleFlight(Generic[K, T]):
    """Concurrent calls with the same key share one computation. Results are not cached."""

    def __init__(self) -> None:
        self._under_way: dict[K, Future[T]] = {}
        self._lock = Lock()

    def run(self, key: K, compute: Callable[[], T]) -> T:
        """Return the result for the key, computed by this caller or by a concurrent one.

        An exception of `compute` is raised in every caller that waits for the result.
        """
        with self._lock:
            flight = self._under_way.get(key)
            if flight is None:
                mine = self._under_way[key] = Future[T]()
        return flight.result() if flight is not None else self._fly(key, mine, compute)

    def _fly(self, key: K, flight: Future[T], compute: Callable[[], T]) -> T:
        try:
            flight.set_result(compute())
        except BaseException as error:
            flight.set_exception(error)
            raise
        finally:
            with self._lock:
                del self._under_way[key]
        return flight.result()
