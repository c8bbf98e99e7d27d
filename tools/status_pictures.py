"""Screenshots of the status page for the documentation: `python -m tools.status_pictures`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tests.acceptance.browser import chromium
from tests.status_scenes import every_state, many_pools, reporter, served

IMAGES = Path(__file__).parents[1] / "docs" / "images"

Scheme = Literal["light", "dark"]


def main() -> None:
    """Write all screenshots."""
    with served(reporter(every_state())) as states, served(reporter(many_pools(200))) as fleet:
        _take("status-light", states, 1120, 1100, "light")
        _take("status-dark", states, 1120, 1100, "dark")
        _take("status-phone", states, 390, 840, "light")
        _take("status-fleet", fleet, 1120, 640, "light")


def _take(name: str, url: str, width: int, height: int, scheme: Scheme) -> None:
    with chromium() as browser:
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
        page.goto(f"{url}/?refresh=off")
        page.screenshot(path=IMAGES / f"{name}.png")


if __name__ == "__main__":
    main()
