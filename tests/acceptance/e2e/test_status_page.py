"""Status page in Chromium, of the whole exporter and of prepared pools."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import jsonschema
import pytest
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped] # ships annotations without saying so
from playwright.sync_api import Browser, Page, expect

from exporter.emulator import Emulator, Fault, Rule
from exporter.model import Tracking
from exporter.status.document import schema
from tests.acceptance.browser import chromium
from tests.fakes import ManualClock
from tests.harness import FAST, FAST_RETRIES, Log, config, serving, wait_until
from tests.status_scenes import NOW, RULES, every_state, many_pools, pool_view, reporter, served
from tests.unit.status.strict_schema import strict

UNKNOWN = "eu-west-1_NoSuchOne"
PHONE, DESKTOP = (360, 740), (1280, 900)

Scheme = Literal["light", "dark"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@contextmanager
def visiting(
    browser: Browser,
    url: str,
    size: tuple[int, int] = DESKTOP,
    scheme: Scheme = "light",
    *,
    script: bool = True,
) -> Iterator[Page]:
    """Open the page in a new window; errors in the browser console fail the test."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, java_script_enabled=script
    )
    try:
        page = context.new_page()
        console_errors: list[str] = []
        page.on("console", lambda message: console_errors.append(message.text))
        page.on("pageerror", lambda error: console_errors.append(str(error)))
        page.goto(url)
        yield page
        assert console_errors == []
    finally:
        context.close()


def state(page: Page, pool_id: str) -> str:
    """Return the state in the row of a pool."""
    return page.locator(f"tr:has([id='{pool_id}'])").locator(".state").inner_text()


def overflows_horizontally(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > window.innerWidth"))


def test_page_shows_states_and_progress_without_scripts(
    browser: Browser, emulator: Emulator, tmp_path: Path, log: Log
) -> None:
    small = emulator.seed_pool("small", users=10)
    large = emulator.seed_pool("large", users=500)
    off = emulator.seed_pool("off", users=10, tracking=Tracking.OFF)
    denied = emulator.seed_pool("denied", users=10)
    failing = emulator.seed_pool("failing", users=10)
    emulator.faults.rules = (
        Rule(Fault.DENIED, "ListUsers", denied),
        Rule(Fault.SERVER_ERROR, "ListUsers", failing),
    )
    pools = (small, large, off, denied, failing, UNKNOWN)
    text = config(emulator.url, *pools, rate={**FAST, "UserResourceRead": 20}, refresh_interval="1h")
    others = (small, off, denied, failing, UNKNOWN)
    with serving(text, tmp_path, emulator.url, retry_policy=FAST_RETRIES) as exporter:
        exporter.after_first_sweep(*others)
        with visiting(browser, f"{exporter.url}/?refresh=5", script=False) as page:
            assert {pool: state(page, pool) for pool in pools} == {
                small: "ok",
                large: "unread",
                off: "tracking off",
                denied: "denied",
                failing: "failing",
                UNKNOWN: "missing",
            }
            expect(page.locator("h1")).to_have_text("3 of 6 pools need attention")
            assert "IAM does not allow" in page.locator(f"tr:has([id='{denied}'])").inner_text()
            assert "server_error" in page.locator(f"tr:has([id='{failing}'])").inner_text()
            bar = page.get_by_role("progressbar", name="Sweep of large")
            before = float(bar.get_attribute("value") or 0)
            assert 0 < before < 1
            expect(bar).not_to_have_attribute("value", str(before), timeout=12_000)
            assert before < float(bar.get_attribute("value") or 0) < 1
            used = page.get_by_role("meter", name="UserResourceRead in use")
            assert float(used.get_attribute("value") or 0) > 0
        document = json.loads(exporter.get("/api/v1/status").body)
    jsonschema.Draft202012Validator(strict(schema())).validate(document)
    by_id = {pool["id"]: pool for pool in document["pools"]}
    assert by_id[failing]["last_failure"]["reason"] == "server_error"
    assert by_id[failing]["next_sweep"] is not None
    assert by_id[small]["devices"]["total"] == len(emulator.truth(small).devices)
    assert by_id[large]["users"] is None
    assert 0 < by_id[large]["sweep"]["progress_ratio"] < 1
    assert not log.events("unexpected error in request")


def test_refresh_keeps_query_and_scroll_position(browser: Browser) -> None:
    clock = ManualClock(NOW)
    with (
        served(reporter(many_pools(200), clock)) as url,
        visiting(browser, f"{url}/?state=ok&refresh=5") as page,
    ):
        page.evaluate("scrollTo(0, 1500)")
        rows = page.locator(".pools tbody tr").count()
        clock.advance(7)
        expect(page.locator("header time")).to_have_text("11:06:47 UTC", timeout=12_000)
        assert page.url == f"{url}/?state=ok&refresh=5"
        assert page.locator(".pools tbody tr").count() == rows
        assert wait_until(lambda: page.evaluate("scrollY") == 1500, within=2)


def test_refresh_can_be_turned_off(browser: Browser) -> None:
    with served(reporter(every_state())) as url, visiting(browser, f"{url}/?state=failing") as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "5 s"
        page.get_by_role("link", name="off", exact=True).click()
        assert page.url == f"{url}/?state=failing&refresh=off"
        assert page.locator(".pools tbody tr").count() == 1
        response = page.reload()
        assert response
        assert "refresh" not in response.headers


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_reports_no_violations(browser: Browser, size: tuple[int, int], scheme: Scheme) -> None:
    status = reporter(every_state(), rules=RULES)
    status.self_metrics.identity_exposed(exposed=True)
    with served(status) as url, visiting(browser, f"{url}/", size, scheme) as page:
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert found.response["passes"]


@pytest.mark.parametrize("script", [True, False], ids=["script", "no script"])
def test_color_scheme_follows_the_browser(browser: Browser, *, script: bool) -> None:
    colors = set()
    with served(reporter(every_state())) as url:
        for scheme in ("light", "dark"):
            with visiting(browser, url, scheme=scheme, script=script) as page:
                body = page.locator("body")
                colors.add(body.evaluate("body => getComputedStyle(body).backgroundColor"))
    assert len(colors) == 2


def test_page_on_a_phone_shows_cards_within_the_screen(browser: Browser) -> None:
    unbroken = pool_view("eu-west-1_" + "x" * 45, "n" * 128, last_success=NOW)
    with served(reporter([*every_state(), unbroken, *many_pools(60)], rules=RULES)) as url:
        with visiting(browser, url, PHONE) as page:
            assert not overflows_horizontally(page)
            card = page.locator("tr:has([id='us-east-1_mObileApp'])")
            cells = [cell.bounding_box() for cell in card.locator("td").all()]
            assert len({box["x"] for box in cells if box}) == 1, "cells are stacked"
            assert page.get_by_role("table").count() == 4
            assert card.get_by_role("cell").count() == 6
        with visiting(browser, url, DESKTOP) as page:
            assert not overflows_horizontally(page)
            expect(page.get_by_role("columnheader", name="Last success").first).to_be_visible()


def test_filter_shows_pools_that_need_attention(browser: Browser) -> None:
    views = many_pools(200)
    with served(reporter(views)) as url, visiting(browser, url, script=False) as page:
        assert page.locator(".pools tbody tr").count() == 200
        bad = page.get_by_role("link", name="needs attention")
        expected = int(bad.locator("b").inner_text())
        bad.click()
        assert page.locator(".pools tbody tr").count() == expected < 20
        names = {one.inner_text() for one in page.locator(".pools td .state").all()}
        assert names <= {"missing", "denied", "failing"}


def test_page_loads_no_other_resources(browser: Browser) -> None:
    context = browser.new_context()
    requested: list[str] = []
    try:
        with served(reporter(every_state())) as url:
            page = context.new_page()
            page.on("request", lambda request: requested.append(request.url))
            page.goto(f"{url}/?refresh=off", wait_until="networkidle")
            assert requested == [f"{url}/?refresh=off"]
    finally:
        context.close()
