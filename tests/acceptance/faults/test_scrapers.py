"""Misbehaving scrapers: too many, too slow, or never reading."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

from exporter.emulator import Emulator
from tests.acceptance.faults.rows import LONG, Row
from tests.acceptance.faults.watch import becomes, wait_for_new_sweep, watching
from tests.harness import Exporter, Page, config, get, serving_program
from tests.truth import assert_correct

SCRAPERS = 200
EACH = 5
FEW, MANY = 60, 150
"""Connections below and above the limit of 100."""


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def resting_threads(pid: int) -> int:
    """Return the number of threads once it has been stable for three seconds."""
    seen: list[int] = []

    def stands_still() -> bool:
        seen.append(threads(pid))
        return len(seen) > 12 and len(set(seen[-12:])) == 1

    assert becomes(stands_still, within=30)
    return seen[-1]


@contextmanager
def connected(exporter: Exporter, count: int, receive_bytes: int | None = None) -> Iterator[list[socket.socket]]:
    parts = urlsplit(exporter.url)
    with ExitStack() as stack:
        sockets = []
        for _ in range(count):
            sock = stack.enter_context(socket.socket())
            if receive_bytes is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            sock.connect((parts.hostname, parts.port))
            sockets.append(sock)
        yield sockets


def test_200_concurrent_scrapers(emulator: Emulator, tmp_path: Path, row: Row) -> None:
    row.describe(
        "200 concurrent scrapers",
        "Each gets a correct page, or 503 with Retry-After; sweeps continue, and a later scrape gets a response.",
    )
    pool_id = emulator.seed_pool("crowd", users=100)
    truth = emulator.truth(pool_id)
    with serving_program(config(emulator.url, pool_id, refresh_interval="1s"), tmp_path, emulator.url) as running:
        wanted = essence(running.after_first_sweep(pool_id), pool_id)
        for _ in row.each_round():
            seen = Counter(crowd(running, pool_id, wanted))
            row.scrapes += seen.total()
            row.scrapes_refused += seen.pop("refused", 0)
            row.values_wrong += seen.pop("wrong", 0)
            true = seen.pop("true", 0)
            row.scrapes_failed += seen.total()
            assert true
            began = time.monotonic()
            assert becomes(lambda: running.get("/metrics").status == 200, within=5)
            row.recovered(time.monotonic() - began)
            wait_for_new_sweep(running, pool_id)
        assert_correct(running.scrape(), pool_id, truth)
    row.assert_kept()


def essence(page: Page, pool_id: str) -> dict[str, float]:
    return page.series("cognito_user_pool_devices", "remembered_status", user_pool_id=pool_id)


def crowd(running: Exporter, pool_id: str, wanted: dict[str, float]) -> list[str]:
    """Make concurrent scrapes and return their results."""
    seen: list[str] = []
    start = threading.Barrier(SCRAPERS)

    def scrape() -> None:
        start.wait()
        for _ in range(EACH):
            try:
                answer = get(f"{running.url}/metrics?name[]=cognito_user_pool_devices", timeout=20)
            except (OSError, http.client.HTTPException) as error:
                seen.append(type(error).__name__)
                continue
            if answer.status == 503:
                seen.append("refused")
            else:
                found = essence(Page.parse(answer), pool_id)
                seen.append("true" if answer.status == 200 and found == wanted else "wrong")

    crowd = [threading.Thread(target=scrape, daemon=True) for _ in range(SCRAPERS)]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join(60)
    return seen


def test_slow_loris(emulator: Emulator, tmp_path: Path, row: Row) -> None:
    row.describe(
        "slow loris: 60 and then 150 connections that send single bytes",
        "Below the limit of 100 connections, scrapes are unaffected; above it, they succeed again within 10 s.",
    )
    pool_id = emulator.seed_pool("loris", users=30)
    # No sweep after the first: only threads of connections start and end.
    with serving_program(config(emulator.url, pool_id, refresh_interval="1h"), tmp_path, emulator.url) as running:
        running.after_first_sweep(pool_id)
        before = resting_threads(running.process.pid)
        for random in row.each_round():
            with watching(running, row, {pool_id: emulator.truth(pool_id)}), connected(running, FEW) as sockets:
                drip(sockets, random, 3.0)
            with connected(running, MANY) as sockets:
                dripping = threading.Thread(target=drip, args=(sockets, random, 8.0), daemon=True)
                dripping.start()
                began = time.monotonic()
                assert becomes(lambda: answers(running), within=10)
                row.recovered(time.monotonic() - began)
                dripping.join()
            assert becomes(lambda: threads(running.process.pid) <= before + 2)
        assert_correct(running.scrape(), pool_id, emulator.truth(pool_id))
    row.assert_kept()


def drip(sockets: list[socket.socket], random: Random, seconds: float) -> None:
    """Send requests byte by byte on every open connection."""
    request = b"GET /metrics HTTP/1.1\r\nHost: here\r\nX-Slow: " + b"a" * 1000
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    for number in range(len(request)):
        for sock in random.sample(sockets, len(sockets)):
            with contextlib.suppress(OSError):
                sock.send(request[number : number + 1])
        if time.monotonic() > deadline:
            return
        pause.wait(0.2)


def answers(running: Exporter) -> bool:
    try:
        return running.get("/metrics").status == 200
    except (OSError, http.client.HTTPException):
        return False


UNREAD = 50
USERS_UNREAD = 3000
"""Users of a page of almost 5 MB."""
MEMORY_BOUND = 64 * 2**20
"""Memory added by unread responses: 32 MiB, a page being rendered, and overhead of the allocator."""
GET = b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n"


def memory(pid: int) -> int:
    """Return the resident memory in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_scrapers_that_never_read(emulator: Emulator, tmp_path: Path, row: Row) -> None:
    row.describe(
        f"{UNREAD} scrapers that never read the response",
        "Memory grows by no more than 64 MiB. Other scrapes get a response, for a second possibly 503 with Retry-After;"
        " the connections are closed within 150 s.",
    )
    pool_id = emulator.seed_pool("unread", users=USERS_UNREAD)
    # No sweep after the first: only threads of connections start and end.
    text = config(emulator.url, pool_id, refresh_interval="1h", detail="device", identity="raw")
    with serving_program(text, tmp_path, emulator.url) as running:
        running.after_first_sweep(pool_id, within=60)
        page = running.get("/metrics")
        assert len(page.body) > 4_000_000
        wanted, size = essence(Page.parse(page), pool_id), memory(running.process.pid)
        before = resting_threads(running.process.pid)
        for _ in row.each_round():
            with connected(running, UNREAD, 4096) as sockets:
                for sock in sockets:
                    sock.sendall(GET)
                    # In sequence, so that each gets a separate response.
                    assert running.get("/-/healthy").status == 200
                assert becomes(lambda: threads(running.process.pid) >= before + UNREAD - 10)
                assert becomes(lambda: answers(running), within=2)
                for _ in range(20):
                    row.scrapes += 2
                    assert len(running.get("/metrics").body) > 4_000_000
                    part = running.get("/metrics?name[]=cognito_user_pool_devices")
                    row.values_wrong += essence(Page.parse(part), pool_id) != wanted
                    assert memory(running.process.pid) < size + MEMORY_BOUND
                    assert {running.get(path).status for path in ("/-/healthy", "/-/ready")} == {200}
                if LONG:
                    began = time.monotonic()
                    # A response that fits into the kernel's buffer is sent; its connection then counts as idle.
                    assert becomes(lambda: threads(running.process.pid) <= before + 2, within=150)
                    row.recovered(time.monotonic() - began)
    row.assert_kept()
