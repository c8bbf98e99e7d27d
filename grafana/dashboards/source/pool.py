"""Dashboard *Pool*: one pool in detail."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from grafana.dashboards.source import buckets, common, promql, theme, variables
from grafana.dashboards.source.layout import DashboardInfo, Section, dashboard
from grafana.dashboards.source.links import Uid
from grafana.dashboards.source.panels import (
    Columns,
    Frame,
    LineOptions,
    Query,
    ValueOptions,
    bucket_bars,
    by_bucket,
    lines,
    number,
    rows,
)
from grafana.dashboards.source.promql import OVER_THRESHOLD, ratio, select, total
from grafana.dashboards.source.theme import colored, fixed, label_mapping, override

_AGES = f"sum by (le) ({select('cognito_user_pool_device_last_authentication_age_seconds_bucket')})"
_PER_USER = f"sum by (le) ({select('cognito_user_pool_devices_per_user_bucket')})"
_ALL_DEVICES = total("cognito_user_pool_devices")
_STALE = total("cognito_user_pool_stale_devices", OVER_THRESHOLD)
_OLDEST = f"(time() - min({select('cognito_user_pool_oldest_device_authentication_timestamp_seconds')})) / 86400"
_NEWEST = f"time() - max({select('cognito_user_pool_newest_device_authentication_timestamp_seconds')})"


def build() -> model.Dashboard:
    """Build the dashboard."""
    return dashboard(
        DashboardInfo(
            Uid.POOL,
            "Cognito devices / Pool",
            "One user pool in detail: ages of its devices, devices per user, and its settings.",
            since="now-24h",
        ),
        [variables.datasource(), variables.pool(), variables.threshold(), variables.interval("1d")],
        [_about(), *_numbers()],
        [
            Section(
                20,
                "Age since last authentication",
                [_age_over_time(), _age_now(), _quantiles(), common.stale_by_threshold(24)],
            ),
            Section(30, "Devices", [common.by_status(31), _growth(), _date_sources(), _extremes()]),
            Section(40, "Users", [_users(), _per_user_now(), _most_devices()]),
        ],
    )


def _about() -> model.Panel:
    titles = {
        "user_pool_name": "Pool",
        "user_pool_id": "Id",
        "aws_account_id": "Account",
        "aws_region": "Region",
        "state": "State",
        "device_tracking": "Device tracking",
        "mfa": "MFA",
        "mfa_bypass": "May skip MFA",
    }
    return rows(
        Frame(
            1,
            "About",
            "Settings of the pool in Cognito, and its state. Device tracking: always (every device is remembered), "
            "opt in (users decide) or off (no device data). May skip MFA: a remembered device may skip the second "
            "factor.",
            24,
            3,
        ),
        [promql.pool_info()],
        Columns(titles),
        ValueOptions(
            theme.TEXT,
            overrides=[
                override(
                    "State", mappings=[label_mapping(theme.STATE_COLORS)], custom__cellOptions={"type": "color-text"}
                ),
                override(
                    "Device tracking",
                    mappings=[label_mapping(theme.TRACKING_COLORS)],
                    custom__cellOptions={"type": "color-text"},
                ),
            ],
        ),
    )


def _numbers() -> list[model.Panel]:
    per_user = "cognito_user_pool_devices_per_user"
    estimated = f"max({select('cognito_user_pool_estimated_users')})"
    return [
        number(
            Frame(11, "Stale share", "Devices idle for longer than $threshold, as a share of all.", 3, 5),
            Query(ratio(_STALE, _ALL_DEVICES)),
            ValueOptions(theme.SHARE, decimals=1, thresholds=theme.STALE_SHARE),
        ),
        number(
            Frame(
                12,
                "Stale, skips MFA",
                "Remembered devices idle for longer than $threshold, if a remembered device may skip the second "
                "factor in this pool; else 0.",
                3,
                5,
            ),
            Query(promql.mfa_bypass_devices("cognito_user_pool_stale_devices", OVER_THRESHOLD)),
            ValueOptions(thresholds=theme.WARN_IF_ANY),
        ),
        number(
            Frame(13, "Stale devices", "Devices idle for longer than $threshold, remembered or not.", 3, 5),
            Query(_STALE),
        ),
        number(
            Frame(14, "Devices", "Devices on record for the observed users.", 3, 5),
            Query(_ALL_DEVICES),
            ValueOptions(color=fixed("blue")),
        ),
        number(
            Frame(15, "Users", "Observed users, including those without devices.", 3, 5),
            Query(total("cognito_user_pool_users")),
            ValueOptions(color=fixed("blue")),
        ),
        number(
            Frame(16, "Devices per user", "Mean over all observed users, including those without devices.", 3, 5),
            Query(ratio(total(f"{per_user}_gsum"), total(f"{per_user}_gcount"))),
            ValueOptions(theme.NONE, decimals=2, color=fixed("blue")),
        ),
        number(
            Frame(
                17,
                "Observed users",
                "Observed users as a share of Cognito's estimate. A value well below 100 % means that a user selection "
                "is configured or that federated users are skipped.",
                3,
                5,
            ),
            Query(ratio(total("cognito_user_pool_users"), estimated)),
            ValueOptions(theme.SHARE, decimals=1),
        ),
        number(
            Frame(
                18,
                "Age of this data",
                "Age of the least recently refreshed user. The Exporter dashboard compares it with the refresh "
                "interval.",
                3,
                5,
            ),
            Query(f"max({promql.data_age()})"),
            ValueOptions(theme.SECONDS, decimals=0),
        ),
    ]


def _age_over_time() -> model.Panel:
    return by_bucket(
        Frame(
            21,
            "Age over time",
            "Number of devices by time since the last authentication, over time. A band that rises from the bottom is "
            "a cohort that does not return. Bucket bounds: 1 h, 1, 7, 14, 30, 60, 90, 180 and 365 days.",
            16,
            10,
        ),
        _AGES,
        buckets.ages_by_bound(),
    )


def _age_now() -> model.Panel:
    return bucket_bars(
        Frame(22, "Age now", "Number of devices by time since the last authentication, now.", 8, 10),
        _AGES,
        buckets.ages_by_span(),
        ValueOptions(minimum=0, overrides=buckets.age_colors(), none="No devices on record"),
    )


def _quantiles() -> model.Panel:
    return lines(
        Frame(
            23,
            "Median and oldest tenth",
            "Half of the devices are idle for longer than the median, a tenth for longer than the 90th percentile. "
            "Both are interpolated within their bucket and are at most 365 days.",
            12,
            8,
        ),
        [
            Query(f"histogram_quantile(0.5, {_AGES}) / 86400", "median"),
            Query(f"histogram_quantile(0.9, {_AGES}) / 86400", "90th percentile"),
        ],
        ValueOptions(theme.DAYS, decimals=0, overrides=colored({"median": "green", "90th percentile": "orange"})),
    )


def _growth() -> model.Panel:
    return lines(
        Frame(
            32,
            "Growth over $interval",
            "Change in the number of devices and users over $interval. A jump means an import, an attack, or a client "
            "that registers a device at every sign-in.",
            12,
            8,
        ),
        [
            Query(promql.growth("cognito_user_pool_devices"), "devices"),
            Query(promql.growth("cognito_user_pool_users"), "users"),
        ],
        ValueOptions(
            overrides=colored({"devices": "blue", "users": "green"}),
            none="The history is shorter than the interval: select a shorter one",
        ),
    )


def _date_sources() -> model.Panel:
    return lines(
        Frame(
            33,
            "Date source of ages",
            "authenticated: the last authentication. created: the creation, if Cognito reports no last authentication. "
            "none: neither date, so the device has no age and is never stale.",
            12,
            8,
        ),
        [Query(f"sum by (date_source) ({select('cognito_user_pool_devices_by_date_source')})", "{{date_source}}")],
        ValueOptions(overrides=colored({"authenticated": "green", "created": "yellow", "none": "red"})),
        LineOptions(stacked=True),
    )


def _extremes() -> model.Panel:
    return lines(
        Frame(
            34,
            "Extremes",
            "Idle time of the longest idle device, and time since the latest authentication of any device. If the "
            "latter grows while users sign in, sweeps do not keep up.",
            12,
            8,
        ),
        [Query(_OLDEST, "idle for longest"), Query(_NEWEST, "latest sign-in")],
        ValueOptions(
            theme.DAYS,
            decimals=0,
            overrides=[
                override("idle for longest", color=fixed("red")),
                override(
                    "latest sign-in",
                    unit=theme.SECONDS,
                    color=fixed("green"),
                    custom__axisPlacement="right",
                ),
            ],
        ),
    )


def _users() -> model.Panel:
    return lines(
        Frame(
            41,
            "Estimated and observed users",
            "Cognito's own estimate, which is hours old, and the users observed by the sweep.",
            12,
            8,
        ),
        [
            Query(f"max({select('cognito_user_pool_estimated_users')})", "estimated"),
            Query(total("cognito_user_pool_users"), "observed"),
        ],
        ValueOptions(overrides=colored({"estimated": theme.OFF, "observed": "green"})),
    )


def _per_user_now() -> model.Panel:
    return bucket_bars(
        Frame(42, "Users by number of devices", "Current distribution of the number of devices per user.", 6, 8),
        _PER_USER,
        buckets.devices_per_user(),
        ValueOptions(minimum=0, color=fixed("blue"), none="No users observed"),
    )


def _most_devices() -> model.Panel:
    most = f"topk(10, max by (user) ({select('cognito_user_devices')}))"
    return rows(
        Frame(
            43,
            "Users with the most devices",
            "Requires detail: user or device for this pool. `identify` prints the label of a user name.",
            6,
            8,
        ),
        [most],
        Columns({"user": "User", "Value": "Devices"}, sort_by="Devices"),
        ValueOptions(
            theme.TEXT,
            overrides=[override("Devices", unit=theme.COUNT, custom__width=90)],
            none="Set detail: user or device for this pool to see its users",
        ),
    )
