"""Soak run: a scrape every second, a measurement every five, a comparison with the emulator every ten."""

from __future__ import annotations

import http.client
import signal
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

from tests.acceptance.faults.watch import assert_sound
from tests.acceptance.soak.findings import SoakResults
from tests.acceptance.soak.process import read
from tests.acceptance.soak.world import World, world
from tests.harness import CLASSIC, HttpResponse, Page, Program, config, pool, serving_program
from tests.truth import assert_correct, counts

SCRAPE_SECONDS, READ_SECONDS, COMPARE_SECONDS = 1.0, 5.0, 10.0

LAST_SWEEP_INTERVALS = 4
"""Maximum length of the calm at the end, in sweep intervals."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Durations and intervals in seconds."""

    duration: float
    sweep_every: float = 60.0
    reload_every: float | None = None
    seed: int = 1
    users: int = 300
    """Users of the pool with detail `device`; the other pool has two thirds of that."""

    @property
    def warm_up(self) -> float:
        """Time in which caches fill and pools are read for the first time."""
        return min(max(5 * self.sweep_every, self.duration / 10), self.duration / 2)


def soak(plan: Plan, directory: Path, found: SoakResults, say: Callable[[str], None]) -> None:
    """Run; results are added to `found` immediately, so that an interrupted run has results."""
    with world(plan.seed, plan.users) as here:
        text = config(
            here.url,
            pool(here.pool_ids[0], detail="device"),
            here.pool_ids[1],
            rate={"UserResourceRead": 30, "UserList": 5},
            refresh_interval=f"{plan.sweep_every:.0f}s",
            state="state.db",
        )
        with serving_program(text, directory, here.emulator_url) as running:
            running.after_first_sweep(*here.pool_ids, within=120)
            with closing(_Run(plan, here, running, found, say)) as run:
                here.start()
                run.until(plan.duration)
                here.calm()
                run.end()


class _Run:
    """A soak in progress."""

    def __init__(
        self, plan: Plan, here: World, running: Program, found: SoakResults, say: Callable[[str], None]
    ) -> None:
        self._plan = plan
        self._world = here
        self._program = running
        self._found = found
        self._say = say
        self._began = time.monotonic()
        parts = urlsplit(running.url)
        self._connection = http.client.HTTPConnection(parts.netloc, timeout=10)
        self._pause = Event()

    def until(self, seconds: float) -> None:
        """Scrape and measure for this many seconds."""
        due = {self._look: 0.0, self._compare: 0.0, self._tell: 0.0}
        every = {self._look: READ_SECONDS, self._compare: COMPARE_SECONDS, self._tell: 60.0}
        if self._plan.reload_every is not None:
            due[self._reload] = every[self._reload] = self._plan.reload_every
        tick = 0
        while (now := self._now()) < seconds:
            self._scrape()
            for act, moment in due.items():
                if now >= moment:
                    act()
                    due[act] = moment + every[act]
            tick += 1
            self._pause.wait(max(0.0, tick * SCRAPE_SECONDS - self._now()))

    def close(self) -> None:
        """Stop scraping."""
        self._connection.close()

    def end(self) -> None:
        """Compare with the emulator after a sweep that began in the calm."""
        wanted = {pool_id: self._program.sweeps(pool_id) + 2 for pool_id in self._world.pool_ids}
        deadline = self._now() + LAST_SWEEP_INTERVALS * self._plan.sweep_every + 60
        while any(self._program.sweeps(pool_id) < count for pool_id, count in wanted.items()):
            if self._now() > deadline:
                self._found.drift = ["no sweep ended in the calm"]
                return
            self._pause.wait(1.0)
        page = self._program.scrape()
        self._found.drift = []
        for pool_id in self._world.pool_ids:
            try:
                assert_correct(page, pool_id, self._world.truth(pool_id))
            except AssertionError as error:
                self._found.drift.append(f"{pool_id}: {error}")

    def _now(self) -> float:
        return time.monotonic() - self._began

    def _scrape(self) -> HttpResponse | None:
        scrapes = self._found.scrapes
        scrapes.asked += 1
        began = time.monotonic()
        try:
            self._connection.request("GET", "/metrics", headers={"Accept": CLASSIC})
            response = self._connection.getresponse()
            answer = HttpResponse(response.status, response.getheader("Content-Type", ""), response.read())
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            scrapes.failures.append(f"{self._now():.0f} s: {error!r}")
            return None
        if answer.status != http.client.OK:
            scrapes.failures.append(f"{self._now():.0f} s: status {answer.status}")
            return None
        scrapes.answered += 1
        scrapes.slowest_seconds = max(scrapes.slowest_seconds, time.monotonic() - began)
        return answer

    def _look(self) -> None:
        self._found.readings.append(read(self._program.process.pid, self._now()))

    def _compare(self) -> None:
        answer = self._scrape()
        if answer is None:
            return
        page = Page.parse(answer)
        for pool_id in self._world.pool_ids:
            try:
                assert_sound(page, pool_id)
            except AssertionError as error:
                self._found.scrapes.unsound.append(str(error))
            shown = page.series("cognito_user_pool_devices", "remembered_status", user_pool_id=pool_id)
            lag = abs(sum(counts(self._world.truth(pool_id)).values()) - sum(shown.values()))
            self._found.largest_lag = max(self._found.largest_lag, int(lag))
        self._note(page)

    def _note(self, page: Page) -> None:
        found = self._found
        found.events = self._world.events
        found.sweeps = int(sum(page.series("cognito_exporter_sweeps_total", "user_pool_id").values()))
        found.calls = int(
            sum(page.series("cognito_exporter_aws_requests_total", "aws_account_id", "operation").values())
        )
        found.sweep_failures = _by_reason(page, "cognito_exporter_sweep_failures_total", "user_pool_id", "reason")
        found.call_failures = _by_reason(
            page, "cognito_exporter_aws_request_failures_total", "aws_account_id", "operation", "reason"
        )

    def _tell(self) -> None:
        found = self._found
        memory = found.readings[-1].rss / 2**20 if found.readings else 0
        self._say(
            f"{self._now():.0f} s: {found.scrapes.answered}/{found.scrapes.asked} scrapes, {found.sweeps} sweeps,"
            f" {memory:.1f} MiB, {found.readings[-1].threads} threads, {found.readings[-1].descriptors} descriptors"
        )

    def _reload(self) -> None:
        self._program.process.send_signal(signal.SIGHUP)
        self._found.reloads += 1


def _by_reason(page: Page, name: str, *labels: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for key, count in page.series(name, *labels).items():
        if count:
            found[key[-1]] = found.get(key[-1], 0) + count
    return found
