"""A device as a report shows it, and which devices it shows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from exporter.config.settings import PoolSettings
from exporter.model import Device

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Row:
    """One device of one user."""

    pool: PoolSettings
    username: str = field(repr=False)
    """As Cognito has it."""
    user: str = field(repr=False)
    """What stands for the user in the output: a fingerprint or the name."""
    device: Device
    age_seconds: float | None
    """Since the last authentication, else the creation; None without either date."""
    account_id: str | None = None
    """The pool's account; None where AWS has not told it."""

    @property
    def oldest_first(self) -> tuple[float, str, str, str]:
        """Sorts the longest idle first and devices without a date last, always in the same order."""
        age = -math.inf if self.age_seconds is None else self.age_seconds
        return (-age, self.pool.id, self.user, self.device.key)


def age_seconds(device: Device, now_ms: int) -> float | None:
    """How long ago a device was last active; never negative, None when it has no date."""
    return None if device.active_ms is None else max(0, now_ms - device.active_ms) / 1000


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which devices a report shows."""

    now_ms: int
    """The moment at which ages count."""
    older_than_ms: int | None = None
    """Only devices idle for strictly longer; one without a date is not known to be."""

    def wants(self, device: Device) -> bool:
        """Whether the device is shown."""
        if self.older_than_ms is None:
            return True
        return device.active_ms is not None and self.now_ms - device.active_ms > self.older_than_ms


def moment(milliseconds: int | None) -> str | None:
    """A point in time as ISO 8601 in UTC, to the millisecond: `2026-01-31T12:00:00.000Z`."""
    if milliseconds is None:
        return None
    when = _EPOCH + timedelta(milliseconds=milliseconds)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
