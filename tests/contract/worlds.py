"""Implementations of `CognitoApi`, each with a world of pools.

The suite runs for each implementation in `IMPLEMENTATIONS` and `OVER_HTTP`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache, partial
from itertools import count
from typing import Protocol

import boto3
from botocore.config import Config

from exporter.aws.api import CognitoApi
from exporter.aws.boto_client import ONE_ATTEMPT
from exporter.aws.lean.client import LeanCognito
from exporter.clock import SystemClock
from exporter.emulator import ANY_OPERATION, DeviceMix, Emulator, Paging
from exporter.emulator.devices import DeviceRecord, devices_of
from exporter.emulator.seed import FEDERATED
from exporter.emulator.world import World as MotoWorld
from exporter.model import Device
from tests.contract.boto_cognito import BotoCognito
from tests.fakes import ACCOUNT, FakeCognito, FakePool

REGION = "eu-west-1"
READ_TIMEOUT = 10.0


class World(Protocol):
    """Pools of a test, and the API that reads them."""

    @property
    def api(self) -> CognitoApi:
        """Implementation under test."""
        ...

    def add(self, pool: FakePool) -> str:
        """Add a pool with users, devices and groups, and return its id."""
        ...

    def cut_pages(self, longest: int, *, blank: bool = False) -> None:
        """Limit the length of pages; `blank` inserts an empty page before each."""
        ...


class FakeWorld:
    """World of the fake."""

    def __init__(self) -> None:
        self.api = FakeCognito()
        self._numbers = count()

    def add(self, pool: FakePool) -> str:
        pool_id = f"{REGION}_Fake{next(self._numbers):05d}"
        self.api.pools[pool_id] = pool
        return pool_id

    def cut_pages(self, longest: int, *, blank: bool = False) -> None:
        self.api.page_size, self.api.blank_pages = longest, blank


class EmulatedWorld:
    """World of the emulator, over HTTP."""

    def __init__(self, emulator: Emulator, api: CognitoApi) -> None:
        self.emulator = emulator
        self.api = api

    def add(self, pool: FakePool) -> str:
        pool_id = self.emulator.seed_pool(
            pool.name,
            REGION,
            account_id=ACCOUNT,
            users=list(pool.users),
            tracking=pool.tracking,
            mfa=pool.mfa,
            mfa_bypass=pool.challenge,
            devices=DeviceMix(per_user={0: 1}),
        )
        users = MotoWorld().pool_by_id(pool_id).users
        for name, devices in pool.users.items():
            devices_of(users[name]).confirmed.update((device.key, _record(device)) for device in devices)
        for name in pool.federated:
            users[name].status = FEDERATED
        self.emulator.tag(pool_id, **pool.tags)
        for group, members in pool.groups.items():
            self._add_group(pool_id, group, members)
        return pool_id

    def cut_pages(self, longest: int, *, blank: bool = False) -> None:
        self.emulator.faults.paging = {ANY_OPERATION: Paging(longest=longest, blank_pages=blank)}

    def _add_group(self, pool_id: str, group: str, members: list[str]) -> None:
        named = {"UserPoolId": pool_id, "GroupName": group}
        self.emulator.call("CreateGroup", named, account_id=ACCOUNT)
        for name in members:
            self.emulator.call("AdminAddUserToGroup", {**named, "Username": name}, account_id=ACCOUNT)


def _record(device: Device) -> DeviceRecord:
    attributes = dict(device.attributes)
    return DeviceRecord(
        device.key,
        created_ms=device.created_ms,
        modified_ms=device.modified_ms,
        authenticated_ms=device.authenticated_ms,
        remembered=device.remembered,
        name=attributes.get("device_name"),
        ip=attributes.get("last_ip_used", "192.0.2.1"),
        status=device.status,
    )


class ApiOver(Protocol):
    """Factory of an implementation that uses Cognito and STS at a URL, with the credentials of `ACCOUNT`."""

    def __call__(self, url: str, *, read_timeout: float = READ_TIMEOUT) -> CognitoApi:
        """Return the implementation; `read_timeout` is in seconds."""
        ...


@cache
def _session() -> boto3.Session:
    return boto3.Session(aws_access_key_id=ACCOUNT, aws_secret_access_key="secret", region_name=REGION)


def boto3_api(url: str, *, read_timeout: float = READ_TIMEOUT) -> CognitoApi:
    """Return the reference implementation over boto3, with parameter validation."""
    config = ONE_ATTEMPT.merge(Config(parameter_validation=True, read_timeout=read_timeout))
    cognito = _session().client("cognito-idp", endpoint_url=url, config=config)
    return BotoCognito(lambda: cognito, lambda: _session().client("sts", endpoint_url=url, config=config))


def lean_api(url: str, *, read_timeout: float = READ_TIMEOUT) -> CognitoApi:
    """Return the lean client."""
    cognito = _session().client(
        "cognito-idp", endpoint_url=url, config=ONE_ATTEMPT.merge(Config(read_timeout=read_timeout))
    )
    account = boto3_api(url, read_timeout=read_timeout)
    credentials = _session().get_credentials()
    assert credentials is not None
    return LeanCognito(cognito, credentials, None, account=account, clock=SystemClock())


@contextmanager
def emulated(make_api: ApiOver) -> Iterator[EmulatedWorld]:
    """Run an emulator for an implementation over HTTP."""
    with Emulator() as emulator:
        yield EmulatedWorld(emulator, make_api(emulator.url))


@contextmanager
def in_memory() -> Iterator[FakeWorld]:
    """Provide the fake."""
    yield FakeWorld()


OVER_HTTP: dict[str, ApiOver] = {
    "boto3": boto3_api,
    "lean": lean_api,
}

IMPLEMENTATIONS: dict[str, Callable[[], AbstractContextManager[World]]] = {
    "fake": in_memory,
    **{name: partial(emulated, make_api) for name, make_api in OVER_HTTP.items()},
}
