"""Measurement of many accounts and Regions: time until all pools are contacted, and memory per target."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

from bench.figures import Figure, Row, Target
from bench.lab import Lab
from bench.numbers import samples
from bench.processes_under_test import LoopbackCognito, SweepSettings, pool_id
from bench.scraping import POLL_CLOSELY_SECONDS, value_of, wait_until

ACCOUNTS = 50
REGIONS = ("eu-west-1", "eu-central-1", "us-east-1", "us-west-2")
USERS = 1
"""Users per pool. Other measurements cover the cost of users."""

PLAN = SweepSettings(rate=100, detail="pool", refresh_interval="1h")

MEBIBYTE = 1 << 20


def measure(lab: Lab) -> Iterator[Row]:
    """Measure a pool in each Region of each account, read through a role, then a single pool to compare memory."""
    pools = ACCOUNTS * len(REGIONS)
    with lab.launcher.start_cognito(users=USERS) as loopback:
        many = list(lab.repeat("accounts", lambda: _contacted(lab, loopback, ACCOUNTS, REGIONS)))
        one = lab.measure_undisturbed("one account", lambda: _contacted(lab, loopback, 1, REGIONS[:1]))
    yield Figure(
        f"{ACCOUNTS} accounts × {len(REGIONS)} Regions: from the start until every pool was contacted",
        "s",
        samples([seconds for seconds, _ in many]),
        targets=(Target(10.0),),
    )
    yield Figure(
        "… resident memory for each account and Region, over that of one",
        "KiB",
        samples([(memory - one[1]) * 1024 / (pools - 1) for _, memory in many]),
    )


def _contacted(lab: Lab, loopback: LoopbackCognito, accounts: int, regions: tuple[str, ...]) -> tuple[float, float]:
    """Return the seconds until the exporter is ready, and its MiB after all pools are read."""
    config = _config(lab, loopback, accounts, regions)
    with lab.launcher.start_exporter(loopback, PLAN, config) as exporter, exporter.scraper() as scraper:
        wait_until(
            lambda: scraper.get("/-/ready"),
            alive=exporter.child.require_alive,
            every=POLL_CLOSELY_SECONDS,
        )
        seconds = time.monotonic() - exporter.child.started
        wait_until(
            lambda: (
                value_of(scraper.metrics().page, "cognito_exporter_sweeps_total") >= accounts * len(regions) or None
            ),
            alive=exporter.child.require_alive,
        )
        return seconds, exporter.child.resident_bytes / MEBIBYTE


def _config(lab: Lab, loopback: LoopbackCognito, accounts: int, regions: tuple[str, ...]) -> Path:
    """Write the configuration with a pool for each account and Region."""
    path = lab.launcher.config(loopback.url, PLAN)
    content = json.loads(path.read_text(encoding="utf-8"))
    content["pools"] = [
        {
            "id": pool_id(account).replace("eu-west-1", region),
            "role_arn": f"arn:aws:iam::{200_000_000_000 + account}:role/reader",
            "external_id": "bench",
        }
        for account in range(accounts)
        for region in regions
    ]
    path.write_text(json.dumps(content), encoding="utf-8")
    return path
