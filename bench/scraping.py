"""Scrapes as Prometheus sends them: on one persistent connection, with gzip."""

from __future__ import annotations

import http.client
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import urlencode

from bench.errors import NotMeasured

T = TypeVar("T")

ACCEPT = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
"""Accept header of Prometheus 2.42."""

TIMEOUT = 60.0

POLL_SECONDS = 0.25

POLL_CLOSELY_SECONDS = 0.005
"""Poll interval when the time of the change is measured."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """Response to one scrape."""

    seconds: float
    """Time from the request to the last byte, before decompression."""
    page: bytes
    """Decompressed body."""
    wire_bytes: int


class Scraper:
    """Client of one server."""

    def __init__(self, name: str, port: int) -> None:
        self._name = name
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._connection.close()

    def metrics(self, *, names: Sequence[str] = (), gzipped: bool = True) -> Scrape:
        """Request /metrics, restricted to `names` if given. Raise `NotMeasured` if it fails."""
        path = "/metrics" + (f"?{urlencode([('name[]', name) for name in names])}" if names else "")
        scrape = self.get(path, gzipped=gzipped)
        if scrape is None:
            raise NotMeasured(f"{self._name} did not respond to a scrape")
        return scrape

    def get(self, path: str, *, gzipped: bool = False) -> Scrape | None:
        """Return the response if its status is 200, else None."""
        started = time.perf_counter()
        try:
            headers = {"Accept": ACCEPT, **({"Accept-Encoding": "gzip"} if gzipped else {})}
            self._connection.request("GET", path, headers=headers)
            answer = self._connection.getresponse()
            body = answer.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return None
        seconds = time.perf_counter() - started
        if answer.status != http.client.OK:
            return None
        packed = answer.headers.get("Content-Encoding") == "gzip"
        return Scrape(seconds, zlib.decompress(body, 31) if packed else body, len(body))

    def post(self, path: str) -> None:
        """Send a request without a body and expect 200."""
        self._connection.request("POST", path)
        answer = self._connection.getresponse()
        answer.read()
        if answer.status != http.client.OK:
            raise NotMeasured(f"{self._name} responded with {answer.status}")


def wait_until(poll: Callable[[], T | None], *, alive: Callable[[], None], every: float = POLL_SECONDS) -> T:
    """Call `poll` until it returns a value. The time limit of the stage ends the wait.

    Raise the errors of `alive`.
    """
    while (answer := poll()) is None:
        alive()
        time.sleep(every)
    return answer


def series(page: bytes, name: str) -> int:
    """Return the number of series of a metric on a page."""
    marks = (f"\n{name}{{".encode(), f"\n{name} ".encode())
    return sum(map((b"\n" + page).count, marks))


def value_of(page: bytes, name: str) -> float:
    """Return the sum of a metric over its series."""
    start = name.encode()
    lines = [line for line in page.split(b"\n") if line.startswith((start + b"{", start + b" "))]
    return sum(float(line.rpartition(b" ")[2]) for line in lines)
