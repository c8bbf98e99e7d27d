"""Background scrapes, each compared with the emulator."""

from __future__ import annotations

import http.client
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from threading import Event, Lock, Thread
from typing import Self

from exporter.emulator import PoolTruth
from tests.acceptance.faults.rows import Row
from tests.fakes import eventually
from tests.harness import Exporter, HttpResponse, Page
from tests.truth import assert_correct, counts

EVERY_SECONDS = 0.25


def becomes(condition: Callable[[], bool], *, within: float = 20.0) -> bool:
    """Return whether a condition that costs a scrape becomes true in time; polls rarely to save CPU."""
    return eventually(condition, within=within, interval=EVERY_SECONDS)


def wait_for_new_sweep(exporter: Exporter, pool_id: str, *, within: float = 20.0) -> None:
    """Wait for a sweep that starts now or later."""
    wanted = exporter.sweeps(pool_id) + 2
    assert becomes(lambda: exporter.sweeps(pool_id) >= wanted, within=within), "no sweep ended in time"


class Watch:
    """Scrapes an exporter in a thread, and records the results in the row.

    Every page is compared with the announced truths of each pool. With one truth, a page must match it
    exactly. While a pool changes, each user must match one of its truths.
    """

    def __init__(self, row: Row, truths: Mapping[str, PoolTruth], *, known: bool = True) -> None:
        """`known`: the pools have been read, so a page without their values has lost data."""
        self._row = row
        self._truths = {pool_id: [truth] for pool_id, truth in truths.items()}
        self._known = known
        self._lock = Lock()

    @contextmanager
    def over(self, exporter: Exporter) -> Iterator[Self]:
        """Watch an exporter within the context; another may follow."""
        stopped = Event()
        thread = Thread(target=self._run, args=(exporter, stopped), name="watch", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            stopped.set()
            thread.join()

    @contextmanager
    def changing(self, pool_id: str, truth: Callable[[], PoolTruth]) -> Iterator[None]:
        """The pool changes within the context; its old state is still accepted afterwards."""
        with self._lock:
            yield
            self._truths[pool_id].append(truth())

    def forget(self, pool_id: str) -> None:
        """Expect nothing about the pool from now on."""
        with self._lock:
            del self._truths[pool_id]

    def settled(self, pool_id: str) -> None:
        """Accept only the latest truth from now on."""
        with self._lock:
            del self._truths[pool_id][:-1]

    def _run(self, exporter: Exporter, stopped: Event) -> None:
        while not stopped.wait(EVERY_SECONDS):
            self._row.scrapes += 1
            try:
                with self._lock:
                    self._judge(exporter.get("/metrics"))
            except (OSError, http.client.HTTPException, ValueError) as error:
                self._row.scrapes_failed += 1
                self._row.wrong.append(f"a scrape failed: {error!r}")

    def _judge(self, answer: HttpResponse) -> None:
        if answer.status != http.client.OK:
            raise ValueError(f"status {answer.status}")
        page = Page.parse(answer)
        for pool_id, truths in self._truths.items():
            if page.value("cognito_user_pool_users", user_pool_id=pool_id) is None:
                if self._known:
                    self._row.data_lost += 1
                    self._row.wrong.append(f"{pool_id}: no data in state {page.state(pool_id)}")
                continue
            try:
                assert_sound(page, pool_id)
                if len(truths) == 1:
                    assert_correct(page, pool_id, truths[0])
                else:
                    assert_between(page, pool_id, truths)
            except AssertionError as error:
                self._row.values_wrong += 1
                self._row.wrong.append(f"{pool_id}: {error}")


def assert_sound(page: Page, pool_id: str) -> None:
    """Assert that the related sums agree."""
    devices = sum(page.series("cognito_user_pool_devices", "remembered_status", user_pool_id=pool_id).values())
    sources = page.series("cognito_user_pool_devices_by_date_source", "date_source", user_pool_id=pool_id)
    name = "cognito_user_pool_device_last_authentication_age_seconds_gcount"
    dated = page.value(name, user_pool_id=pool_id) or 0
    assert devices == sum(sources.values()) == dated + sources["none"], "the sums do not agree"


def assert_between(page: Page, pool_id: str, truths: list[PoolTruth]) -> None:
    """Assert that each sum is between its minimum and maximum over all truths."""
    names = {name for truth in truths for name in truth.users}
    found = page.series("cognito_user_pool_devices", "remembered_status", user_pool_id=pool_id)
    least: Counter[str] = Counter()
    most: Counter[str] = Counter()
    for name in names:
        versions = [counts(PoolTruth({name: truth.users.get(name, ())}, frozenset())) for truth in truths]
        for status in found:
            least[status] += int(min(version[status] for version in versions))
            most[status] += int(max(version[status] for version in versions))
    for status, value in found.items():
        assert least[status] <= value <= most[status], f"{status}: {value}, of {least[status]} to {most[status]}"
    always = sum(all(name in truth.users for truth in truths) for name in names)
    users = page.value("cognito_user_pool_users", user_pool_id=pool_id) or 0
    assert always <= users <= len(names), f"{users} users, of {always} to {len(names)}"


def watching(
    exporter: Exporter, row: Row, truths: Mapping[str, PoolTruth], *, known: bool = True
) -> AbstractContextManager[Watch]:
    """Watch one exporter within the context."""
    return Watch(row, truths, known=known).over(exporter)
