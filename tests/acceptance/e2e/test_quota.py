"""Rate limit as seen by the server, which counts every attempt of a separate exporter process."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from exporter.aws.api import Category
from exporter.emulator import Emulator, Fault, Request, Rule
from tests.harness import ACCOUNT, Exporter, Page, config, serving_program, wait_until
from tests.truth import assert_correct
from tests.windows import most_in_any_window

pytestmark = pytest.mark.alone

QUOTA = 20
TICK, LATE = 0.005, 0.004
"""Seconds. The exporter keeps 13 ms of every second free for late threads and network jitter."""

POOLS = ("one", "two", "three")


def counted(page: Page) -> dict[str, float]:
    """Return the exporter's request counts above 0, by operation."""
    made = page.series("cognito_exporter_aws_requests_total", "operation", aws_account_id=ACCOUNT)
    return {operation: count for operation, count in made.items() if count}


def operations(requests: tuple[Request, ...]) -> dict[str, float]:
    """Return the counts of received requests, by operation."""
    return dict(Counter(request.operation for request in requests))


def device_reads_of(requests: tuple[Request, ...]) -> tuple[Request, ...]:
    return tuple(request for request in requests if request.operation == "AdminListDevices")


def device_reads(emulator: Emulator) -> tuple[Request, ...]:
    return device_reads_of(emulator.requests())


def swept(exporter: Exporter, pool_ids: list[str]) -> bool:
    return all(exporter.sweeps(pool_id) >= 1 for pool_id in pool_ids)


def current_rate(page: Page) -> float | None:
    return page.value(
        "cognito_exporter_rate_limit_current_requests_per_second",
        aws_account_id=ACCOUNT,
        aws_region="eu-west-1",
        category="UserResourceRead",
    )


class WakeupDelay:
    """Measures how late this machine wakes up threads: the server may record requests as late."""

    def __init__(self) -> None:
        self.worst = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _tick(self) -> None:
        due = time.monotonic() + TICK
        while not self._stop.wait(max(0.0, due - time.monotonic())):
            now = time.monotonic()
            self.worst = max(self.worst, now - due)
            due = now + TICK


@dataclass(frozen=True, slots=True)
class Measurement:
    """One sweep of three pools at the quota, as seen by the server."""

    pool_ids: list[str]
    requests: tuple[Request, ...]
    page: Page
    blurred: bool
    """True if the machine was too busy to measure the spacing of requests."""


def measured(emulator: Emulator, directory: Path) -> Measurement:
    pool_ids = [emulator.seed_pool(name, users=60) for name in POOLS]
    text = config(emulator.url, *pool_ids, refresh_interval="15s", rate={"UserResourceRead": QUOTA})
    with serving_program(text, directory, emulator.url) as exporter, WakeupDelay() as metronome:
        # No scrapes here: they would delay the emulator, which runs in this process.
        assert wait_until(lambda: len(device_reads(emulator)) == 180, within=40)
        worst = metronome.worst
        assert wait_until(lambda: swept(exporter, pool_ids))
        return Measurement(pool_ids, emulator.requests(), exporter.scrape(), blurred=worst > LATE)


def test_quota_is_used_fully_and_fairly_and_not_exceeded(emulator: Emulator, tmp_path: Path) -> None:
    emulator.faults.quotas = {Category.USER_RESOURCE_READ: QUOTA}
    found = measured(emulator, tmp_path)
    for _ in range(2):
        if found.blurred and not (kept_quota(found) and steady_rate(found) >= 0.95 * QUOTA):
            emulator.clear_requests()
            found = measured(emulator, tmp_path)
    assert {request.code for request in found.requests} == {"OK"}
    assert kept_quota(found)
    assert 0.95 * QUOTA <= steady_rate(found) <= QUOTA
    shares = Counter(request.pool_id for request in while_all_sweep(found))
    assert max(shares.values()) <= 1.1 * min(shares.values())
    assert counted(found.page) == operations(found.requests)
    for pool_id in found.pool_ids:
        assert_correct(found.page, pool_id, emulator.truth(pool_id))


def kept_quota(found: Measurement) -> bool:
    return most_in_any_window(read.arrived for read in device_reads_of(found.requests)) <= QUOTA


def while_all_sweep(found: Measurement) -> list[Request]:
    """Return the reads while all pools were being swept."""
    reads = device_reads_of(found.requests)
    moments = {pool_id: [read.arrived for read in reads if read.pool_id == pool_id] for pool_id in found.pool_ids}
    begin = max(min(of_pool) for of_pool in moments.values())
    end = min(max(of_pool) for of_pool in moments.values())
    return [read for read in reads if begin <= read.arrived <= end]


def steady_rate(found: Measurement) -> float:
    """Return the reads per second while all pools were being swept."""
    steady = while_all_sweep(found)
    return (len(steady) - 1) / (steady[-1].arrived - steady[0].arrived)


def test_throttled_sweep_completes_and_the_rate_recovers(emulator: Emulator, tmp_path: Path) -> None:
    emulator.faults.rules = (Rule(Fault.THROTTLED, share=0.3),)
    pool_ids = [emulator.seed_pool(name, users=30) for name in POOLS]
    text = config(emulator.url, *pool_ids, refresh_interval="300s", rate={category.value: 200 for category in Category})
    with serving_program(text, tmp_path, emulator.url) as exporter:
        assert wait_until(lambda: swept(exporter, pool_ids), within=60)
        page = exporter.scrape()
        assert (current_rate(page) or 0) < 200
        emulator.faults.rules = ()
        assert wait_until(lambda: current_rate(exporter.scrape()) == 200, within=40)
        page = exporter.scrape()
    throttled = Counter(request.operation for request in emulator.requests() if request.code != "OK")
    failures = page.series("cognito_exporter_aws_request_failures_total", "operation", reason="throttled")
    assert {operation: count for operation, count in failures.items() if count} == throttled
    assert throttled.total() > 20
    assert counted(page) == operations(emulator.requests())
    for pool_id in pool_ids:
        assert page.state(pool_id) == "ok"
        assert page.failures("cognito_exporter_user_read_failures_total", user_pool_id=pool_id) == {}
        assert_correct(page, pool_id, emulator.truth(pool_id))
