"""What is known about pools, users and devices: frozen values without I/O.

Every point in time is an integer number of milliseconds since the Unix epoch: Cognito gives no finer
resolution, and integers add up exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class RememberedStatus(StrEnum):
    """Whether a device was remembered; Cognito may leave it out."""

    REMEMBERED = "remembered"
    NOT_REMEMBERED = "not_remembered"
    UNKNOWN = "unknown"


class DateSource(StrEnum):
    """Which date a device's age is counted from."""

    AUTHENTICATED = "authenticated"
    CREATED = "created"
    NONE = "none"


class Tracking(StrEnum):
    """How a pool remembers devices."""

    OFF = "off"
    OPT_IN = "opt_in"
    ALWAYS = "always"


class Mfa(StrEnum):
    """Whether a pool asks for a second factor."""

    OFF = "off"
    OPTIONAL = "optional"
    ON = "on"


class PoolState(StrEnum):
    """The state of a pool; the first that applies, in this order."""

    MISSING = "missing"
    DENIED = "denied"
    FAILING = "failing"
    TRACKING_OFF = "tracking_off"
    UNREAD = "unread"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Device:
    """One device record of one user."""

    key: str
    remembered: RememberedStatus = RememberedStatus.UNKNOWN
    status: str = "unknown"
    created_ms: int | None = None
    modified_ms: int | None = None
    authenticated_ms: int | None = None
    attributes: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """The attributes that the configuration asks for, by name; personal data."""

    @property
    def active_ms(self) -> int | None:
        """When the device was last seen to authenticate, else when it was made."""
        return self.created_ms if self.authenticated_ms is None else self.authenticated_ms

    @property
    def date_source(self) -> DateSource:
        """Where `active_ms` comes from."""
        if self.authenticated_ms is not None:
            return DateSource.AUTHENTICATED
        return DateSource.NONE if self.created_ms is None else DateSource.CREATED


@dataclass(frozen=True, slots=True)
class ListedUser:
    """One user of a listing; `federated` users sign in through an external provider."""

    name: str = field(repr=False)
    federated: bool = False


@dataclass(frozen=True, slots=True)
class ListedPool:
    """One pool of a listing."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class PoolDescription:
    """What DescribeUserPool says about a pool."""

    pool_id: str
    name: str
    account_id: str | None
    region: str
    tracking: Tracking
    mfa: Mfa
    mfa_bypass: bool
    """Whether a remembered device may skip the second factor."""
    estimated_users: int | None


def region_of(pool_id: str) -> str:
    """The Region in a pool id: `eu-west-1_AbCdEfGhI` stands in eu-west-1."""
    return pool_id.partition("_")[0]
