"""Settings and devices for tests of the sweep."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from exporter.config.settings import (
    Detail,
    IdentityMode,
    PoolSettings,
    TargetSettings,
    Threshold,
    UserSelection,
)
from exporter.model import Device, RememberedStatus

POOL_ID = "eu-west-1_AbCdEfGhI"

_DEFAULTS = PoolSettings(
    id=POOL_ID,
    target=TargetSettings("eu-west-1"),
    users=UserSelection(),
    refresh_interval=3600.0,
    max_staleness=86400.0,
    stale_after=(Threshold(30 * 86400, "30d"),),
    detail=Detail.POOL,
    identity=IdentityMode.RAW,
    identity_key_file=None,
    device_age_series=True,
    device_attributes=(),
    skip_federated_users=True,
)


def settings(**changes: Any) -> PoolSettings:
    """The defaults of a pool, changed as told."""
    return replace(_DEFAULTS, **changes)


def device(key: str = "d", active_ms: int | None = 1_600_000_000_000, **changes: Any) -> Device:
    """A remembered device that last authenticated at a moment."""
    made = Device(key=key, remembered=RememberedStatus.REMEMBERED, status="valid", authenticated_ms=active_ms)
    return replace(made, **changes)
