"""Every number of the alerts, in one place: change it here, then `python -m grafana.prometheus`."""

from __future__ import annotations

from dataclasses import dataclass

RUNBOOKS = "https://github.com/cognito-device-exporter/cognito-device-exporter/blob/main/docs/runbooks.md"
"""Where `docs/runbooks.md` is published; every `runbook_url` is an anchor in it."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When an alert is due. Shares are between 0 and 1."""

    stale_after: str = "90d"
    """Which of the exporter's `stale_after` the alerts on idle devices look at; AWS names 90 days as the age at
    which to deactivate a device."""
    stale_share: float = 0.25
    """More than this share of a pool's devices is idle."""
    stale_share_least_devices: int = 20
    """In a smaller pool a share says nothing."""
    stale_count: int = 1000
    """More than this many devices of a pool are idle."""
    mfa_bypass_count: int = 0
    """More than this many idle devices may skip the second factor."""
    devices_per_user: int = 20
    """A user with more devices has too many; one of the bounds of `cognito_user_pool_devices_per_user`."""
    users_with_many_devices: int = 0
    """More than this many users have too many devices."""
    growth_share: float = 0.5
    """The devices of a pool grew by more than this share within a day ..."""
    growth_least_devices: int = 100
    """... and by more than this many."""
    intervals_without_success: float = 1.5
    """So many refresh intervals without a complete sweep, in which sweeps failed."""
    intervals_until_old: int = 2
    """Values read longer ago than so many refresh intervals are old."""
    throttled_share: float = 0.01
    """AWS refuses more than this share of the requests; probing for the limit alone costs less."""
    unread_for: str = "6h"
    """No sweep of a pool has completed for so long; a first sweep of a million users takes hours."""
    tracked_within: str = "14d"
    """A pool that tracked devices so recently is expected to; Prometheus keeps 15 days unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How patient the rules are with scrapes that were missed and with values around a threshold.

    Ranges over recorded series have an odd second. Recorded samples are whole evaluation intervals old, and since
    Prometheus 3 a range excludes a sample that is exactly as old as the range: `[15m]` then has one sample fewer.
    """

    bridge: str = "10m1s"
    """A value counts until it is older: one failed scrape withdraws every series of a target, and must neither
    resolve an alert nor restart its `for`. Longer than `soon`, after which CognitoDeviceExporterAbsent takes over,
    and shorter than `settled`, so that the last values of a replaced instance alone raise no alert."""
    soon: str = "5m"
    """For what is wrong as soon as it is no blip."""
    settled: str = "15m"
    """For what a restart, a rollout or a single sweep may show for a moment."""
    lasting: str = "30m"
    """For what may pass without anyone's help."""
    growth_now: str = "15m1s"
    """The least of so long counts as the devices of a pool now ..."""
    growth_before: str = "1h1s"
    """... and the most of so long as its devices a day ago."""
    keep_firing: str = "15m"
    """For numbers that move around their threshold as devices sign in."""


THRESHOLDS = Thresholds()
TIMING = Timing()
