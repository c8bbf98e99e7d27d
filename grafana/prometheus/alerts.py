"""The alerts: what they look at, how long they wait, what they say.

A missed scrape changes nothing: sums over shards are read as the most of the last minutes, `_most`, and the
worst of the shards is recorded so. Every alert on a pool joins the pool's name in the same way, `_named`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from grafana.prometheus.records import DEPLOYMENT, POOL
from grafana.prometheus.values import Thresholds, Timing

INSTANCE = f"{DEPLOYMENT}, instance"


class Severity(StrEnum):
    """Who is to look, and when."""

    CRITICAL = "critical"
    """Someone, now: nothing is seen any more, or names are in the open."""
    WARNING = "warning"
    """Someone, today."""
    INFO = "info"
    """Whoever next looks after the exporter."""


@dataclass(frozen=True, slots=True)
class Alert:
    """An alerting rule; the texts are templates of Prometheus."""

    name: str
    severity: Severity
    expr: str
    summary: str
    description: str
    wait: str | None = None
    """`for`; None fires at once."""
    keep_firing: str | None = None


def _named(expr: str) -> str:
    """The pool's name joined to an expression that has one series or more per pool, and keeps its values."""
    inner = "\n".join(f"  {line}" for line in expr.splitlines())
    return f"(\n{inner}\n)\n* on ({POOL}) group_left (user_pool_name)\ncognito_user_pool:name:info"


_THE_POOL = "user pool {{ $labels.user_pool_name }} ({{ $labels.user_pool_id }})"


@dataclass(frozen=True, slots=True)
class Alerts:
    """All alerts for given thresholds."""

    thresholds: Thresholds
    timing: Timing

    def on_devices(self) -> Iterator[Alert]:
        """What was found in the pools."""
        yield self._stale_share()
        yield self._stale_count()
        yield self._mfa_bypass()
        yield self._too_many_per_user()
        yield self._sudden_growth()

    def on_pools(self) -> Iterator[Alert]:
        """Whether a pool is seen, completely and lately."""
        yield self._sweep_failing()
        yield self._data_old()
        yield self._budget_too_small()
        yield self._tracking_off()
        yield self._denied()
        yield self._missing()
        yield self._unread()
        yield self._series_dropped()
        yield self._threshold_not_exported()

    def on_exporter(self) -> Iterator[Alert]:
        """Whether the exporter itself is well."""
        yield self._throttled()
        yield self._discovery_failing()
        yield self._config_reload_failed()
        yield self._shard_missing()
        yield self._identity_exposed()
        yield self._absent()

    def _stale_share(self) -> Alert:
        limit, least = self.thresholds.stale_share, self.thresholds.stale_share_least_devices
        share = self._stale("cognito_user_pool_threshold:stale_devices:ratio")
        devices = self._most("cognito_user_pool:devices:sum")
        return Alert(
            "CognitoDeviceStaleShareHigh",
            Severity.WARNING,
            _named(f"{share} > {limit}\nand on ({POOL})\n{devices} >= {least}"),
            "Many devices of {{ $labels.user_pool_name }} are idle",
            "{{ $value | humanizePercentage }} of the devices of " + _THE_POOL + " have not authenticated for more "
            "than {{ $labels.threshold }}; " + f"expected at most {limit:.0%}.",
            self.timing.settled,
            self.timing.keep_firing,
        )

    def _stale_count(self) -> Alert:
        limit = self.thresholds.stale_count
        return Alert(
            "CognitoDeviceStaleCountHigh",
            Severity.WARNING,
            _named(f"{self._stale('cognito_user_pool_threshold:stale_devices:sum')} > {limit}"),
            "Very many devices of {{ $labels.user_pool_name }} are idle",
            "{{ $value | humanize }} devices of " + _THE_POOL + " have not authenticated for more than "
            "{{ $labels.threshold }}; " + f"expected at most {limit}.",
            self.timing.settled,
            self.timing.keep_firing,
        )

    def _mfa_bypass(self) -> Alert:
        limit = self.thresholds.mfa_bypass_count
        return Alert(
            "CognitoDeviceMfaBypassStale",
            Severity.WARNING,
            _named(f"{self._stale('cognito_user_pool_threshold:stale_mfa_bypass_devices:sum')} > {limit}"),
            "Forgotten devices of {{ $labels.user_pool_name }} may skip the second factor",
            "Remembered devices of " + _THE_POOL + " that have not authenticated for more than {{ $labels.threshold }} "
            "and may still sign in without a second factor: {{ $value | humanize }}; " + f"expected at most {limit}.",
            self.timing.settled,
            self.timing.keep_firing,
        )

    def _too_many_per_user(self) -> Alert:
        limit, most = self.thresholds.users_with_many_devices, self.thresholds.devices_per_user
        return Alert(
            "CognitoDeviceTooManyPerUser",
            Severity.WARNING,
            _named(f"{self._most('cognito_user_pool:users_with_many_devices:sum')} > {limit}"),
            "Users of {{ $labels.user_pool_name }} have too many devices",
            "Users of " + _THE_POOL + f" with more than {most} devices each: " + "{{ $value | humanize }}.",
            self.timing.settled,
            self.timing.keep_firing,
        )

    def _sudden_growth(self) -> Alert:
        share, least = self.thresholds.growth_share, self.thresholds.growth_least_devices
        return Alert(
            "CognitoDeviceSuddenGrowth",
            Severity.WARNING,
            _named(
                "cognito_user_pool:devices:delta1d\n"
                f"> clamp_min({share} * cognito_user_pool:devices:max1h_offset1d, {least})"
            ),
            "The devices of {{ $labels.user_pool_name }} grow fast",
            _THE_POOL[0].upper() + _THE_POOL[1:] + " has {{ $value | humanize }} devices more than a day ago; "
            f"expected a growth of at most {share:.0%} (or of {least} devices).",
            self.timing.lasting,
            self.timing.keep_firing,
        )

    def _sweep_failing(self) -> Alert:
        intervals = self.thresholds.intervals_without_success
        success = "cognito_user_pool:last_sweep_success_timestamp_seconds:min"
        interval = "cognito_user_pool:refresh_interval_seconds:max"
        state = 'cognito_user_pool_state:state:max{state=~"denied|missing"}'
        return Alert(
            "CognitoDeviceSweepFailing",
            Severity.WARNING,
            _named(
                "cognito_user_pool:sweep_failures:increase3h > 0\n"
                f"and on ({POOL})\ntime() - {success} > {intervals} * {interval}\n"
                f"unless on ({POOL})\n{state} == 1"
            ),
            "Sweeps of {{ $labels.user_pool_name }} fail",
            "Failed sweeps of " + _THE_POOL + ' within 3 hours: about {{ $value | printf "%.0f" }}; none has read '
            f"every user for {intervals} refresh intervals.",
            self.timing.settled,
        )

    def _data_old(self) -> Alert:
        intervals = self.thresholds.intervals_until_old
        oldest = "cognito_user_pool:oldest_observation_timestamp_seconds:min"
        interval = "cognito_user_pool:refresh_interval_seconds:max"
        return Alert(
            "CognitoDeviceDataOld",
            Severity.WARNING,
            _named(f"time() - {oldest}\n> {intervals} * {interval}"),
            "What is shown of {{ $labels.user_pool_name }} is old",
            "Some users of " + _THE_POOL + " were last read {{ $value | humanizeDuration }} ago, more than "
            f"{intervals} refresh intervals.",
            self.timing.settled,
        )

    def _budget_too_small(self) -> Alert:
        duration = "cognito_user_pool:sweep_duration_seconds:max"
        interval = "cognito_user_pool:refresh_interval_seconds:max"
        return Alert(
            "CognitoDeviceBudgetTooSmall",
            Severity.WARNING,
            _named(f"{duration}\n/ {interval}\n> 1"),
            "The rate budget cannot keep the interval of {{ $labels.user_pool_name }}",
            "A sweep of " + _THE_POOL + " takes {{ $value | humanizePercentage }} of its refresh interval.",
            self.timing.lasting,
        )

    def _tracking_off(self) -> Alert:
        tracked = f'max_over_time(cognito_user_pool_state:state:max{{state="ok"}}[{self.thresholds.tracked_within}:1h])'
        return Alert(
            "CognitoDeviceTrackingOff",
            Severity.WARNING,
            _named(f"{_in_state('tracking_off')}\nand on ({POOL})\n{tracked} == 1"),
            "{{ $labels.user_pool_name }} no longer tracks devices",
            _THE_POOL[0].upper() + _THE_POOL[1:] + " tracked devices within the last "
            f"{self.thresholds.tracked_within} and does not now: its users are not recognised by their devices.",
            self.timing.settled,
        )

    def _denied(self) -> Alert:
        return Alert(
            "CognitoDevicePoolDenied",
            Severity.WARNING,
            _named(_in_state("denied")),
            "AWS denies access to {{ $labels.user_pool_name }}",
            "AWS does not let the exporter read " + _THE_POOL + ".",
            self.timing.settled,
        )

    def _missing(self) -> Alert:
        return Alert(
            "CognitoDevicePoolMissing",
            Severity.WARNING,
            _named(_in_state("missing")),
            "{{ $labels.user_pool_name }} does not exist",
            "The exporter is configured for " + _THE_POOL + ", which AWS does not know.",
            self.timing.settled,
        )

    def _unread(self) -> Alert:
        return Alert(
            "CognitoDevicePoolUnread",
            Severity.WARNING,
            _named(_in_state("unread")),
            "{{ $labels.user_pool_name }} is still not read",
            "No sweep of " + _THE_POOL + f" has completed for more than {self.thresholds.unread_for}, so that nothing "
            "is known of its devices.",
            self.thresholds.unread_for,
        )

    def _series_dropped(self) -> Alert:
        return Alert(
            "CognitoDeviceSeriesDropped",
            Severity.INFO,
            _named(f"{self._most('cognito_user_pool:series_dropped:sum')} > 0"),
            "Not every user of {{ $labels.user_pool_name }} is shown",
            "{{ $value | humanize }} user and device series of " + _THE_POOL + " are left out because `limits.series` "
            "is reached; sums of the pool are complete.",
            self.timing.lasting,
        )

    def _threshold_not_exported(self) -> Alert:
        wanted = self.thresholds.stale_after
        return Alert(
            "CognitoDeviceThresholdNotExported",
            Severity.INFO,
            _named(
                f"{self._most('cognito_user_pool:devices:sum')}\nunless on ({POOL})\n"
                f"{self._stale('cognito_user_pool_threshold:stale_devices:sum')}"
            ),
            "Nothing watches for idle devices of {{ $labels.user_pool_name }}",
            f"`stale_after` has no {wanted} for " + _THE_POOL + ", so that no alert on idle devices can fire for its "
            "{{ $value | humanize }} devices.",
            self.timing.lasting,
        )

    def _throttled(self) -> Alert:
        limit = self.thresholds.throttled_share
        return Alert(
            "CognitoDeviceThrottled",
            Severity.WARNING,
            f"cognito_target:aws_requests_throttled:ratio_rate15m > {limit}",
            "AWS throttles the exporter in {{ $labels.aws_region }}",
            "AWS throttles {{ $value | humanizePercentage }} of the requests to account {{ $labels.aws_account_id }} "
            "in {{ $labels.aws_region }}; " + f"expected at most {limit:.0%}. Sign-ups and verification codes of "
            "users share that quota.",
            self.timing.lasting,
            self.timing.keep_firing,
        )

    def _discovery_failing(self) -> Alert:
        up = self._last("cognito_exporter_discovery_up")
        return Alert(
            "CognitoDeviceDiscoveryFailing",
            Severity.WARNING,
            f"min by ({DEPLOYMENT}, rule, aws_region) ({up}) == 0",
            "Pools in {{ $labels.aws_region }} are not found",
            "Rule {{ $labels.rule }} of discovery cannot see all pools in {{ $labels.aws_region }}: new ones are "
            "missing, and deleted ones stay.",
            self.timing.lasting,
            self.timing.keep_firing,
        )

    def _config_reload_failed(self) -> Alert:
        loaded = self._last("cognito_exporter_config_last_reload_success_timestamp_seconds")
        successful = self._last("cognito_exporter_config_last_reload_successful")
        return Alert(
            "CognitoDeviceConfigReloadFailed",
            Severity.WARNING,
            f"max by ({INSTANCE}) (time() - {loaded})\nand on ({INSTANCE})\n{successful} == 0",
            "{{ $labels.instance }} runs on an old configuration",
            "The last configuration given to {{ $labels.instance }} was refused; the one in force was loaded "
            "{{ $value | humanizeDuration }} ago.",
            self.timing.soon,
        )

    def _shard_missing(self) -> Alert:
        return Alert(
            "CognitoDeviceShardMissing",
            Severity.WARNING,
            "cognito_exporter:shards:max\n- cognito_exporter:shards_seen:count\n> 0",
            "Shards of {{ $labels.job }} are missing",
            "Shards of {{ $labels.job }} that are not scraped: {{ $value | humanize }}; their users are missing from "
            "every count.",
            self.timing.soon,
        )

    def _identity_exposed(self) -> Alert:
        exposed = self._last("cognito_exporter_identity_exposed")
        return Alert(
            "CognitoDeviceRawIdentityExposed",
            Severity.CRITICAL,
            f"max by ({INSTANCE}) ({exposed}) == 1",
            "{{ $labels.instance }} shows user names to everyone",
            "{{ $labels.instance }} serves raw user names without authentication beyond loopback.",
        )

    def _absent(self) -> Alert:
        info = "cognito_exporter_build_info"
        return Alert(
            "CognitoDeviceExporterAbsent",
            Severity.CRITICAL,
            f"(\n  group by ({DEPLOYMENT}) (last_over_time({info}[1d]))\n"
            f"  unless on ({DEPLOYMENT})\n  group by ({DEPLOYMENT}) ({info})\n)\n"
            f"or\nabsent_over_time({info}[1d])",
            "The Cognito device exporter is gone",
            'Prometheus scrapes no cognito-device-exporter{{ with $labels.job }} of job "{{ . }}"{{ end }}: nothing '
            "is known of any pool.",
            self.timing.soon,
        )

    def _last(self, series: str) -> str:
        """The last known value of an instance, though a scrape was missed meanwhile."""
        return f"last_over_time({series}[{self.timing.bridge}])"

    def _most(self, series: str, matchers: str = "") -> str:
        """A sum over shards, though one of them missed a scrape meanwhile."""
        selector = f"{series}{{{matchers}}}" if matchers else series
        return f"max_over_time({selector}[{self.timing.bridge}])"

    def _stale(self, series: str) -> str:
        return self._most(series, f'threshold="{self.thresholds.stale_after}"')


def _in_state(state: str) -> str:
    return f'max by ({POOL}) (cognito_user_pool_state:state:max{{state="{state}"}}) == 1'
