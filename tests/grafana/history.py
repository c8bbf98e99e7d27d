"""Command that generates days of plausible history for viewing dashboards, using the exporter's exposition.

`python -m tests.grafana.history DIRECTORY` writes Prometheus blocks to DIRECTORY. Start Prometheus with
`--query.lookback-delta=90m`, because samples are sparse. `--pools 200` generates many small pools. Requires promtool.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

from exporter.aws.api import Category, RateLimiterState
from exporter.collect.snapshot import PoolView, SweepProgress
from exporter.config.settings import Detail, Threshold
from exporter.errors import Reason
from exporter.metrics.exposition import Exposition
from exporter.metrics.self_metrics import SelfMetrics
from exporter.model import Device, Mfa, PoolDescription, PoolState, RememberedStatus, Tracking
from exporter.observers import Target
from tests.unit.metrics.builders import OPENMETRICS, FixedClock, data, settings, user

HOUR, DAY = 3600, 86400
ACCOUNT = "123456789012"
TARGET_LABELS = 'instance="cognito-exporter:10617",job="cognito-device-exporter"'
THRESHOLDS = (Threshold(30 * DAY, "30d"), Threshold(60 * DAY, "60d"), Threshold(90 * DAY, "90d"))
RATE = 3.0
"""Rate limit in calls per second."""


@dataclass(frozen=True, slots=True)
class PoolProfile:
    """Properties of a simulated pool."""

    name: str
    users: int
    tracking: Tracking = Tracking.ALWAYS
    mfa: Mfa = Mfa.OPTIONAL
    region: str = "eu-west-1"
    detail: Detail = Detail.POOL
    abandoned: float = 0.3
    """Share of devices that are never used again."""
    leaves_after: float | None = None
    """Days until access to the pool is denied. 0 means that the pool was never described."""
    floods_after: float | None = None
    """Days until a client registers a device at every sign-in."""

    @property
    def pool_id(self) -> str:
        """Pool id in Cognito's format."""
        return f"{self.region}_{hashlib.sha256(self.name.encode()).hexdigest()[:9]}"


DEFAULT_POOLS = (
    PoolProfile("shop-prod", 2900, abandoned=0.42),
    PoolProfile("shop-staging", 260, abandoned=0.75),
    PoolProfile("workforce", 400, Tracking.OPT_IN, Mfa.ON, detail=Detail.DEVICE, abandoned=0.22),
    PoolProfile("partner-portal", 800, region="us-east-1", abandoned=0.5, leaves_after=7.4),
    PoolProfile("mobile-app", 1700, region="us-east-1", detail=Detail.USER, abandoned=0.16, floods_after=6.6),
    PoolProfile("legacy-app", 300, Tracking.OFF, Mfa.OFF),
)


def many_pools(count: int) -> tuple[PoolProfile, ...]:
    """Return `count` small pools, some of them denied."""
    random = Random(count)
    return tuple(
        PoolProfile(
            f"team-{number:03d}",
            random.randint(10, 150),
            random.choice((Tracking.ALWAYS, Tracking.ALWAYS, Tracking.OPT_IN)),
            abandoned=random.betavariate(2, 4),
            leaves_after=0 if number % 67 == 5 else None,
        )
        for number in range(count)
    )


class Pool:
    """Simulated pool whose devices sign in over time."""

    def __init__(self, plan: PoolProfile, start: float) -> None:
        self.plan = plan
        self._start = start
        self._random = Random(plan.name)
        self._users = [f"{hashlib.sha256(f'{plan.name}/{n}'.encode()).hexdigest()[:32]}" for n in range(plan.users)]
        self._devices: dict[str, list[tuple[Device, float]]] = {name: [] for name in self._users}
        for devices in self._devices.values():
            for _ in range(min(12, int(self._random.expovariate(0.75)))):
                self._register(devices, start - self._random.uniform(0, 800 * DAY))
                device, every = devices[-1]
                idle = self._random.uniform(0, 500 * DAY) if math.isinf(every) else self._random.expovariate(1 / every)
                seen = max(device.created_ms or 0, int((start - idle) * 1000))
                devices[-1] = replace(device, authenticated_ms=seen, modified_ms=seen), every

    def live(self, now: float, seconds: float) -> None:
        """Advance by `seconds` to `now`: known devices sign in, and new ones are registered."""
        rhythm = 1 + 0.8 * math.sin((now % DAY) / DAY * 2 * math.pi - 2)
        flood = self.plan.floods_after is not None and now - self._start > self.plan.floods_after * DAY
        for devices in self._devices.values():
            for place, (device, every) in enumerate(devices):
                if self._random.random() < seconds * rhythm / every:
                    moment = int((now - self._random.uniform(0, seconds)) * 1000)
                    devices[place] = replace(device, authenticated_ms=moment), every
            if self._random.random() < seconds * rhythm / ((4 if flood else 90) * DAY):
                self._register(devices, now)
            if len(devices) > 1 and self._random.random() < seconds / (120 * DAY):
                devices.pop(0)

    def _register(self, devices: list[tuple[Device, float]], now: float) -> None:
        """Add a new device with its mean time between sign-ins in seconds."""
        remembers = self.plan.tracking is Tracking.ALWAYS or self._random.random() < 0.7
        status = RememberedStatus.REMEMBERED if remembers else RememberedStatus.NOT_REMEMBERED
        drawn = self._random.randbytes(16).hex()
        key = f"{self.plan.region}_{drawn[:8]}-{drawn[8:12]}-4{drawn[13:16]}-8{drawn[17:20]}-{drawn[20:]}"
        moment = int(now * 1000)
        abandoned = self._random.random() < self.plan.abandoned
        every = math.inf if abandoned else self._random.lognormvariate(math.log(3 * DAY), 1.2)
        devices.append((Device(key, status, "valid", moment, moment, moment), every))

    def view(self, now: float, sweep_begins: float) -> PoolView:
        """Return the exporter's view of the pool. Sweeps start every hour at the given second."""
        plan = self.plan
        days = (now - self._start) / DAY
        denied = plan.leaves_after is not None and days >= plan.leaves_after
        state = (
            PoolState.DENIED if denied else PoolState.TRACKING_OFF if plan.tracking is Tracking.OFF else PoolState.OK
        )
        known = state is PoolState.OK or (denied and bool(plan.leaves_after))
        users = [user(name, *(device for device, _ in self._devices[name])) for name in self._users] if known else []
        takes = plan.users / RATE * 2
        into = (now - sweep_begins) % HOUR
        seen = self._start + (plan.leaves_after or 0) * DAY if denied else now - into
        sweeping = state is PoolState.OK and into < takes
        return PoolView(
            settings=replace(settings(plan.pool_id, plan.detail), refresh_interval=HOUR, stale_after=THRESHOLDS),
            state=state,
            up=not denied,
            description=None if plan.leaves_after == 0 else self._description(),
            data=data(*users) if known else None,
            progress=SweepProgress(int(plan.users * into / takes), plan.users, takes - into) if sweeping else None,
            last_sweep_seconds=takes * self._random.uniform(0.95, 1.05) if known else None,
            last_success=seen - (HOUR - takes if sweeping else 0) if known else None,
            oldest_observation=seen - (HOUR - into if sweeping else 0) if known else None,
        )

    def _description(self) -> PoolDescription:
        plan = self.plan
        bypass = plan.tracking is not Tracking.OFF and plan.mfa is not Mfa.OFF
        estimate = int(plan.users * 1.04)
        return PoolDescription(plan.pool_id, plan.name, ACCOUNT, plan.region, plan.tracking, plan.mfa, bypass, estimate)


class History:
    """Metrics pages of one exporter over some days."""

    def __init__(self, plans: tuple[PoolProfile, ...], start: float, step: float) -> None:
        self._pools = [Pool(plan, start) for plan in plans]
        self._start, self._step = start, step
        self._own = SelfMetrics(version="0.1.0", revision="4f2c1d7")
        self._own.configuration_loaded(successful=True, now=start)
        self._random = Random(0)
        self._targets = [Target(ACCOUNT, region) for region in sorted({plan.region for plan in plans})]
        for plan in plans:
            self._own.pool_added(plan.pool_id)
        for target in self._targets:
            self._own.target_added(target)

    def lines(self, now: float) -> Iterator[str]:
        """Yield the samples at one time."""
        throttled = 6.9 < (now - self._start) / DAY < 7.2
        for pool in self._pools:
            pool.live(now, self._step)
            self._sweep(pool.plan, now, throttled=throttled)
        clock = FixedClock(now)
        rate_limits = [
            RateLimiterState(target, category, rate, rate * (0.4 if throttled else 1.0), quota, provisioned=False)
            for target in self._targets
            for category, rate, quota in ((Category.USER_RESOURCE_READ, RATE, 50.0), (Category.USER_LIST, 5.0, 30.0))
        ]
        self._answer(now)
        for _ in range(8):
            self._own.scrape_finished(self._random.lognormvariate(math.log(0.02), 0.3))
        begins = self._start % HOUR
        page = Exposition(
            lambda: [pool.view(now, begins) for pool in self._pools],
            self._own,
            clock,
            series_limit=lambda: 10_000,
            rate_limits=lambda: rate_limits,
        )
        text = page.page(accept=OPENMETRICS, accept_encoding=None).body.decode()
        kept = [line for line in text.splitlines() if not line.startswith(("#", "process_"))]
        for sample in (*kept, *self._of_process(now, len(kept))):
            yield f"{_with_target_labels(sample)} {now:.0f}"

    def _answer(self, now: float) -> None:
        """Count the responses of one step: a scrape and two probes every 15 s, and temporarily failed logins."""
        scrapes = int(self._step / 15)
        answers = {200: 3 * scrapes, 401: scrapes if 7.3 < (now - self._start) / DAY < 7.6 else 0}
        for code, times in answers.items():
            for _ in range(times):
                self._own.response_sent(code)

    def _sweep(self, plan: PoolProfile, now: float, *, throttled: bool) -> None:
        """Count the requests and sweeps of a pool in one step."""
        if plan.tracking is Tracking.OFF or plan.leaves_after is not None:
            if plan.leaves_after is not None and (now - self._start) / DAY > plan.leaves_after:
                self._own.sweep_finished(plan.pool_id, Reason.DENIED)
            return
        target = Target(ACCOUNT, plan.region)
        for _ in range(int(plan.users * self._step / HOUR * (0.5 if throttled else 1))):
            refused = Reason.THROTTLED if throttled and self._random.random() < 0.1 else None
            seconds = self._random.lognormvariate(math.log(0.045), 0.5)
            self._own.request_finished(target, "AdminListDevices", seconds, refused, attempted=True)
            self._own.rate_limit_waited(target, "UserResourceRead", self._random.expovariate(2))
        for _ in range(int(plan.users * self._step / HOUR / 60) + 1):
            self._own.request_finished(target, "ListUsers", self._random.uniform(0.08, 0.2), None, attempted=True)
        if now % HOUR < self._step:
            self._own.sweep_finished(plan.pool_id, None)

    def _of_process(self, now: float, samples: int) -> Iterator[str]:
        lived = now - self._start
        yield f"process_resident_memory_bytes {92e6 + 4e6 * math.sin(now / 9000):.0f}"
        yield f"process_cpu_seconds_total {lived * 0.04:.2f}"
        yield f"process_start_time_seconds {self._start:.0f}"
        yield "up 1"
        yield f"scrape_samples_scraped {samples}"
        yield f"scrape_duration_seconds {self._random.lognormvariate(math.log(0.03), 0.2):.4f}"


def _with_target_labels(sample: str) -> str:
    """Add the target labels to a sample line."""
    series, _, value = sample.rpartition(" ")
    if series.endswith("}"):
        return f"{series[:-1]},{TARGET_LABELS}}} {value}"
    return f"{series}{{{TARGET_LABELS}}} {value}"


def main() -> None:
    """Write the blocks, one day at a time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--pools", type=int, default=len(DEFAULT_POOLS))
    parser.add_argument("--days", type=int, default=8)
    parser.add_argument("--step", type=float, default=1800, help="seconds between two samples")
    given = parser.parse_args()
    plans = (
        DEFAULT_POOLS
        if given.pools == len(DEFAULT_POOLS)
        else many_pools(given.pools)
        if given.pools > len(DEFAULT_POOLS)
        else DEFAULT_POOLS[2:][: given.pools]
    )
    end = time.time() // 60 * 60
    # The last sample is in the middle of a sweep.
    start = end - given.days * DAY - 600
    history = History(plans, start, given.step)
    moments = [end - given.step * index for index in reversed(range(int(given.days * DAY / given.step)))]
    per_day = int(DAY / given.step)
    for day in range(0, len(moments), per_day):
        with tempfile.NamedTemporaryFile("w", suffix=".om", encoding="utf-8") as out:
            for moment in moments[day : day + per_day]:
                out.writelines(f"{line}\n" for line in history.lines(moment))
            out.write("# EOF\n")
            out.flush()
            command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--quiet", out.name, given.directory]
            subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
