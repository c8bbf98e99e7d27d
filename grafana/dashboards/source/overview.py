"""Dashboard *Overview*: all pools at a glance."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from grafana.dashboards.source import buckets, common, promql, theme, variables
from grafana.dashboards.source.layout import DashboardInfo, Section, dashboard
from grafana.dashboards.source.links import POOL_OF_ROW, POOL_OF_SERIES, Uid, pool_links
from grafana.dashboards.source.panels import (
    Columns,
    Frame,
    LineOptions,
    Query,
    ValueOptions,
    bars,
    by_bucket,
    lines,
    multiplied,
    number,
    rows,
)
from grafana.dashboards.source.promql import AT_END, OVER_THRESHOLD, REMEMBERED, ratio, select, total, with_pool_name
from grafana.dashboards.source.theme import colored, fixed, label_mapping, override

_CARRIED = ("datasource", "threshold", "interval")
_TO_POOL = pool_links(POOL_OF_SERIES, *_CARRIED)
_TO_POOL_OF_ROW = pool_links(POOL_OF_ROW, *_CARRIED)
_ALL_DEVICES = total("cognito_user_pool_devices")
_STALE = total("cognito_user_pool_stale_devices", OVER_THRESHOLD)


def build() -> model.Dashboard:
    """Build the dashboard."""
    return dashboard(
        DashboardInfo(
            Uid.OVERVIEW,
            "Cognito devices / Overview",
            "Devices of all user pools: how many there are, how long they have been idle, and which pools need "
            "attention.",
            since="now-24h",
        ),
        [variables.datasource(), variables.pools(), variables.threshold(), variables.interval("1d")],
        _numbers(),
        [
            Section(
                10, "Idle devices", [common.stale_by_threshold(11), _worst_pools(), _ages(), _stale_share_over_time()]
            ),
            Section(20, "Devices and growth", [common.by_status(21), _largest_pools(), _growth(), _users()]),
            Section(30, "Pools", [_pools()]),
        ],
    )


def _numbers() -> list[model.Panel]:
    return [
        number(
            Frame(
                1,
                "Stale share",
                "Devices idle for longer than $threshold, as a share of all devices on record.",
                3,
                5,
            ),
            Query(ratio(_STALE, _ALL_DEVICES)),
            ValueOptions(theme.SHARE, decimals=1, thresholds=theme.STALE_SHARE),
        ),
        number(
            Frame(
                2,
                "Stale, skips MFA",
                "Remembered devices idle for longer than $threshold in pools where a remembered device may skip the "
                "second factor. Review these first.",
                3,
                5,
            ),
            Query(promql.mfa_bypass_devices("cognito_user_pool_stale_devices", OVER_THRESHOLD)),
            ValueOptions(thresholds=theme.WARN_IF_ANY),
        ),
        number(
            Frame(3, "Stale devices", "Devices idle for longer than $threshold, remembered or not.", 3, 5),
            Query(_STALE),
        ),
        number(
            Frame(4, "Devices", "Devices on record for the observed users of the selected pools.", 3, 5),
            Query(_ALL_DEVICES),
            ValueOptions(color=fixed("blue")),
        ),
        number(
            Frame(
                5,
                "Users",
                "Users observed in the selected pools, including those without devices. Federated users are skipped by "
                "default.",
                3,
                5,
            ),
            Query(total("cognito_user_pool_users")),
            ValueOptions(color=fixed("blue")),
        ),
        number(
            Frame(6, "Remembered", "Share of devices that are remembered.", 3, 5),
            Query(ratio(total("cognito_user_pool_devices", REMEMBERED), _ALL_DEVICES)),
            ValueOptions(theme.SHARE, decimals=1, color=fixed(theme.STATUS_COLORS["remembered"])),
        ),
        number(
            Frame(
                7,
                "May skip MFA",
                "Share of devices that are remembered in a pool where a remembered device may skip the second factor.",
                3,
                5,
            ),
            Query(ratio(promql.mfa_bypass_devices("cognito_user_pool_devices"), _ALL_DEVICES)),
            ValueOptions(theme.SHARE, decimals=1, color=fixed(theme.STATUS_COLORS["remembered"])),
        ),
        number(
            Frame(
                8,
                "Unhealthy pools",
                "Pools that are missing, denied or failing. Their data is out of date or absent. The table at the "
                "bottom lists them.",
                3,
                5,
            ),
            Query(promql.unhealthy_pools()),
            ValueOptions(thresholds=theme.CRITICAL_IF_ANY),
        ),
    ]


def _worst_pools() -> model.Panel:
    return bars(
        Frame(
            12,
            f"Worst {promql.LIMIT} pools by stale share",
            "Pools with the largest share of devices idle for longer than $threshold. Click a bar to open the pool.",
            12,
            8,
        ),
        Query(f"sort_desc({with_pool_name(f'topk({promql.LIMIT}, {promql.stale_share()})')})", "{{user_pool_name}}"),
        ValueOptions(
            theme.SHARE,
            decimals=1,
            minimum=0,
            maximum=1,
            thresholds=theme.STALE_SHARE,
            links=_TO_POOL,
            name="${__field.labels.user_pool_name}",
            none="No devices on record",
        ),
    )


def _ages() -> model.Panel:
    return by_bucket(
        Frame(
            13,
            "Age since last authentication",
            "Number of devices by time since the last authentication, over time. A band that rises from the bottom is "
            "a cohort that does not return. A steady band at the bottom is daily use. Bucket bounds: 1 h, 1, 7, 14, "
            "30, 60, 90, 180 and 365 days.",
            12,
            9,
        ),
        f"sum by (le) ({select('cognito_user_pool_device_last_authentication_age_seconds_bucket')})",
        buckets.ages_by_bound(),
    )


def _stale_share_over_time() -> model.Panel:
    share = promql.highest(promql.stale_share(), promql.stale_share(AT_END))
    return lines(
        Frame(
            14,
            f"Stale share of the worst {promql.LIMIT} pools",
            "Share of devices idle for longer than $threshold over time, for the pools with the largest share now.",
            12,
            9,
        ),
        [Query(with_pool_name(share), "{{user_pool_name}}")],
        ValueOptions(theme.SHARE, 1, 0, thresholds=theme.STALE_SHARE, links=_TO_POOL),
        LineOptions(legend_right=True),
    )


def _largest_pools() -> model.Panel:
    return lines(
        Frame(22, f"Largest {promql.LIMIT} pools by devices", "Devices on record in the largest pools.", 12, 8),
        [Query(with_pool_name(promql.highest(promql.devices(), promql.devices(AT_END))), "{{user_pool_name}}")],
        ValueOptions(links=_TO_POOL),
        LineOptions(legend_right=True),
    )


def _growth() -> model.Panel:
    def growth(at: str = "") -> str:
        return f"{promql.devices(at)} - {promql.devices(f' offset $interval{at}')}"

    fastest = promql.highest(growth(), f"abs({growth(AT_END)})")
    return lines(
        Frame(
            23,
            f"Growth over $interval of the {promql.LIMIT} pools that changed most",
            "Change in the number of devices over $interval. A jump means an import, an attack, or a client that "
            "registers a device at every sign-in.",
            12,
            8,
        ),
        [Query(with_pool_name(fastest), "{{user_pool_name}}")],
        ValueOptions(links=_TO_POOL, none="The history is shorter than the interval: select a shorter one"),
        LineOptions(legend_right=True),
    )


def _users() -> model.Panel:
    return lines(
        Frame(
            24,
            "Users and devices",
            "Observed users and their devices. If the lines diverge, users accumulate devices.",
            12,
            8,
        ),
        [Query(_ALL_DEVICES, "devices"), Query(total("cognito_user_pool_users"), "users")],
        ValueOptions(overrides=colored({"devices": "blue", "users": "green"})),
    )


def _pools() -> model.Panel:
    titles = {
        "user_pool_name": "Pool",
        "user_pool_id": "user_pool_id",
        "aws_account_id": "Account",
        "aws_region": "Region",
        "state": "State",
        "device_tracking": "Tracking",
        "mfa": "MFA",
        "mfa_bypass": "May skip MFA",
        "Value #B": "Devices",
        "Stale": "Stale",
        "Value #C": "Stale share",
    }
    return rows(
        Frame(
            31,
            "Pools",
            "All configured and discovered pools, their settings in Cognito, and their devices idle for longer than "
            "$threshold. Click a name to open the pool.",
            24,
            11,
        ),
        [promql.pool_info(), promql.devices(), promql.stale_share()],
        Columns(titles, "user_pool_id", (multiplied("Value #B", "Value #C", "Stale"),), "Stale share"),
        ValueOptions(
            theme.TEXT,
            overrides=[
                override("Pool", links=_TO_POOL_OF_ROW, custom__minWidth=180),
                override("user_pool_id", displayName="Id", custom__width=210),
                override("Account", custom__width=130),
                override("Region", custom__width=120),
                override(
                    "State", mappings=[label_mapping(theme.STATE_COLORS)], custom__cellOptions={"type": "color-text"}
                ),
                override("Tracking", mappings=[label_mapping(theme.TRACKING_COLORS)], custom__width=100),
                override("MFA", custom__width=100),
                override("May skip MFA", custom__width=130),
                override("Devices", unit=theme.COUNT, custom__width=110),
                override("Stale", unit=theme.COUNT, decimals=0, mappings=[theme.BLANK_IF_NULL], custom__width=110),
                override(
                    "Stale share",
                    unit=theme.SHARE,
                    decimals=1,
                    min=0,
                    max=1,
                    thresholds=theme.STALE_SHARE,
                    custom__cellOptions={"type": "gauge", "mode": "basic", "valueDisplayMode": "text"},
                    custom__minWidth=200,
                ),
            ],
        ),
    )
