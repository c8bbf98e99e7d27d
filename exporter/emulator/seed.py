"""Seeding of pools with thousands of users and devices of all ages, deterministic for a given seed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from random import Random
from string import ascii_letters, digits
from uuid import UUID

from moto.cognitoidp.models import CognitoIdpUser, CognitoIdpUserPool, UserStatus
from moto.core.models import DEFAULT_ACCOUNT_ID
from moto.core.utils import utcnow

from exporter.emulator.devices import DeviceRecord, device_configuration, devices_of
from exporter.emulator.tracking import device_key
from exporter.emulator.world import World, clear_instances
from exporter.model import Mfa, RememberedStatus, Tracking

SEED_PASSWORD = "Seeded-passw0rd!"  # noqa: S105 -- of generated users only
FEDERATED = "EXTERNAL_PROVIDER"
"""UserStatus of a user who signs in through an external provider."""

MINUTE, DAY = 60.0, 86_400.0

_DEVICE_NAMES = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Firefox/142.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) Mobile/15E148",
    "Mozilla/5.0 (Linux; Android 15; Pixel 9) Chrome/139.0.0.0 Mobile",
)


@dataclass(frozen=True, slots=True)
class AgeGroup:
    """Group of devices with log-normally distributed ages."""

    weight: float
    median_seconds: float
    sigma: float
    """Standard deviation of the logarithm of the age; 0 gives every device the median."""


@dataclass(frozen=True, slots=True)
class AgeDistribution:
    """Distribution of the time since the last authentication: in daily use, rarely used, abandoned."""

    groups: tuple[AgeGroup, ...] = (
        AgeGroup(0.55, 2 * DAY, 1.8),
        AgeGroup(0.30, 45 * DAY, 0.7),
        AgeGroup(0.15, 400 * DAY, 0.8),
    )
    shortest_seconds: float = MINUTE
    longest_seconds: float = 8 * 365 * DAY

    @classmethod
    def constant(cls, seconds: float) -> AgeDistribution:
        """Return a distribution in which all devices have the same age."""
        return cls((AgeGroup(1.0, seconds, 0.0),), seconds, seconds)

    def draw(self, random: Random) -> float:
        """Return a random age in seconds."""
        group = random.choices(self.groups, [group.weight for group in self.groups])[0]
        age = group.median_seconds * random.lognormvariate(0, group.sigma)
        return min(max(age, self.shortest_seconds), self.longest_seconds)


@dataclass(frozen=True, slots=True)
class DeviceMix:
    """Devices of a seeded pool; shares are fractions of the devices."""

    per_user: Mapping[int, float] = field(default_factory=lambda: {0: 0.15, 1: 0.45, 2: 0.25, 3: 0.1, 5: 0.04, 9: 0.01})
    """Weight of each number of devices per user. Federated users have none."""
    ages: AgeDistribution = AgeDistribution()
    remembered_share: float = 0.8
    unknown_share: float = 0.0
    """Share of devices without `dev:device_remembered_status`."""
    unauthenticated_share: float = 0.0
    """Share of devices without DeviceLastAuthenticatedDate."""
    undated_share: float = 0.0
    """Share of devices without any date."""


class Seeder:
    """Factory of pools that writes directly into moto's objects; not thread-safe."""

    def __init__(self, world: World) -> None:
        self._world = world

    def pool(  # noqa: PLR0913 -- as `Emulator.seed_pool`
        self,
        name: str,
        region: str,
        now: float,
        *,
        account_id: str,
        users: int | Sequence[str],
        tracking: Tracking,
        mfa: Mfa,
        mfa_bypass: bool,
        federated_share: float,
        devices: DeviceMix,
        seed: int,
    ) -> str:
        """Create and fill a pool, and return its id; `Emulator.seed_pool` documents the arguments."""
        random = Random(f"{seed}/{account_id}/{region}/{name}")  # noqa: S311 -- generated data
        pool = self._create(name, region, account_id, random)
        pool.mfa_config = mfa.value.upper()
        pool.extended_config["DeviceConfiguration"] = device_configuration(tracking, challenge=mfa_bypass)
        created = datetime.fromtimestamp(int(now - devices.ages.longest_seconds), UTC).replace(tzinfo=None)
        for username, federated in _user_names(users, federated_share, random):
            user = _user(pool, username, FEDERATED if federated else UserStatus.CONFIRMED, random)
            user.create_date = user.last_modified_date = created
            if not federated and tracking is not Tracking.OFF:
                _add_devices(user, pool.region, devices, random, now)
        clear_instances()
        return pool.id

    def _create(self, name: str, region: str, account_id: str, random: Random) -> CognitoIdpUserPool:
        """Create an empty pool under an id in AWS's format; moto's own ids are random."""
        taken = self._world.backend(account_id, region).user_pools
        pool = _empty_pool()
        pool.account_id, pool.region, pool.name = account_id, region, name
        pool.creation_date = pool.last_modified_date = utcnow()
        pool.id = _free_id(region, random, taken)
        pool.arn = f"arn:aws:cognito-idp:{region}:{account_id}:userpool/{pool.id}"
        taken[pool.id] = pool
        return pool


@cache
def _template() -> CognitoIdpUserPool:
    return CognitoIdpUserPool(DEFAULT_ACCOUNT_ID, "us-east-1", "template", {})


def _empty_pool() -> CognitoIdpUserPool:
    """Return a copy of a moto pool that shares its signing key: in a new pool, moto factors that RSA key for 0.1 s."""
    template = _template()
    return deepcopy(template, {id(template.json_web_key): template.json_web_key})


def _free_id(region: str, random: Random, taken: Mapping[str, CognitoIdpUserPool]) -> str:
    while True:
        pool_id = f"{region}_{''.join(random.choices(ascii_letters + digits, k=9))}"
        if pool_id not in taken:
            return pool_id


def _user_names(users: int | Sequence[str], federated_share: float, random: Random) -> Iterator[tuple[str, bool]]:
    """Yield user names, with True for federated users; their generated names have AWS's format."""
    names = [f"user-{number:06d}" for number in range(users)] if isinstance(users, int) else users
    for name in names:
        federated = random.random() < federated_share
        generated = federated and isinstance(users, int)
        yield (f"Google_{random.randrange(10**20, 10**21)}" if generated else name), federated


def _uuid(random: Random) -> UUID:
    return UUID(int=random.getrandbits(128), version=4)


def _user(pool: CognitoIdpUserPool, username: str, status: str, random: Random) -> CognitoIdpUser:
    attributes = {"sub": str(_uuid(random)), "email": f"{random.getrandbits(64):016x}@example.com"}
    if status == FEDERATED:
        attributes["identities"] = json.dumps([{"providerName": "Google", "providerType": "Google"}])
    user = CognitoIdpUser(pool.id, username, SEED_PASSWORD, status, [])
    user.id = attributes["sub"]
    user.update_attributes([{"Name": key, "Value": value} for key, value in attributes.items()])
    pool.users[username] = user
    return user


def _add_devices(user: CognitoIdpUser, region: str, mix: DeviceMix, random: Random, now: float) -> None:
    number = random.choices(list(mix.per_user), list(mix.per_user.values()))[0]
    confirmed = devices_of(user).confirmed
    for _ in range(number):
        record = _device(device_key(region, _uuid(random)), mix, random, now)
        confirmed[record.key] = record


def _device(key: str, mix: DeviceMix, random: Random, now: float) -> DeviceRecord:
    age = mix.ages.draw(random)
    created = int((now - age - random.expovariate(1 / (age + DAY))) * 1000)
    record = DeviceRecord(
        key,
        created_ms=created,
        modified_ms=created + random.randrange(1, 1000),
        authenticated_ms=None,
        remembered=_remembered(mix, random),
        name=random.choice(_DEVICE_NAMES),
        ip=f"192.0.2.{random.randrange(1, 255)}",
    )
    if random.random() < mix.undated_share:
        record.created_ms = record.modified_ms = None
    elif random.random() >= mix.unauthenticated_share:
        record.touch(now - age)
    return record


def _remembered(mix: DeviceMix, random: Random) -> RememberedStatus:
    if random.random() < mix.unknown_share:
        return RememberedStatus.UNKNOWN
    if random.random() < mix.remembered_share:
        return RememberedStatus.REMEMBERED
    return RememberedStatus.NOT_REMEMBERED
