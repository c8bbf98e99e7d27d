"""The configuration as the rest of the program sees it: complete, checked and frozen."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from exporter.model import region_of


class Detail(StrEnum):
    """The finest series exported."""

    POOL = "pool"
    USER = "user"
    DEVICE = "device"


class IdentityMode(StrEnum):
    """What the label `user` holds."""

    HMAC = "hmac"
    RAW = "raw"


@dataclass(frozen=True, slots=True)
class UserSelection:
    """Which users of a pool are read; at most one field is set, none means every user."""

    usernames: tuple[str, ...] | None = field(default=None, repr=False)
    groups: tuple[str, ...] | None = None
    filter: str | None = None


@dataclass(frozen=True, slots=True)
class Threshold:
    """An age in seconds beyond which a device counts as stale, and its canonical label (`30d`)."""

    seconds: int
    label: str


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """How to reach one account and Region."""

    region: str
    role_arn: str | None = None
    external_id: str | None = field(default=None, repr=False)
    endpoint_url: str | None = None
    use_fips_endpoint: bool | None = None
    """None leaves the choice to boto3's own configuration."""
    use_dualstack_endpoint: bool | None = None


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """One pool, with the defaults filled in; durations in seconds."""

    id: str
    target: TargetSettings
    users: UserSelection
    refresh_interval: float
    max_staleness: float
    stale_after: tuple[Threshold, ...]
    detail: Detail
    identity: IdentityMode
    identity_key_file: Path | None
    device_age_series: bool
    device_attributes: tuple[str, ...]
    skip_federated_users: bool

    @property
    def region(self) -> str:
        """The Region that the pool's id names."""
        return region_of(self.id)


@dataclass(frozen=True, slots=True)
class Share:
    """A rate as a part of the provisioned quota."""

    fraction: float
    """Above 0 and at most 1."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the exporter may use, and the most user and device series exposed."""

    rate: dict[str, float | Share]
    """By AWS quota category: requests per second, or a share of what AWS grants."""
    series: int


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole configuration."""

    pools: tuple[PoolSettings, ...]
    limits: Limits
    state_path: Path | None = None
    """The file from which a restart resumes; None begins from nothing."""
