"""Command that fills a store with many users and measures its memory and the CPU of its sums.

`python -m bench.million CONFIG USERS` adds users with two devices each, writes the state file like a sweep, and prints
one line of JSON.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.fake_cognito import FakeCognito, fake_devices
from exporter.clock import SystemClock
from exporter.collect.identities import make_identity
from exporter.collect.persistence.recovery import Persistence
from exporter.collect.persistence.writer import FLUSH_SECONDS
from exporter.collect.snapshot import PoolView
from exporter.collect.store.pool_store import PoolStore
from exporter.config.load import load_settings
from exporter.logging_setup import LogFormat, LogLevel, configure_logging
from exporter.metrics.pool_specs import POOL_METRICS

REPETITIONS = 5

SCRAPES = 200
"""Scrapes per repetition, so that the measured time is some milliseconds."""

AGE_BOUNDS = (3600, *(86_400 * days for days in (1, 7, 14, 30, 60, 90, 180, 365)))
STALE_AFTER = (86_400 * 30, 86_400 * 60, 86_400 * 90)


class _NoFailures:
    """Observer that fails on state errors, because the benchmark's disk is expected to work."""

    def state_failed(self) -> None:
        """Raise an error, whose traceback the benchmark shows."""
        raise RuntimeError("state file error")


def main() -> None:
    """Fill the store, measure, and print the result."""
    configure_logging(LogLevel.WARN, LogFormat.LOGFMT, sys.stderr)
    settings = load_settings(Path(sys.argv[1]))
    users = int(sys.argv[2])
    pool = settings.pools[0]
    clock = SystemClock()
    identity = make_identity(pool, settings.state_path)
    persistence = Persistence(settings.state_path, _NoFailures(), clock)
    store = PoolStore(pool, identity, clock, persistence.writer(pool, identity))
    persistence.start()
    store.put(identity.of(pool.id, "first"), fake_devices(0))  # creates everything that is created once
    before = _resident_bytes()
    store.sweep_started()
    store.described(FakeCognito(users).describe_user_pool(pool.id))
    for number in range(users):
        store.put(identity.of(pool.id, f"{number:032x}"), fake_devices(number))
    store.sweep_completed(every_user_read=True)
    if settings.state_path is not None:
        wait_until_written(settings.state_path)
    persistence.stop()
    kept = (_resident_bytes() - before) / (2 * users)
    result = {
        "bytes_per_device": [kept],
        "sums_ms": [_sums_ms(store.view()) for _ in range(REPETITIONS)],
        "naive_sums_ms": [_naive_sums_ms(users)],
    }
    sys.stdout.write(json.dumps(result) + "\n")


def wait_until_written(state: Path, quiet: float = 3 * FLUSH_SECONDS) -> None:
    """Wait until nothing has been written for `quiet` seconds, because a stop does not wait for a long backlog."""
    log = state.with_name(f"{state.name}-wal")
    written, since = 0, time.monotonic()
    while time.monotonic() - since < quiet:
        if (now := log.stat().st_mtime_ns) != written:
            written, since = now, time.monotonic()
        time.sleep(quiet / 10)


def _sums_ms(view: PoolView) -> float:
    """Return the milliseconds for all sums of the pool: counts, thresholds, histograms, oldest and newest."""
    now_ms = int(time.time() * 1000)
    started = time.process_time()
    for scrape in range(SCRAPES):
        for metric in POOL_METRICS:
            for _ in metric.samples(view, now_ms + 15_000 * scrape):
                pass
    return 1000 * (time.process_time() - started) / SCRAPES


def _naive_sums_ms(users: int) -> float:
    """Return the milliseconds for the same sums with a loop over all devices."""
    active = [device.active_ms or 0 for number in range(users) for device in fake_devices(number)]
    now_ms = int(time.time() * 1000)
    started = time.process_time()
    ages = [(now_ms - moment) / 1000 for moment in active]
    _counts(ages, STALE_AFTER)
    _counts(ages, AGE_BOUNDS)
    return 1000 * (time.process_time() - started)


def _counts(ages: Sequence[float], bounds: Sequence[int]) -> list[int]:
    return [sum(age > bound for age in ages) for bound in bounds]


def _resident_bytes() -> int:
    gc.collect()
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
