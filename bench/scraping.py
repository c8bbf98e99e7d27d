"""Scrapes as Prometheus makes them: one connection kept open, gzip asked for."""

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
"""What Prometheus 2.42 sends."""

TIMEOUT = 60.0

POLL_SECONDS = 0.25

POLL_CLOSELY_SECONDS = 0.005
"""Where the moment itself is what is measured."""


@dataclass(frozen=True, slots=True)
class Scrape:
    """One answer."""

    seconds: float
    """From the request to the last byte, before unpacking."""
    page: bytes
    """Unpacked."""
    wire_bytes: int


class Scraper:
    """Asks one server again and again."""

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
        """The page of /metrics, restricted to `names` where given.

        Raises `NotMeasured` when the answer is none.
        """
        path = "/metrics" + (f"?{urlencode([('name[]', name) for name in names])}" if names else "")
        scrape = self.get(path, gzipped=gzipped)
        if scrape is None:
            raise NotMeasured(f"{self._name} did not answer a scrape")
        return scrape

    def get(self, path: str, *, gzipped: bool = False) -> Scrape | None:
        """The answer when it is 200; None when it is another, or there is none."""
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
            raise NotMeasured(f"{self._name} answered {answer.status}")


def wait_until(ask: Callable[[], T | None], *, alive: Callable[[], None], every: float = POLL_SECONDS) -> T:
    """Call `ask` until it returns an answer; the stage's time limit ends a wait that is in vain.

    Raises what `alive` raises.
    """
    while (answer := ask()) is None:
        alive()
        time.sleep(every)
    return answer


def series(page: bytes, name: str) -> int:
    """How many series of one metric a page has."""
    marks = (f"\n{name}{{".encode(), f"\n{name} ".encode())
    return sum(map((b"\n" + page).count, marks))


def value_of(page: bytes, name: str) -> float:
    """The sum of a metric's values over its series; 0 without any."""
    start = name.encode()
    lines = [line for line in page.split(b"\n") if line.startswith((start + b"{", start + b" "))]
    return sum(float(line.rpartition(b" ")[2]) for line in lines)
