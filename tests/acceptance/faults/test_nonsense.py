"""Invalid responses of Cognito, a different one for each pool, over real HTTP."""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.aws.lean.responses import MAX_TEXT
from tests.acceptance.faults.watch import becomes
from tests.harness import FAST_RETRIES, Log, Page, Program, config, pool, serving, serving_program
from tests.integration.lean_server import Reply, Request, aws

USERS = ("ann", "bob")
SOUND = "eu-west-1_Sound0000"

CALLER = (
    b'<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
    b"<Account>123456789012</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"
)

Answer = Callable[[dict[str, Any]], bytes]


def described(**changed: Any) -> bytes:
    told = {"Name": "pool", "DeviceConfiguration": {}, "EstimatedNumberOfUsers": 2, "MfaConfiguration": "ON", **changed}
    return json.dumps({"UserPool": told}).encode()


def users(*names: str, token: str | None = None) -> bytes:
    return json.dumps({"Users": [{"Username": name} for name in names], "PaginationToken": token}).encode()


def device(**changed: Any) -> dict[str, Any]:
    return {"DeviceKey": "eu-west-1_key", "DeviceLastAuthenticatedDate": 1_700_000_000.0, **changed}


def devices(*found: dict[str, Any], token: str | None = None) -> bytes:
    return json.dumps({"Devices": found, "PaginationToken": token}).encode()


def attribute(name: str, value: str) -> dict[str, Any]:
    return {"DeviceAttributes": [{"Name": name, "Value": value}]}


HUGE = b'{"Devices":[' + b" " * 200_000_000
MANY = b'{"Devices":[' + b"{}," * 1_300_000 + b"{}]}"
DEEP = b'{"Devices":' + b"[" * 100_000
NESTED = b'{"UserPool":[' + b"[]," * 1_300_000 + b"[]]}"

READ: dict[str, Callable[[str], bytes]] = {
    "long values": lambda user: devices(
        device(DeviceKey=user + "k" * 100_000, **attribute("device_name", "ü" * 100_000))
    ),
    "long values that differ at the end": lambda _: devices(
        device(DeviceKey="k" * 100_000 + "1"), device(DeviceKey="k" * 100_000 + "2")
    ),
    "line breaks and quotes": lambda user: devices(
        device(DeviceKey=user + '\n"\\} 1\n# EOF\n', **attribute("device_name", 'a\r\n"b\\\u2028\x00'))
    ),
    "one key twice": lambda _: devices(device(), device(DeviceLastAuthenticatedDate=1_800_000_000.0)),
    "no key twice": lambda _: devices({}, {}),
    "year 1": lambda _: devices(device(DeviceLastAuthenticatedDate=-62_135_596_800)),
    "year 9999": lambda _: devices(device(DeviceLastAuthenticatedDate=253_402_300_799)),
    "negative date": lambda _: devices(device(DeviceLastAuthenticatedDate=-0.5)),
}
"""Unusual but valid responses to AdminListDevices."""

REFUSED: dict[str, bytes] = {
    "200 MB": HUGE,
    "a million devices on a page": MANY,
    "brackets without end": DEEP,
    "a list for a device": b'{"Devices":[[]]}',
    "a number for a key": devices(device(DeviceKey=1)),
    "a list for a date": devices(device(DeviceLastAuthenticatedDate=[1])),
    "a text for a date": devices(device(DeviceLastAuthenticatedDate="yesterday")),
    "NaN": devices(device(DeviceLastAuthenticatedDate=float("nan"))),
    "1e300": devices(device(DeviceLastAuthenticatedDate=1e300)),
    "-1e300": devices(device(DeviceLastAuthenticatedDate=-1e300)),
    "1e400": b'{"Devices":[{"DeviceLastAuthenticatedDate":1e400}]}',
    "invalid UTF-8": b'{"Devices":[{"DeviceKey":"\xff\xfe"}]}',
    "half a surrogate": b'{"Devices":[{"DeviceKey":"\\ud800"}]}',
    "no JSON": b"<html>",
    "nothing": b"",
    "a number for the token": b'{"Devices":[],"PaginationToken":7}',
    "one token for ever": devices(device(), token="again"),
}
"""Invalid responses to AdminListDevices."""

DENIED_POOLS: dict[str, bytes] = {
    "a million lists for a pool": NESTED,
    "no pool": b"{}",
    "a list for a pool": b'{"UserPool":[]}',
    "more users than numbers have digits": b'{"UserPool":{"EstimatedNumberOfUsers":%b}}' % (b"9" * 400),
    "fewer users than none": described(EstimatedNumberOfUsers=-1),
}
"""Invalid responses to DescribeUserPool."""

LISTINGS: dict[str, bytes] = {
    "a user without a name": b'{"Users":[{}]}',
    "a name of 100 kB": users("n" * 100_000),
    "a million users on a page": b'{"Users":[' + b"{}," * 1_300_000 + b"{}]}",
    "one token for ever": users(*USERS, token="again"),
}
"""Invalid responses to ListUsers."""

TABLES: tuple[Iterable[str], ...] = (READ, REFUSED, DENIED_POOLS, LISTINGS)
KINDS = [(kind, name) for kind, table in enumerate(TABLES) for name in table]
POOLS = {f"eu-west-1_Nonsense{number}": case for number, case in enumerate(KINDS)}


class Nonsense:
    """Server with a different response for each pool."""

    def __init__(self) -> None:
        self.answered: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, request: Request) -> Reply:
        operation = request.headers.get("x-amz-target", "").rpartition(".")[2]
        if not operation:
            return Reply(CALLER, headers={"Content-Type": "text/xml"})
        asked = json.loads(request.body)
        pool_id = asked["UserPoolId"]
        kind, name = POOLS.get(pool_id, (-1, ""))
        with self._lock:
            self.answered[pool_id] += 1
        if operation == "DescribeUserPool":
            return Reply(DENIED_POOLS[name] if kind == 2 else described())
        if operation == "ListUsers":
            return Reply(LISTINGS[name] if kind == 3 else users(*USERS))
        if kind == 0:
            return Reply(READ[name](asked["Username"]))
        return Reply(REFUSED[name] if kind == 1 else devices(device()))


def wanted(url: str, *ids: str) -> str:
    pools = [pool(pool_id, detail="device", identity="raw", device_attributes=["device_name"]) for pool_id in ids]
    return config(url, *pools, refresh_interval="1h")


def of_kinds(*kinds: int) -> dict[str, str]:
    """Return the names of the cases by pool."""
    return {pool_id: name for pool_id, (kind, name) in POOLS.items() if kind in kinds}


@pytest.fixture
def nonsense() -> Iterator[tuple[Nonsense, str]]:
    answers = Nonsense()
    with aws(answers) as server:
        yield answers, server.url


NEWEST = {
    "year 1": -62_135_596_800,
    "year 9999": 253_402_300_799,
    "one key twice": 1_800_000_000,
    "negative date": -0.5,
    "no key twice": None,
}


def test_odd_values_are_bounded_and_shown_once(nonsense: tuple[Nonsense, str], tmp_path: Path) -> None:
    cases = of_kinds(0)
    with serving(wanted(nonsense[1], *cases), tmp_path, nonsense[1], retry_policy=FAST_RETRIES) as exporter:
        page = exporter.after_first_sweep(*cases, within=40)
        size = len(exporter.get("/metrics").body)
    assert size < 250_000
    assert labels_in_bounds(page)
    for pool_id, name in cases.items():
        assert (name, page.state(pool_id)) == (name, "ok")
        each = 2 if name in {"no key twice", "long values that differ at the end"} else 1
        series = page.series("cognito_device_info", "user", "device_key", user_pool_id=pool_id)
        counted = page.series("cognito_user_pool_devices", "remembered_status", user_pool_id=pool_id)
        assert (name, len(series), sum(counted.values())) == (name, each * len(USERS), each * len(USERS))
        newest = page.value("cognito_user_pool_newest_device_authentication_timestamp_seconds", user_pool_id=pool_id)
        assert (name, newest) == (name, NEWEST.get(name, 1_700_000_000))


def test_invalid_response_is_a_failure_with_a_reason(nonsense: tuple[Nonsense, str], tmp_path: Path, log: Log) -> None:
    cases = of_kinds(1, 2, 3)
    with serving(wanted(nonsense[1], *cases), tmp_path, nonsense[1], retry_policy=FAST_RETRIES) as exporter:
        page = exporter.after_first_sweep(*cases, within=60)
        assert exporter.get("/-/healthy").status == 200
    for pool_id, name in cases.items():
        assert (name, page.state(pool_id)) == (name, "failing")
        assert (name, page.value("cognito_user_pool_users", user_pool_id=pool_id)) == (name, None)
        failures = page.failures("cognito_exporter_sweep_failures_total", user_pool_id=pool_id)
        assert (name, set(failures)) == (name, {"malformed"})
    assert "Traceback" not in log.text


MEMORY_BYTES = 400 * 1024 * 1024
"""Maximum memory of the program while it receives all of them repeatedly."""


def test_invalid_responses_everywhere_use_bounded_memory(nonsense: tuple[Nonsense, str], tmp_path: Path) -> None:
    answers, url = nonsense
    with serving_program(wanted(url, SOUND, *POOLS), tmp_path, url) as running:
        assert becomes(lambda: all(answers.answered[pool_id] >= 4 for pool_id in POOLS), within=60)
        page = running.scrape()
        assert page.state(SOUND) == "ok"
        assert page.value("cognito_user_pool_users", user_pool_id=SOUND) == len(USERS)
        assert labels_in_bounds(page)
        assert running.get("/-/healthy").status == 200
        assert peak(running) < MEMORY_BYTES
        assert "Traceback" not in running.log_text


def labels_in_bounds(page: Page) -> bool:
    samples = (sample for family in page.families.values() for sample in family.samples)
    return all(len(value) <= MAX_TEXT for sample in samples for value in sample.labels.values())


def peak(running: Program) -> int:
    """Return the peak memory of the process."""
    status = Path(f"/proc/{running.process.pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024
