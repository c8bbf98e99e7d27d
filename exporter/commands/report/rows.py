"""Rows of a report, and the filter that selects its devices."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from exporter.config.settings import PoolSettings
from exporter.model import Device

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Row:
    """Device of a user, as the report shows it."""

    pool: PoolSettings
    username: str = field(repr=False)
    """User name in Cognito."""
    user: str = field(repr=False)
    """Label of the user in the output: a fingerprint or the name."""
    device: Device
    age_seconds: float | None
    """Seconds since the last authentication, else since the creation; None without either date."""
    account_id: str | None = None
    """Account of the pool; None if AWS did not return it."""

    @property
    def oldest_first(self) -> tuple[float, str, str, str]:
        """Sort key: longest idle first, devices without a date last, in a deterministic order."""
        age = -math.inf if self.age_seconds is None else self.age_seconds
        return (-age, self.pool.id, self.user, self.device.key)


def age_seconds(device: Device, now_ms: int) -> float | None:
    """Return the seconds since a device was last active, at least 0; None if it has no date."""
    return None if device.active_ms is None else max(0, now_ms - device.active_ms) / 1000


@dataclass(frozen=True, slots=True)
class DeviceFilter:
    """Filter for the devices of a report."""

    now_ms: int
    """Time from which ages are computed, in milliseconds since the epoch."""
    older_than_ms: int | None = None
    """Select only devices idle for strictly longer; a device without a date does not match."""

    def wants(self, device: Device) -> bool:
        """Return True if the report shows the device."""
        if self.older_than_ms is None:
            return True
        return device.active_ms is not None and self.now_ms - device.active_ms > self.older_than_ms


def moment(milliseconds: int | None) -> str | None:
    """Return a time in milliseconds since the epoch as ISO 8601 in UTC: `2026-01-31T12:00:00.000Z`."""
    if milliseconds is None:
        return None
    when = _EPOCH + timedelta(milliseconds=milliseconds)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")
