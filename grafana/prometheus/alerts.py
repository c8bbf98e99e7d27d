"""Alerting rules.

A missed scrape does not affect the alerts: sums over shards use the recent maximum (`_max_value`), and the recording
rules bridge the gap for minima and maxima. Every alert on a pool joins the pool name by `_with_pool_name`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from grafana.prometheus.recording_rules import DEPLOYMENT, POOL
from grafana.prometheus.thresholds import Thresholds, Timing

INSTANCE = f"{DEPLOYMENT}, instance"


class Severity(StrEnum):
    """Severity of an alert, which determines how soon to respond."""

    CRITICAL = "critical"
    """Respond immediately: no data is collected, or user names are exposed."""
    WARNING = "warning"
    """Respond today."""
    INFO = "info"
    """Respond at the next maintenance of the exporter."""


@dataclass(frozen=True, slots=True)
class Alert:
    """Alerting rule. Summary and description are Prometheus templates."""

    name: str
    severity: Severity
    expr: str
    summary: str
    description: str
    for_duration: str | None = None
    """Value of `for`. If None, the alert fires immediately."""
    keep_firing_for: str | None = None


def _with_pool_name(expr: str) -> str:
    """Join the pool name to an expression with one or more series per pool. Values do not change."""
    inner = "\n".join(f"  {line}" for line in expr.splitlines())
    return f"(\n{inner}\n)\n* on ({POOL}) group_left (user_pool_name)\ncognito_user_pool:name:info"


_POOL = "user pool {{ $labels.user_pool_name }} ({{ $labels.user_pool_id }})"


@dataclass(frozen=True, slots=True)
class Alerts:
    """All alerts for the given thresholds."""

    thresholds: Thresholds
    timing: Timing

    def device_alerts(self) -> Iterator[Alert]:
        """Yield the alerts on users and devices."""
        yield self._stale_share()
        yield self._stale_count()
        yield self._mfa_bypass()
        yield self._too_many_per_user()
        yield self._sudden_growth()

    def pool_alerts(self) -> Iterator[Alert]:
        """Yield the alerts on the completeness and freshness of a pool's data."""
        yield self._sweep_failing()
        yield self._data_old()
        yield self._budget_too_small()
        yield self._tracking_off()
        yield self._denied()
        yield self._missing()
        yield self._unread()
        yield self._series_dropped()
        yield self._threshold_not_exported()

    def exporter_alerts(self) -> Iterator[Alert]:
        """Yield the alerts on the exporter itself."""
        yield self._throttled()
        yield self._discovery_failing()
        yield self._config_reload_failed()
        yield self._shard_missing()
        yield self._identity_exposed()
        yield self._absent()

    def _stale_share(self) -> Alert:
        limit, least = self.thresholds.stale_share, self.thresholds.stale_share_least_devices
        share = self._stale("cognito_user_pool_threshold:stale_devices:ratio")
        devices = self._max_value("cognito_user_pool:devices:sum")
        return Alert(
            "CognitoDeviceStaleShareHigh",
            Severity.WARNING,
            _with_pool_name(f"{share} > {limit}\nand on ({POOL})\n{devices} >= {least}"),
            f"Share of idle devices of {{{{ $labels.user_pool_name }}}} is above {limit:.0%}",
            "{{ $value | humanizePercentage }} of the devices of " + _POOL + " have not authenticated for more "
            "than {{ $labels.threshold }}; " + f"expected at most {limit:.0%}.",
            self.timing.for_medium,
            self.timing.keep_firing_for,
        )

    def _stale_count(self) -> Alert:
        limit = self.thresholds.stale_count
        return Alert(
            "CognitoDeviceStaleCountHigh",
            Severity.WARNING,
            _with_pool_name(f"{self._stale('cognito_user_pool_threshold:stale_devices:sum')} > {limit}"),
            f"More than {limit} devices of {{{{ $labels.user_pool_name }}}} are idle",
            "{{ $value | humanize }} devices of " + _POOL + " have not authenticated for more than "
            "{{ $labels.threshold }}; " + f"expected at most {limit}.",
            self.timing.for_medium,
            self.timing.keep_firing_for,
        )

    def _mfa_bypass(self) -> Alert:
        limit = self.thresholds.mfa_bypass_count
        return Alert(
            "CognitoDeviceMfaBypassStale",
            Severity.WARNING,
            _with_pool_name(f"{self._stale('cognito_user_pool_threshold:stale_mfa_bypass_devices:sum')} > {limit}"),
            "Idle devices of {{ $labels.user_pool_name }} may skip the second factor",
            "{{ $value | humanize }} remembered devices of " + _POOL + " have not authenticated for more than "
            "{{ $labels.threshold }} and may still skip the second factor; " + f"expected at most {limit}.",
            self.timing.for_medium,
            self.timing.keep_firing_for,
        )

    def _too_many_per_user(self) -> Alert:
        limit, most = self.thresholds.users_with_many_devices, self.thresholds.devices_per_user
        return Alert(
            "CognitoDeviceTooManyPerUser",
            Severity.WARNING,
            _with_pool_name(f"{self._max_value('cognito_user_pool:users_with_many_devices:sum')} > {limit}"),
            "Users of {{ $labels.user_pool_name }} have too many devices",
            "{{ $value | humanize }} users of " + _POOL + f" have more than {most} devices each.",
            self.timing.for_medium,
            self.timing.keep_firing_for,
        )

    def _sudden_growth(self) -> Alert:
        share, least = self.thresholds.growth_share, self.thresholds.growth_least_devices
        return Alert(
            "CognitoDeviceSuddenGrowth",
            Severity.WARNING,
            _with_pool_name(
                "cognito_user_pool:devices:delta1d\n"
                f"> clamp_min({share} * cognito_user_pool:devices:max1h_offset1d, {least})"
            ),
            "The number of devices of {{ $labels.user_pool_name }} grows fast",
            _POOL[0].upper() + _POOL[1:] + " has {{ $value | humanize }} more devices than a day ago; "
            f"expected growth of at most {share:.0%} (or {least} devices).",
            self.timing.for_long,
            self.timing.keep_firing_for,
        )

    def _sweep_failing(self) -> Alert:
        intervals = self.thresholds.intervals_without_success
        success = "cognito_user_pool:last_sweep_success_timestamp_seconds:min"
        interval = "cognito_user_pool:refresh_interval_seconds:max"
        state = 'cognito_user_pool_state:state:max{state=~"denied|missing"}'
        return Alert(
            "CognitoDeviceSweepFailing",
            Severity.WARNING,
            _with_pool_name(
                "cognito_user_pool:sweep_failures:increase3h > 0\n"
                f"and on ({POOL})\ntime() - {success} > {intervals} * {interval}\n"
                f"unless on ({POOL})\n{state} == 1"
            ),
            "Sweeps of {{ $labels.user_pool_name }} fail",
            'About {{ $value | printf "%.0f" }} sweeps of ' + _POOL + " failed in the last 3 hours, and no sweep has "
            f"read every user for more than {intervals} refresh intervals.",
            self.timing.for_medium,
        )

    def _data_old(self) -> Alert:
        intervals = self.thresholds.intervals_until_old
        oldest = "cognito_user_pool:oldest_observation_timestamp_seconds:min"
        interval = "cognito_user_pool:refresh_interval_seconds:max"
        return Alert(
            "CognitoDeviceDataOld",
            Severity.WARNING,
            _with_pool_name(f"time() - {oldest}\n> {intervals} * {interval}"),
            "The data of {{ $labels.user_pool_name }} is out of date",
            "Some users of " + _POOL + " were last read {{ $value | humanizeDuration }} ago, more than "
            f"{intervals} refresh intervals.",
            self.timing.for_medium,
        )

    def _budget_too_small(self) -> Alert:
        duration = "cognito_user_pool:sweep_duration_seconds:max"
        interval = "cognito_user_pool:refresh_interval_seconds:max"
        return Alert(
            "CognitoDeviceBudgetTooSmall",
            Severity.WARNING,
            _with_pool_name(f"{duration}\n/ {interval}\n> 1"),
            "Sweeps of {{ $labels.user_pool_name }} take longer than the refresh interval",
            "A sweep of " + _POOL + " takes {{ $value | humanizePercentage }} of its refresh interval.",
            self.timing.for_long,
        )

    def _tracking_off(self) -> Alert:
        tracked = f'max_over_time(cognito_user_pool_state:state:max{{state="ok"}}[{self.thresholds.tracked_within}:1h])'
        return Alert(
            "CognitoDeviceTrackingOff",
            Severity.WARNING,
            _with_pool_name(f"{_in_state('tracking_off')}\nand on ({POOL})\n{tracked} == 1"),
            "{{ $labels.user_pool_name }} no longer tracks devices",
            _POOL[0].upper() + _POOL[1:] + " tracked devices within the last "
            f"{self.thresholds.tracked_within} and no longer does. Users of remembered devices are prompted for the "
            "second factor again.",
            self.timing.for_medium,
        )

    def _denied(self) -> Alert:
        return Alert(
            "CognitoDevicePoolDenied",
            Severity.WARNING,
            _with_pool_name(_in_state("denied")),
            "AWS denies access to {{ $labels.user_pool_name }}",
            "The exporter has no permission to read " + _POOL + ".",
            self.timing.for_medium,
        )

    def _missing(self) -> Alert:
        return Alert(
            "CognitoDevicePoolMissing",
            Severity.WARNING,
            _with_pool_name(_in_state("missing")),
            "{{ $labels.user_pool_name }} not found",
            _POOL[0].upper() + _POOL[1:] + " does not exist in the account and Region that the exporter queries.",
            self.timing.for_medium,
        )

    def _unread(self) -> Alert:
        return Alert(
            "CognitoDevicePoolUnread",
            Severity.WARNING,
            _with_pool_name(_in_state("unread")),
            "{{ $labels.user_pool_name }} has no complete sweep yet",
            "No sweep of " + _POOL + f" has completed for more than {self.thresholds.unread_for}. There is no data "
            "on its devices.",
            self.thresholds.unread_for,
        )

    def _series_dropped(self) -> Alert:
        return Alert(
            "CognitoDeviceSeriesDropped",
            Severity.INFO,
            _with_pool_name(f"{self._max_value('cognito_user_pool:series_dropped:sum')} > 0"),
            "Some users of {{ $labels.user_pool_name }} have no series",
            "{{ $value | humanize }} user and device series of " + _POOL + " are dropped because `limits.series` "
            "is reached. The metrics of the pool are complete.",
            self.timing.for_long,
        )

    def _threshold_not_exported(self) -> Alert:
        threshold = self.thresholds.stale_after
        return Alert(
            "CognitoDeviceThresholdNotExported",
            Severity.INFO,
            _with_pool_name(
                f"{self._max_value('cognito_user_pool:devices:sum')}\nunless on ({POOL})\n"
                f"{self._stale('cognito_user_pool_threshold:stale_devices:sum')}"
            ),
            "No alert covers idle devices of {{ $labels.user_pool_name }}",
            "`stale_after` of " + _POOL + f" does not contain {threshold}, so no alert on idle devices can fire "
            "for its {{ $value | humanize }} devices.",
            self.timing.for_long,
        )

    def _throttled(self) -> Alert:
        limit = self.thresholds.throttled_share
        return Alert(
            "CognitoDeviceThrottled",
            Severity.WARNING,
            f"cognito_target:aws_requests_throttled:ratio_rate15m > {limit}",
            "AWS throttles the exporter in {{ $labels.aws_region }}",
            "AWS throttles {{ $value | humanizePercentage }} of the requests to account {{ $labels.aws_account_id }} "
            "in {{ $labels.aws_region }}; " + f"expected at most {limit:.0%}. Sign-ups and verification codes "
            "share this quota.",
            self.timing.for_long,
            self.timing.keep_firing_for,
        )

    def _discovery_failing(self) -> Alert:
        up = self._last_value("cognito_exporter_discovery_up")
        return Alert(
            "CognitoDeviceDiscoveryFailing",
            Severity.WARNING,
            f"min by ({DEPLOYMENT}, rule, aws_region) ({up}) == 0",
            "Pool discovery fails in {{ $labels.aws_region }}",
            "Discovery rule {{ $labels.rule }} cannot list all pools in {{ $labels.aws_region }}. New pools are "
            "missing, and deleted ones are still shown.",
            self.timing.for_long,
            self.timing.keep_firing_for,
        )

    def _config_reload_failed(self) -> Alert:
        loaded = self._last_value("cognito_exporter_config_last_reload_success_timestamp_seconds")
        successful = self._last_value("cognito_exporter_config_last_reload_successful")
        return Alert(
            "CognitoDeviceConfigReloadFailed",
            Severity.WARNING,
            f"max by ({INSTANCE}) (time() - {loaded})\nand on ({INSTANCE})\n{successful} == 0",
            "Configuration reload of {{ $labels.instance }} failed",
            "The last configuration reload of {{ $labels.instance }} failed. The active configuration was loaded "
            "{{ $value | humanizeDuration }} ago.",
            self.timing.for_short,
        )

    def _shard_missing(self) -> Alert:
        return Alert(
            "CognitoDeviceShardMissing",
            Severity.WARNING,
            "cognito_exporter:shards:max\n- cognito_exporter:shards_seen:count\n> 0",
            "Shards of {{ $labels.job }} are missing",
            "Prometheus does not scrape {{ $value | humanize }} shards of {{ $labels.job }}. Their users are missing "
            "from every count.",
            self.timing.for_short,
        )

    def _identity_exposed(self) -> Alert:
        exposed = self._last_value("cognito_exporter_identity_exposed")
        return Alert(
            "CognitoDeviceRawIdentityExposed",
            Severity.CRITICAL,
            f"max by ({INSTANCE}) ({exposed}) == 1",
            "{{ $labels.instance }} exposes user names without authentication",
            "{{ $labels.instance }} serves raw user names beyond loopback without authentication.",
        )

    def _absent(self) -> Alert:
        info = "cognito_exporter_build_info"
        return Alert(
            "CognitoDeviceExporterAbsent",
            Severity.CRITICAL,
            f"(\n  group by ({DEPLOYMENT}) (last_over_time({info}[1d]))\n"
            f"  unless on ({DEPLOYMENT})\n  group by ({DEPLOYMENT}) ({info})\n)\n"
            f"or\nabsent_over_time({info}[1d])",
            "The Cognito device exporter is absent",
            'Prometheus has no cognito-device-exporter target{{ with $labels.job }} in job "{{ . }}"{{ end }}. No pool '
            "is monitored.",
            self.timing.for_short,
        )

    def _last_value(self, series: str) -> str:
        """Return the last value of each instance within the lookback."""
        return f"last_over_time({series}[{self.timing.lookback}])"

    def _max_value(self, series: str, matchers: str = "") -> str:
        """Return the maximum of a sum over shards within the lookback, so that one missed scrape does not lower it."""
        selector = f"{series}{{{matchers}}}" if matchers else series
        return f"max_over_time({selector}[{self.timing.lookback}])"

    def _stale(self, series: str) -> str:
        return self._max_value(series, f'threshold="{self.thresholds.stale_after}"')


def _in_state(state: str) -> str:
    return f'max by ({POOL}) (cognito_user_pool_state:state:max{{state="{state}"}}) == 1'
