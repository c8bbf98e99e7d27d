"""Measurement of the CPU of a scrape with many devices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.errors import NotMeasured
from bench.figures import Comparison, Figure, Row, Target
from bench.lab import Lab, cpu_during
from bench.measure.wait import wait_for_devices
from bench.numbers import samples
from bench.processes_under_test import ProcessUnderTest
from bench.scraping import series

USERS = 50_000

TWO = ("cognito_device_last_authentication_timestamp_seconds", "cognito_device_last_authentication_age_seconds")
"""Series of all three programs. `?name[]=` excludes the exporter's others."""

SCRAPES = {"the exporter": 8, "the naive peer": 1, "the Go peer": 3}
"""Scrapes per repetition, more for fast programs, so that the measured time is more than a few milliseconds."""


def measure(lab: Lab) -> Iterator[Row]:
    """Measure the exporter, the naive peer and the Go peer in turns, with the same devices in memory."""
    users = lab.scale.size(USERS)
    with (
        lab.launcher.start_idle_exporter(users) as exporter,
        lab.launcher.start_idle_naive(users) as naive,
        lab.launcher.start_go(users) as go,
    ):
        processes = (exporter, naive, go)
        for process in processes:
            wait_for_devices(process, devices=2 * users)
        for gzipped in (True, False):
            coding = "gzip as requested by Prometheus" if gzipped else "not compressed"
            ours, theirs, gos = _in_turns(lab, processes, devices=2 * users, gzipped=gzipped)
            yield Figure(
                f"a scrape of {2 * users:,} devices with timestamps and ages, {coding}",
                "CPU ms",
                samples(ours),
                samples(theirs),
                samples(gos),
                targets=(Target(15, Comparison.UNDER_NAIVE, stretch=40), Target(4, Comparison.UNDER_GO, stretch=10)),
            )
        _check(exporter, 2 * users, (), gzipped=True)
        whole = [lab.measure_undisturbed("a whole page", lambda: _cost(exporter, (), gzipped=True))]
        yield Figure(
            "… the exporter's whole page: five series per device, two per user, gzip", "CPU ms", samples(whole)
        )


def _in_turns(
    lab: Lab, processes: Sequence[ProcessUnderTest], *, devices: int, gzipped: bool
) -> tuple[list[float], ...]:
    costs: tuple[list[float], ...] = tuple([] for _ in processes)
    for process in processes:
        _check(process, devices, TWO, gzipped=gzipped)
    for _ in range(lab.scale.repetitions):
        for process, of_process in zip(processes, costs, strict=True):
            of_process.append(
                lab.measure_undisturbed("rendering", lambda one=process: _cost(one, TWO, gzipped=gzipped))  # type: ignore[misc] # mypy cannot infer a lambda's default
            )
    return costs


def _cost(process: ProcessUnderTest, names: Sequence[str], *, gzipped: bool) -> float:
    """Return the CPU milliseconds per scrape."""
    scrapes = SCRAPES[process.child.name]
    with process.scraper() as scraper:

        def scrape() -> None:
            for _ in range(scrapes):
                scraper.metrics(names=names, gzipped=gzipped)

        return 1000 * cpu_during(process, scrape) / scrapes


def _check(process: ProcessUnderTest, devices: int, names: Sequence[str], *, gzipped: bool) -> None:
    """Check that a scrape has all devices and the requested coding."""
    with process.scraper() as scraper:
        scrape = scraper.metrics(names=names, gzipped=gzipped)
    if any(series(scrape.page, name) != devices for name in TWO):
        raise NotMeasured(f"the page of {process.child.name} does not show {devices} devices")
    if gzipped != (scrape.wire_bytes < len(scrape.page)):
        raise NotMeasured(f"{process.child.name} did not use the requested coding")
