"""Demo world of `demo`: three pools with simulated activity."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from random import Random
from threading import Event, Thread
from types import MappingProxyType, TracebackType
from typing import Any, Self

import yaml

from exporter.aws.api import Category
from exporter.emulator.emulator import DEFAULT_REGION, Emulator
from exporter.emulator.errors import ApiError
from exporter.emulator.seed import SEED_PASSWORD, DeviceMix
from exporter.model import Mfa, Tracking

ACCESS_KEY_ID = "123456789012"
"""Access key id, and account id, of the demo's pools; any secret key is accepted."""

SECONDS_PER_EVENT = 0.4
REQUESTS_KEPT = 1000
QUOTA = 500
"""Quota for reading devices, in requests per second, as of an account with an increased quota."""

RATES = MappingProxyType({"UserResourceRead": "26%", "UserList": 20, "UserPoolRead": 5, "UserPoolResourceRead": 5})
"""Requests per second, or the share of the quota, at which a sweep of all pools takes about 20 seconds."""


@dataclass(frozen=True, slots=True)
class DemoPool:
    """Pool of the demo, and its level of detail in the exporter."""

    name: str
    users: int
    tracking: Tracking
    mfa: Mfa
    detail: str
    federated_share: float = 0.0
    remembered_share: float = 1.0


POOLS = (
    DemoPool("shop-prod", 2400, Tracking.ALWAYS, Mfa.OPTIONAL, "pool", federated_share=0.04),
    DemoPool("workforce", 300, Tracking.OPT_IN, Mfa.ON, "device", remembered_share=0.7),
    DemoPool("legacy-app", 300, Tracking.OFF, Mfa.OFF, "pool"),
)


class DemoWorld:
    """Emulator with three pools; from `start` to `stop`, devices sign in, are added and are removed.

    Use it as a context manager, or call `start` and `stop`. The same seed gives the same initial state.
    """

    def __init__(self, *, port: int = 0, seed: int = 0) -> None:
        self.emulator = Emulator(port=port, seed=seed, keep_requests=REQUESTS_KEPT)
        self.emulator.faults.quotas = {Category.USER_RESOURCE_READ: QUOTA}
        self.pool_ids = {pool.name: _seed(self.emulator, pool, seed) for pool in POOLS}
        self._activities = [
            PoolActivity(self.emulator, self.pool_ids[pool.name], Random(f"{seed}/{pool.name}"))  # noqa: S311 -- no secret
            for pool in POOLS
            if pool.tracking is not Tracking.OFF
        ]
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="demo-world", daemon=True)

    @property
    def url(self) -> str:
        """Endpoint URL of Cognito and STS."""
        return self.emulator.url

    def start(self) -> None:
        """Start the server, then the simulated activity."""
        self.emulator.start()
        self._thread.start()

    def stop(self) -> None:
        """Stop the simulated activity, then the server."""
        self._stopping.set()
        self._thread.join()
        self.emulator.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def settings_yaml(self, key_file: Path) -> str:
        """Return the exporter's configuration for this world; `key_file` holds the key of the user labels."""
        settings = {
            "defaults": {
                "refresh_interval": "1m",
                "endpoint_url": self.emulator.url,
                "identity_key_file": str(key_file),
            },
            "pools": [{"id": self.pool_ids[pool.name], "detail": pool.detail} for pool in POOLS],
            "limits": {"rate": dict(RATES)},
        }
        return yaml.safe_dump(settings, sort_keys=False)

    def _run(self) -> None:
        activities = cycle(self._activities)
        while not self._stopping.wait(SECONDS_PER_EVENT):
            next(activities).run_random_event()


class PoolActivity:
    """Simulated activity of one pool, through the operations that apps and administrators use."""

    def __init__(self, emulator: Emulator, pool_id: str, random: Random) -> None:
        self._emulator = emulator
        self._pool_id = pool_id
        self._random = random
        truth = emulator.truth(pool_id)
        self._names = [name for name in truth.users if name not in truth.federated]
        self._created_users = 0
        client = self._admin("CreateUserPoolClient", ClientName="demo")
        self._client_id = str(client["UserPoolClient"]["ClientId"])

    def run_random_event(self) -> None:
        """Run one random event: mostly a sign-in, sometimes add or remove a device, rarely a user."""
        events: Mapping[Callable[[], None], float] = {
            self.sign_in_known_device: 0.70,
            self.add_device: 0.14,
            self.forget_device: 0.12,
            self.create_user: 0.02,
            self.delete_user: 0.02,
        }
        event = self._random.choices(list(events), list(events.values()))[0]
        try:
            event()
        except ApiError as error:
            # Other clients may change the pool too, for example delete the user between two calls.
            logging.getLogger(__name__).debug("event rejected: %s", error.code)

    def sign_in_known_device(self) -> None:
        """Sign in a random user with a known device."""
        name, key = self._random_device()
        if key is not None:
            self._sign_in(name, DEVICE_KEY=key)

    def add_device(self) -> None:
        """Sign in a random user with a new device; if the pool is opt-in, most users have it remembered."""
        result = self._sign_in(self._random.choice(self._names))
        token, key = result["AccessToken"], result["NewDeviceMetadata"]["DeviceKey"]
        confirmed = self._call("ConfirmDevice", AccessToken=token, DeviceKey=key, DeviceName="Demo browser")
        if confirmed["UserConfirmationNecessary"] and self._random.random() < 0.7:
            self._call("UpdateDeviceStatus", AccessToken=token, DeviceKey=key, DeviceRememberedStatus="remembered")

    def forget_device(self) -> None:
        """Delete a random device as an administrator, with AdminForgetDevice."""
        name, key = self._random_device()
        if key is not None:
            self._admin("AdminForgetDevice", Username=name, DeviceKey=key)

    def create_user(self) -> None:
        """Create a user as an administrator."""
        self._created_users += 1
        name = f"newcomer-{self._created_users:06d}"
        self._admin("AdminCreateUser", Username=name, MessageAction="SUPPRESS")
        self._admin("AdminSetUserPassword", Username=name, Password=SEED_PASSWORD, Permanent=True)
        self._names.append(name)

    def delete_user(self) -> None:
        """Delete a random user, and the user's devices, as an administrator."""
        name = self._names.pop(self._random.randrange(len(self._names)))
        self._admin("AdminDeleteUser", Username=name)

    def _random_device(self) -> tuple[str, str | None]:
        name = self._random.choice(self._names)
        devices = self._admin("AdminListDevices", Username=name)["Devices"]
        return name, self._random.choice(devices)["DeviceKey"] if devices else None

    def _sign_in(self, name: str, **parameters: str) -> dict[str, Any]:
        response = self._admin(
            "AdminInitiateAuth",
            ClientId=self._client_id,
            AuthFlow="ADMIN_USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": name, "PASSWORD": SEED_PASSWORD, **parameters},
        )
        result: dict[str, Any] = response["AuthenticationResult"]
        return result

    def _admin(self, operation: str, **params: Any) -> dict[str, Any]:
        return self._call(operation, UserPoolId=self._pool_id, **params)

    def _call(self, operation: str, **params: Any) -> dict[str, Any]:
        return self._emulator.call(operation, params)


def _seed(emulator: Emulator, pool: DemoPool, seed: int) -> str:
    return emulator.seed_pool(
        pool.name,
        DEFAULT_REGION,
        account_id=ACCESS_KEY_ID,
        users=pool.users,
        tracking=pool.tracking,
        mfa=pool.mfa,
        federated_share=pool.federated_share,
        devices=DeviceMix(remembered_share=pool.remembered_share),
        seed=seed,
    )
