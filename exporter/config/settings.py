"""Settings of the exporter: the configuration, complete, checked and frozen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from exporter.model import region_of


class Detail(StrEnum):
    """Granularity of the exported series."""

    POOL = "pool"
    USER = "user"
    DEVICE = "device"


class IdentityMode(StrEnum):
    """Value of the label `user`."""

    HMAC = "hmac"
    RAW = "raw"


@dataclass(frozen=True, slots=True)
class UserSelection:
    """Selection of the users of a pool; at most one field is set, and none selects every user."""

    usernames: tuple[str, ...] | None = field(default=None, repr=False)
    groups: tuple[str, ...] | None = None
    filter: str | None = None

    @property
    def is_everyone(self) -> bool:
        """True if every user of the pool is selected."""
        return self.usernames is None and self.groups is None and self.filter is None


@dataclass(frozen=True, slots=True)
class Threshold:
    """Age in seconds beyond which a device is stale, with its canonical label (`30d`)."""

    seconds: int
    label: str


@dataclass(frozen=True, slots=True)
class TargetSettings:
    """Account and Region, and the way to reach them."""

    region: str
    role_arn: str | None = None
    external_id: str | None = field(default=None, repr=False)
    endpoint_url: str | None = None
    use_fips_endpoint: bool | None = None
    """None leaves the choice to the configuration of boto3."""
    use_dualstack_endpoint: bool | None = None


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """Settings of a pool, with the defaults filled in; durations in seconds."""

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
        """Region in the pool's id."""
        return region_of(self.id)


TEMPLATE_ID = ""
"""Pool id of a rule's template."""


@dataclass(frozen=True, slots=True)
class Search:
    """Filter by which a rule discovers pools in one account and Region."""

    target: TargetSettings
    name: str | None
    """Regular expression that must match somewhere in the pool's name; None matches every name."""
    tags: tuple[tuple[str, str], ...]
    """Tags that the pool must have."""

    def fits_name(self, name: str) -> bool:
        """Return whether a pool name matches."""
        return self.name is None or re.search(self.name, name) is not None

    def fits_tags(self, tags: Mapping[str, str]) -> bool:
        """Return whether the tags of a pool match."""
        return all(tags.get(key) == value for key, value in self.tags)


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """Settings of a discovery rule, with the defaults filled in; durations in seconds."""

    searches: tuple[Search, ...]
    """One per Region."""
    interval: float
    template: PoolSettings
    """Settings of each discovered pool, except for id and target."""

    def pool(self, pool_id: str, target: TargetSettings) -> PoolSettings:
        """Return the settings of a discovered pool."""
        return replace(self.template, id=pool_id, target=target)


@dataclass(frozen=True, slots=True)
class Share:
    """Rate as a share of the provisioned quota."""

    fraction: float
    """Above 0 and at most 1."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of requests, and of user and device series."""

    rate: dict[str, float | Share]
    """By AWS quota category: requests per second, or a share of the quota."""
    series: int


@dataclass(frozen=True, slots=True)
class Settings:
    """Configuration of the exporter."""

    pools: tuple[PoolSettings, ...]
    limits: Limits
    state_path: Path | None = None
    """State file from which a restart resumes; None starts from scratch."""
    discovery: tuple[RuleSettings, ...] = ()
    """In order of precedence; `pools` takes precedence over all of them."""

    @property
    def all_pool_settings(self) -> tuple[PoolSettings, ...]:
        """Settings of the pools, and of those that the rules discover."""
        return (*self.pools, *(rule.template for rule in self.discovery))

    @property
    def exposes_raw_names(self) -> bool:
        """True if the label `user` of some pool is the user name itself."""
        return any(
            pool.identity is IdentityMode.RAW and pool.detail is not Detail.POOL for pool in self.all_pool_settings
        )

    @property
    def targets(self) -> frozenset[TargetSettings]:
        """Every account and Region in which pools are read or discovered."""
        searched = (search.target for rule in self.discovery for search in rule.searches)
        return frozenset((*(pool.target for pool in self.pools), *searched))
