"""Calls to AWS fail for a while, in Cognito or in the network: effect on scrapes, and time to recover."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import pytest

from exporter.emulator import Emulator, Fault, PoolTruth, Rule
from exporter.emulator.demo import PoolActivity
from exporter.model import Tracking
from tests.acceptance.faults.proxy import NO_FAULT, Network, NetworkFault, Proxy, proxied
from tests.acceptance.faults.rows import LONG, Row
from tests.acceptance.faults.watch import Watch, becomes, wait_for_new_sweep, watching
from tests.harness import FAST_RETRIES, Exporter, Page, config, serving
from tests.truth import assert_correct

USERS = 40
CHANGES = 12
RETRIES = FAST_RETRIES


@dataclass(frozen=True, slots=True)
class FaultCase:
    """Temporary fault."""

    what: str
    rules: tuple[Rule, ...] = ()
    network: Network = NO_FAULT
    total: bool = False
    """True if every call fails, and therefore the pool."""
    most_seconds: float = 10.0
    """Timeout to recover; in twice the time the fault must have occurred."""


PARTIAL = "Sweeps take longer and are correct. No data is lost."
TOTAL = "The last values are kept and the pool is failing; once calls succeed, its sweep continues."

FAULT_CASES = {
    "throttled-30": FaultCase("throttling, 30 % of calls", (Rule(Fault.THROTTLED, share=0.3),)),
    "throttled-100": FaultCase("throttling, all calls", (Rule(Fault.THROTTLED),), total=True),
    "server-error-30": FaultCase("HTTP 500, 30 % of calls", (Rule(Fault.SERVER_ERROR, share=0.3),)),
    "server-error-100": FaultCase("HTTP 500, all calls", (Rule(Fault.SERVER_ERROR),), total=True),
    "malformed-30": FaultCase("truncated body, 30 % of calls", (Rule(Fault.MALFORMED, share=0.3),)),
    "reset-30": FaultCase(
        "connection reset at a random position, 30 % of responses", network=Network(0.3, NetworkFault.RESET)
    ),
    "reset-100": FaultCase("connection reset, all responses", network=Network(1.0, NetworkFault.RESET), total=True),
    "truncation-30": FaultCase(
        "response truncated at a random position, 30 % of responses", network=Network(0.3, NetworkFault.TRUNCATION)
    ),
    "stall-5": FaultCase(
        "response stalls at a random position, 5 % of responses",
        network=Network(0.05, NetworkFault.STALL),
        most_seconds=40.0,
    ),
    "latency": FaultCase("every response delayed by 0.5 s", network=Network(latency=0.5)),
}


SHORT = ("throttled-30", "server-error-100", "reset-100", "truncation-30", "stall-5")
"""Faults in the usual test run; tests/integration covers more of the others."""


@dataclass(frozen=True, slots=True)
class Lab:
    """Exporter that has read a pool through a proxy."""

    emulator: Emulator
    proxy: Proxy
    exporter: Exporter
    pool_id: str

    def truth(self) -> PoolTruth:
        return self.emulator.truth(self.pool_id)

    def failures(self) -> dict[str, float]:
        return failed_calls(self.exporter.scrape())

    def is_true(self) -> bool:
        page = self.exporter.scrape()
        try:
            assert_correct(page, self.pool_id, self.truth())
        except AssertionError:
            return False
        return page.state(self.pool_id) == "ok" and page.value("cognito_user_pool_up", user_pool_id=self.pool_id) == 1


def failed_calls(page: Page) -> dict[str, float]:
    """Count failed requests by reason, over all operations."""
    found: dict[str, float] = {}
    series = page.series("cognito_exporter_aws_request_failures_total", "aws_account_id", "operation", "reason")
    for (_, _, reason), count in series.items():
        found[reason] = found.get(reason, 0) + count
    return {reason: count for reason, count in found.items() if count}


@contextmanager
def lab(emulator: Emulator, directory: Path, name: str, seed: int) -> Iterator[Lab]:
    pool_id = emulator.seed_pool(name, users=USERS, tracking=Tracking.ALWAYS)
    port = urlsplit(emulator.url).port
    assert port is not None
    with proxied(port, seed) as proxy:
        text = config(proxy.url, pool_id, refresh_interval="1s")
        with serving(text, directory, emulator.url, retry_policy=RETRIES) as exporter:
            exporter.after_first_sweep(pool_id)
            yield Lab(emulator, proxy, exporter, pool_id)


def live(emulator: Emulator, pool_id: str, watch: Watch, random: Random) -> None:
    """Change the pool in the background."""
    activity = PoolActivity(emulator, pool_id, random)
    for _ in range(CHANGES):
        with watch.changing(pool_id, lambda: emulator.truth(pool_id)):
            activity.run_random_event()


@pytest.mark.parametrize("name", FAULT_CASES if LONG else SHORT)
def test_failing_calls_lose_no_scrape_and_no_data(emulator: Emulator, tmp_path: Path, row: Row, name: str) -> None:
    trouble = FAULT_CASES[name]
    row.describe(trouble.what, TOTAL if trouble.total else PARTIAL)
    for number, random in enumerate(row.each_round()):
        with (
            lab(emulator, tmp_path, f"{name}-{number}", random.randrange(1 << 30)) as here,
            watching(here.exporter, row, {here.pool_id: here.truth()}) as watch,
        ):
            before = here.failures()
            emulator.faults.rules, here.proxy.network = trouble.rules, trouble.network
            live(emulator, here.pool_id, watch, random)
            assert becomes(
                lambda here=here, before=before: struck(trouble, here, before),  # type: ignore[misc]
                within=2 * trouble.most_seconds,
            )
            emulator.faults.rules, here.proxy.network = (), NO_FAULT
            ended = time.monotonic()
            assert becomes(here.is_true, within=trouble.most_seconds)
            row.recovered(time.monotonic() - ended)
            wait_for_new_sweep(here.exporter, here.pool_id)
            watch.settled(here.pool_id)
            wait_for_new_sweep(here.exporter, here.pool_id)
            for reason, count in here.failures().items():
                row.calls_failed[reason] += int(count - before.get(reason, 0))
    row.assert_kept()


def struck(trouble: FaultCase, here: Lab, before: dict[str, float]) -> bool:
    """Return whether the fault has occurred."""
    if trouble.total:
        return here.exporter.scrape().state(here.pool_id) == "failing"
    if trouble.network.latency:
        return here.is_true()
    wanted = 60 if LONG else 15
    if trouble.network.mischief is NetworkFault.STALL:
        return here.proxy.struck >= (3 if LONG else 1)
    return sum(here.failures().values()) - sum(before.values()) >= wanted
