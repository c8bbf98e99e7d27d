"""Functions that wait until a process exports all devices."""

from __future__ import annotations

from bench.processes_under_test import ProcessUnderTest
from bench.scraping import Scraper, series, value_of, wait_until


def wait_for_sweep(process: ProcessUnderTest, *, devices: int) -> None:
    """Wait until the first sweep is complete and every device is counted."""

    def swept(scraper: Scraper) -> bool | None:
        scrape = scraper.get("/metrics?name[]=cognito_user_pool_devices")
        return True if scrape and value_of(scrape.page, "cognito_user_pool_devices") >= devices else None

    with process.scraper() as scraper:
        wait_until(lambda: swept(scraper), alive=process.child.require_alive)


def wait_for_devices(process: ProcessUnderTest, *, devices: int) -> None:
    """Wait until every device has a timestamp on the page."""
    name = "cognito_device_last_authentication_timestamp_seconds"

    def shown(scraper: Scraper) -> bool | None:
        scrape = scraper.get(f"/metrics?name[]={name}")
        return True if scrape and series(scrape.page, name) == devices else None

    with process.scraper() as scraper:
        wait_until(lambda: shown(scraper), alive=process.child.require_alive)
