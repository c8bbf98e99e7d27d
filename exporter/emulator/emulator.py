"""Emulator for tests and the demo: server, fault injection, request log and access to the actual data."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from moto.core.models import DEFAULT_ACCOUNT_ID

from exporter.clock import Clock, SystemClock
from exporter.emulator.devices import devices_of
from exporter.emulator.errors import OK, ApiError
from exporter.emulator.faults import Faults
from exporter.emulator.listings import status_of
from exporter.emulator.request_log import Request, RequestLog
from exporter.emulator.seed import FEDERATED, DeviceMix, Seeder
from exporter.emulator.server import Server
from exporter.emulator.service import Service
from exporter.emulator.world import Call, World
from exporter.model import Device, Mfa, Tracking

DEFAULT_REGION = "eu-west-1"
ALL_DEVICES = DeviceMix()


@dataclass(frozen=True, slots=True)
class PoolTruth:
    """Users of a pool and their devices at one moment."""

    users: Mapping[str, tuple[Device, ...]] = field(repr=False)
    """All users by name, in order of creation; devices in order of confirmation."""
    federated: frozenset[str] = field(repr=False)

    @property
    def devices(self) -> tuple[Device, ...]:
        """All devices of the pool."""
        return tuple(device for devices in self.users.values() for device in devices)


class Emulator:
    """Cognito on a loopback port, in threads of this process.

    ```python
    with Emulator() as emulator:
        pool_id = emulator.seed_pool("shop", users=1000)
        client = boto3.client("cognito-idp", "eu-west-1", endpoint_url=emulator.url, ...)
    ```

    Any credentials are accepted. An access key id of twelve digits selects the account with that id, credentials from
    STS AssumeRole select the role's account, and all others select moto's default account. Raises `ValueError` for a
    host that is not loopback.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        clock: Clock | None = None,
        seed: int = 0,
        keep_requests: int = 200_000,
    ) -> None:
        self.faults = Faults()
        self._clock = SystemClock() if clock is None else clock
        self._world = World()
        self._log = RequestLog(keep_requests)
        self._service = Service(self._world, self.faults, self._log, self._clock, seed)
        self._server = Server(self._service, host, port)

    @property
    def url(self) -> str:
        """Endpoint URL of Cognito and STS."""
        return self._server.url

    def start(self) -> None:
        """Start the server."""
        self._server.start()

    def close(self) -> None:
        """Stop the server, close all connections and delete the pools that were created here."""
        self._service.close()
        self._server.close()
        with self._service.lock:
            self._world.delete_pools(self._service.operations.created)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def seed_pool(  # noqa: PLR0913 -- a caller passes few of them
        self,
        name: str,
        region: str = DEFAULT_REGION,
        *,
        account_id: str = DEFAULT_ACCOUNT_ID,
        users: int | Sequence[str] = 100,
        tracking: Tracking = Tracking.ALWAYS,
        mfa: Mfa = Mfa.OPTIONAL,
        mfa_bypass: bool = True,
        federated_share: float = 0.0,
        devices: DeviceMix = ALL_DEVICES,
        seed: int = 0,
        now: float | None = None,
    ) -> str:
        """Create and fill a pool, and return its id.

        The same arguments give the same pool, including its id. `users` is their number or their names. All users are
        confirmed and have the password `exporter.emulator.seed.SEED_PASSWORD`, except federated users, who have no
        devices. `now` is the wall time in seconds from which ages are computed, by default the current time.
        """
        with self._service.lock:
            pool_id = Seeder(self._world).pool(
                name,
                region,
                self._clock.wall() if now is None else now,
                account_id=account_id,
                users=users,
                tracking=tracking,
                mfa=mfa,
                mfa_bypass=mfa_bypass,
                federated_share=federated_share,
                devices=devices,
                seed=seed,
            )
            self._service.operations.created.add(pool_id)
        return pool_id

    def tag(self, pool_id: str, /, **tags: str) -> None:
        """Replace the tags of a pool.

        Raises `KeyError` if there is no such pool.
        """
        with self._service.lock:
            self._world.pool_by_id(pool_id).extended_config["UserPoolTags"] = dict(tags)

    def trust(self, role_arn: str, external_id: str) -> None:
        """Require this external id to assume a role; by default, any caller can assume a role."""
        with self._service.lock:
            self._service.operations.external_ids[role_arn] = external_id

    def call(
        self,
        operation: str,
        params: dict[str, Any],
        *,
        region: str = DEFAULT_REGION,
        account_id: str = DEFAULT_ACCOUNT_ID,
    ) -> dict[str, Any]:
        """Call a Cognito operation directly: no network, no faults, no entry in the request log.

        Raises `ApiError` for an error response.
        """
        pool_id = params.get("UserPoolId")
        body = json.dumps(params).encode()
        response = self._service.call(Call("cognito-idp", operation, params, account_id, region, pool_id, None, body))
        content: dict[str, Any] = json.loads(response.body or b"{}")
        if response.code != OK:
            raise ApiError(response.code, str(content.get("message", "")), response.status)
        return content

    def requests(self) -> tuple[Request, ...]:
        """Return the completed requests, in order of arrival."""
        return self._log.read()

    def clear_requests(self) -> None:
        """Clear the request log."""
        self._log.clear()

    def truth(self, pool_id: str) -> PoolTruth:
        """Return the current users and devices of a pool.

        Raises `KeyError` if there is no such pool.
        """
        with self._service.lock:
            users = list(self._world.pool_by_id(pool_id).users.values())
            return PoolTruth(
                users={
                    user.username: tuple(record.as_model() for record in devices_of(user).confirmed.values())
                    for user in users
                },
                federated=frozenset(user.username for user in users if status_of(user) == FEDERATED),
            )
