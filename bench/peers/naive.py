"""Naive peer: an exporter as one would write it in an afternoon with boto3 and prometheus_client.

A thread pool requests the devices of every user, a lock and a sleep limit the rate, gauges with labels hold the
results, and prometheus_client serves them. It exports the same device series as the exporter with `detail: device`,
and sums over the pool.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from hashlib import md5
from typing import Any

import boto3
from botocore.config import Config
from prometheus_client import Gauge, start_http_server

LABELS = ["user_pool_id", "user", "device_key"]
STALE_AFTER_DAYS = (30, 60, 90)

DEVICES = Gauge("cognito_user_pool_devices", "Devices of the pool.", ["user_pool_id"])
STALE = Gauge("cognito_user_pool_stale_devices", "Devices idle for longer.", ["user_pool_id", "threshold"])
USER_DEVICES = Gauge("cognito_user_devices", "Devices of the user.", ["user_pool_id", "user"])
LAST_AUTHENTICATION = Gauge(
    "cognito_device_last_authentication_timestamp_seconds", "When the device last authenticated.", LABELS
)
AGE = Gauge("cognito_device_last_authentication_age_seconds", "How long ago the device last authenticated.", LABELS)
CREATED = Gauge("cognito_device_created_timestamp_seconds", "When the device was created.", LABELS)
MODIFIED = Gauge("cognito_device_last_modified_timestamp_seconds", "When the device was last modified.", LABELS)
INFO = Gauge("cognito_device_info", "Always 1.", [*LABELS, "remembered_status", "status"])


class Limiter:
    """One request per 1/rate seconds."""

    def __init__(self, rate: float) -> None:
        self._interval = 1 / rate
        self._lock = threading.Lock()
        self._next = 0.0

    def wait(self) -> None:
        """Sleep until the request may be sent."""
        with self._lock:
            now = time.monotonic()
            slot = max(self._next, now)
            self._next = slot + self._interval
        time.sleep(slot - now)


def show_user(pool_id: str, user: str, devices: Sequence[Mapping[str, Any]], *, every_series: bool) -> None:
    """Set the gauges of one user's devices."""
    now = datetime.now(UTC)
    for device in devices:
        labels = (pool_id, user, device["DeviceKey"])
        last = device["DeviceLastAuthenticatedDate"]
        LAST_AUTHENTICATION.labels(*labels).set(last.timestamp())
        AGE.labels(*labels).set((now - last).total_seconds())
        if every_series:
            attributes = {entry["Name"]: entry["Value"] for entry in device["DeviceAttributes"]}
            CREATED.labels(*labels).set(device["DeviceCreateDate"].timestamp())
            MODIFIED.labels(*labels).set(device["DeviceLastModifiedDate"].timestamp())
            INFO.labels(*labels, attributes["dev:device_remembered_status"], attributes["device_status"]).set(1)
    if every_series:
        USER_DEVICES.labels(pool_id, user).set(len(devices))


def show_pool(pool_id: str, last_authentications: list[datetime]) -> None:
    """Set the gauges of the pool."""
    now = datetime.now(UTC)
    ages = [(now - last).total_seconds() for last in last_authentications]
    DEVICES.labels(pool_id).set(len(ages))
    for days in STALE_AFTER_DAYS:
        STALE.labels(pool_id, f"{days}d").set(sum(age > days * 86400 for age in ages))


class Sweeper:
    """Reads all users of a pool."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._threads = arguments.threads
        self._every_series = arguments.every_series
        self._limiter = Limiter(arguments.rate)
        config = Config(max_pool_connections=arguments.threads, retries={"mode": "standard"})
        self._client = boto3.client(
            "cognito-idp", region_name="eu-west-1", endpoint_url=arguments.endpoint_url, config=config
        )

    def sweep(self, pool_id: str) -> None:
        """Request the devices of each user while the pages of users arrive."""
        pages = self._client.get_paginator("list_users").paginate(UserPoolId=pool_id, PaginationConfig={"PageSize": 60})
        users = (user["Username"] for page in pages for user in page["Users"])
        with ThreadPoolExecutor(self._threads) as threads:
            found = list(threads.map(lambda user: self._read(pool_id, user), users))
        show_pool(pool_id, [last for of_user in found for last in of_user])

    def _read(self, pool_id: str, user: str) -> list[datetime]:
        self._limiter.wait()
        devices = self._client.admin_list_devices(UserPoolId=pool_id, Username=user, Limit=60)["Devices"]
        show_user(pool_id, user, devices, every_series=self._every_series)
        return [device["DeviceLastAuthenticatedDate"] for device in devices]


def show_fake_users(users: int) -> None:
    """Set the gauges of generated users with two devices each, to measure scrapes only."""
    for number in range(users):
        digits = md5(b"%d" % number, usedforsecurity=False).hexdigest()
        devices = [
            {
                "DeviceKey": f"eu-west-1_{digits}-{place}",
                "DeviceLastAuthenticatedDate": datetime.fromtimestamp(1_700_000_000 + number * 100, UTC),
            }
            for place in range(2)
        ]
        show_user("eu-west-1_Bench0000", digits[::-1], devices, every_series=False)


def main() -> None:
    """Serve, and sweep forever."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--endpoint-url")
    parser.add_argument("--pool", action="append", default=[])
    parser.add_argument("--rate", type=float, default=10)
    parser.add_argument("--threads", type=int, default=32)
    parser.add_argument("--interval", type=float, default=0, help="seconds between two sweeps")
    parser.add_argument("--every-series", action="store_true")
    parser.add_argument("--fake-users", type=int)
    arguments = parser.parse_args()
    if arguments.fake_users is not None:
        show_fake_users(arguments.fake_users)
    start_http_server(arguments.port, addr="127.0.0.1")
    sweeper = Sweeper(arguments) if arguments.pool else None
    while True:
        if sweeper is not None:
            for pool_id in arguments.pool:
                sweeper.sweep(pool_id)
        time.sleep(arguments.interval if sweeper else 60)


if __name__ == "__main__":
    main()
