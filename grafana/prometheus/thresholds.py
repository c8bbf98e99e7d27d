"""Thresholds and durations of the alerts. After a change, run `python -m grafana.prometheus`."""

from __future__ import annotations

from dataclasses import dataclass

RUNBOOKS = "https://github.com/cognito-device-exporter/cognito-device-exporter/blob/main/docs/runbooks.md"
"""URL of `docs/runbooks.md`. Every `runbook_url` is an anchor in it."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Thresholds of the alerts. Shares are between 0 and 1."""

    stale_after: str = "90d"
    """Value of the exporter's `stale_after` that the alerts on idle devices use. AWS recommends to deactivate a device
    after 90 days."""
    stale_share: float = 0.25
    """Maximum share of idle devices in a pool."""
    stale_share_least_devices: int = 20
    """Minimum number of devices in a pool for which the share is meaningful."""
    stale_count: int = 1000
    """Maximum number of idle devices in a pool."""
    mfa_bypass_count: int = 0
    """Maximum number of idle devices that may skip the second factor."""
    devices_per_user: int = 20
    """Maximum number of devices per user. Must be a bucket bound of `cognito_user_pool_devices_per_user`."""
    users_with_many_devices: int = 0
    """Maximum number of users with more than `devices_per_user` devices."""
    growth_share: float = 0.5
    """Maximum growth of a pool's devices within a day, as a share."""
    growth_least_devices: int = 100
    """Minimum number of additional devices that counts as growth."""
    intervals_without_success: float = 1.5
    """Maximum number of refresh intervals without a complete sweep while sweeps fail."""
    intervals_until_old: int = 2
    """Maximum age of the data in refresh intervals."""
    throttled_share: float = 0.01
    """Maximum share of throttled requests. The limiter's own probing for the limit stays below it."""
    unread_for: str = "6h"
    """Maximum time until the first sweep of a pool completes. With a million users, it takes hours."""
    tracked_within: str = "14d"
    """Window in which a pool must have tracked devices to be expected to. Prometheus keeps 15 days by default."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Durations for missed scrapes and for values close to a threshold.

    Ranges over recorded series have an additional second. The age of a recorded sample is a multiple of the evaluation
    interval, and since Prometheus 3 a range excludes a sample that is exactly as old as the range, so `[15m]` would
    have one sample fewer.
    """

    lookback: str = "10m1s"
    """Maximum age of a value that is still used. A failed scrape removes every series of a target, and must neither
    resolve an alert nor restart its `for`. Longer than `for_short`, after which CognitoDeviceExporterAbsent fires, and
    shorter than `for_medium`, so that the last values of a replaced instance alone do not raise an alert."""
    for_short: str = "5m"
    """`for` of problems that are certain after a short interruption is excluded."""
    for_medium: str = "15m"
    """`for` of conditions that may briefly appear during a restart, a rollout or a sweep."""
    for_long: str = "30m"
    """`for` of conditions that may resolve by themselves."""
    growth_now: str = "15m1s"
    """Window whose minimum is the current number of devices."""
    growth_before: str = "1h1s"
    """Window whose maximum is the number of devices a day ago."""
    keep_firing_for: str = "15m"
    """`keep_firing_for` of values that move around their threshold as devices sign in."""


THRESHOLDS = Thresholds()
TIMING = Timing()
