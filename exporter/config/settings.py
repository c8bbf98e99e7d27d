"""The configuration as the rest of the program sees it: complete, checked and frozen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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

    @property
    def is_everyone(self) -> bool:
        """True if every user of the pool is selected."""
        return self.usernames is None and self.groups is None and self.filter is None


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


TEMPLATE_ID = ""
"""Stands for the pool id where there is none yet."""


@dataclass(frozen=True, slots=True)
class Search:
    """Which pools of one account and Region a rule stands for."""

    target: TargetSettings
    name: str | None
    """A regular expression, searched in the pool's name; None is every name."""
    tags: tuple[tuple[str, str], ...]
    """What the pool must be tagged with."""

    def fits_name(self, name: str) -> bool:
        """Whether a pool of this name may be one of them."""
        return self.name is None or re.search(self.name, name) is not None

    def fits_tags(self, tags: Mapping[str, str]) -> bool:
        """Whether a pool with these tags may be one of them."""
        return all(tags.get(key) == value for key, value in self.tags)


@dataclass(frozen=True, slots=True)
class RuleSettings:
    """A rule that finds pools, with the defaults filled in; durations in seconds."""

    searches: tuple[Search, ...]
    """One per Region."""
    interval: float
    template: PoolSettings
    """What each of its pools is like, but for id and Region."""

    def pool(self, pool_id: str, target: TargetSettings) -> PoolSettings:
        """The settings of a pool that it has found."""
        return replace(self.template, id=pool_id, target=target)


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
    discovery: tuple[RuleSettings, ...] = ()
    """In the order in which they take precedence; `pools` comes before all of them."""

    @property
    def all_pool_settings(self) -> tuple[PoolSettings, ...]:
        """The pools, and what those are like that a rule may find."""
        return (*self.pools, *(rule.template for rule in self.discovery))

    @property
    def targets(self) -> frozenset[TargetSettings]:
        """Every account and Region that pools are read from or looked for in."""
        searched = (search.target for rule in self.discovery for search in rule.searches)
        return frozenset((*(pool.target for pool in self.pools), *searched))
