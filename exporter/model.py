"""Immutable values that describe pools, users and devices.

Timestamps are integers in milliseconds since the Unix epoch: this is the resolution of Cognito, and sums of integers
are exact.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class RememberedStatus(StrEnum):
    """Remembered status of a device; UNKNOWN if Cognito does not return it."""

    REMEMBERED = "remembered"
    NOT_REMEMBERED = "not_remembered"
    UNKNOWN = "unknown"


class DateSource(StrEnum):
    """Date that the age of a device is computed from."""

    AUTHENTICATED = "authenticated"
    CREATED = "created"
    NONE = "none"


class Tracking(StrEnum):
    """Device tracking mode of a pool."""

    OFF = "off"
    OPT_IN = "opt_in"
    ALWAYS = "always"


class Mfa(StrEnum):
    """MFA setting of a pool."""

    OFF = "off"
    OPTIONAL = "optional"
    ON = "on"


class PoolState(StrEnum):
    """State of a pool: the first in this order that applies."""

    MISSING = "missing"
    DENIED = "denied"
    FAILING = "failing"
    TRACKING_OFF = "tracking_off"
    UNREAD = "unread"
    OK = "ok"

    @property
    def is_down(self) -> bool:
        """True if the last sweep failed as a whole."""
        return self in {PoolState.MISSING, PoolState.DENIED, PoolState.FAILING}


@dataclass(frozen=True, slots=True)
class Device:
    """Device of a user."""

    key: str
    remembered: RememberedStatus = RememberedStatus.UNKNOWN
    status: str = "unknown"
    created_ms: int | None = None
    modified_ms: int | None = None
    authenticated_ms: int | None = None
    attributes: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Pairs of name and value of the configured device attributes, sorted by name. Personal data."""

    @property
    def active_ms(self) -> int | None:
        """Time of the last authentication, or of the creation if it never authenticated; None if neither is known."""
        return self.created_ms if self.authenticated_ms is None else self.authenticated_ms

    @property
    def date_source(self) -> DateSource:
        """Date that `active_ms` returns."""
        if self.authenticated_ms is not None:
            return DateSource.AUTHENTICATED
        return DateSource.NONE if self.created_ms is None else DateSource.CREATED


@dataclass(frozen=True, slots=True)
class ListedUser:
    """User in a listing. Federated users sign in through an external identity provider."""

    name: str = field(repr=False)
    federated: bool = False


@dataclass(frozen=True, slots=True)
class ListedPool:
    """Pool in a listing."""

    id: str
    name: str


@dataclass(frozen=True, slots=True)
class PoolDescription:
    """Properties of a pool, from DescribeUserPool.

    The state file contains them: a new field needs a default or another `SCHEMA_VERSION`.
    """

    pool_id: str
    name: str
    account_id: str | None
    region: str
    tracking: Tracking
    mfa: Mfa
    mfa_bypass: bool
    """True if remembered devices skip MFA."""
    estimated_users: int | None


def region_of(pool_id: str) -> str:
    """Return the Region of a pool id, for example eu-west-1 for `eu-west-1_AbCdEfGhI`."""
    return pool_id.partition("_")[0]
