"""*Overview*: all pools at a glance, and which of them to look into."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from grafana.dashboards.source import buckets, common, look, promql, variables
from grafana.dashboards.source.layout import Section, Words, dashboard
from grafana.dashboards.source.links import OF_ROW, OF_SERIES, Uid, to_pool
from grafana.dashboards.source.look import colored, fixed, override, words
from grafana.dashboards.source.panels import (
    Columns,
    Drawing,
    Frame,
    Query,
    Values,
    bars,
    by_bucket,
    lines,
    multiplied,
    number,
    rows,
)
from grafana.dashboards.source.promql import AT_END, OVER_THRESHOLD, REMEMBERED, named, ratio, select, total

_CARRIED = ("datasource", "threshold", "interval")
_TO_POOL = to_pool(OF_SERIES, *_CARRIED)
_TO_POOL_OF_ROW = to_pool(OF_ROW, *_CARRIED)
_ALL_DEVICES = total("cognito_user_pool_devices")
_STALE = total("cognito_user_pool_stale_devices", OVER_THRESHOLD)


def build() -> model.Dashboard:
    """The dashboard."""
    return dashboard(
        Words(
            Uid.OVERVIEW,
            "Cognito devices / Overview",
            "Remembered devices of all user pools: how many there are, how long they have been idle, "
            "and which pools to look into.",
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
            Values(look.SHARE, decimals=1, thresholds=look.STALE_SHARE),
        ),
        number(
            Frame(
                2,
                "Stale, skips MFA",
                "Remembered devices idle for longer than $threshold in pools where a remembered device may skip the "
                "second factor: forgotten devices that still open a door.",
                3,
                5,
            ),
            Query(promql.skipping_mfa("cognito_user_pool_stale_devices", OVER_THRESHOLD)),
            Values(thresholds=look.NONE_IS_BEST),
        ),
        number(
            Frame(3, "Stale devices", "Devices idle for longer than $threshold, remembered or not.", 3, 5),
            Query(_STALE),
        ),
        number(
            Frame(4, "Devices", "Devices on record for the observed users of the chosen pools.", 3, 5),
            Query(_ALL_DEVICES),
            Values(color=fixed("blue")),
        ),
        number(
            Frame(
                5,
                "Users",
                "Users observed in the chosen pools, those without a device included. Federated users are skipped "
                "unless configured otherwise.",
                3,
                5,
            ),
            Query(total("cognito_user_pool_users")),
            Values(color=fixed("blue")),
        ),
        number(
            Frame(6, "Remembered", "The share of devices that are remembered.", 3, 5),
            Query(ratio(total("cognito_user_pool_devices", REMEMBERED), _ALL_DEVICES)),
            Values(look.SHARE, decimals=1, color=fixed(look.STATUS_COLORS["remembered"])),
        ),
        number(
            Frame(
                7,
                "May skip MFA",
                "The share of devices that are remembered in a pool where a remembered device may skip the second "
                "factor.",
                3,
                5,
            ),
            Query(ratio(promql.skipping_mfa("cognito_user_pool_devices"), _ALL_DEVICES)),
            Values(look.SHARE, decimals=1, color=fixed(look.STATUS_COLORS["remembered"])),
        ),
        number(
            Frame(
                8,
                "Pools in trouble",
                "Pools that are missing, denied or failing: what is shown of them is old or absent. The table at the "
                "bottom says which.",
                3,
                5,
            ),
            Query(promql.pools_in_trouble()),
            Values(thresholds=look.NONE_IS_A_MUST),
        ),
    ]


def _worst_pools() -> model.Panel:
    return bars(
        Frame(
            12,
            f"Worst {promql.LIMIT} pools by stale share",
            "The pools with the largest share of devices idle for longer than $threshold. Choose a bar to open its "
            "pool.",
            12,
            8,
        ),
        Query(f"sort_desc({named(f'topk({promql.LIMIT}, {promql.stale_share()})')})", "{{user_pool_name}}"),
        Values(
            look.SHARE,
            decimals=1,
            minimum=0,
            maximum=1,
            thresholds=look.STALE_SHARE,
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
            "How many devices last authenticated how long ago, at each moment. A band that climbs from the bottom is a "
            "cohort that does not come back; a steady bottom is daily use. Buckets end at 1 h, 1, 7, 14, 30, 60, 90, "
            "180 and 365 days.",
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
            "Whether the pools that are worst now are getting better: the share of devices idle for longer than "
            "$threshold.",
            12,
            9,
        ),
        [Query(named(share), "{{user_pool_name}}")],
        Values(look.SHARE, 1, 0, thresholds=look.STALE_SHARE, links=_TO_POOL),
        Drawing(legend_right=True),
    )


def _largest_pools() -> model.Panel:
    return lines(
        Frame(22, f"Largest {promql.LIMIT} pools by devices", "Devices on record in the largest pools.", 12, 8),
        [Query(named(promql.highest(promql.devices(), promql.devices(AT_END))), "{{user_pool_name}}")],
        Values(links=_TO_POOL),
        Drawing(legend_right=True),
    )


def _growth() -> model.Panel:
    def growth(at: str = "") -> str:
        return f"{promql.devices(at)} - {promql.devices(f' offset $interval{at}')}"

    fastest = promql.highest(growth(), f"abs({growth(AT_END)})")
    return lines(
        Frame(
            23,
            f"Growth over $interval of the {promql.LIMIT} pools that changed most",
            "Devices gained or lost against $interval before. A jump is an import, an attack, or a client that "
            "registers a device with every sign-in.",
            12,
            8,
        ),
        [Query(named(fastest), "{{user_pool_name}}")],
        Values(links=_TO_POOL, none="No history as long as the interval yet: choose a shorter one"),
        Drawing(legend_right=True),
    )


def _users() -> model.Panel:
    return lines(
        Frame(
            24,
            "Users and devices",
            "Users observed and their devices. Where lines drift apart, users gather devices.",
            12,
            8,
        ),
        [Query(_ALL_DEVICES, "devices"), Query(total("cognito_user_pool_users"), "users")],
        Values(overrides=colored({"devices": "blue", "users": "green"})),
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
            "Every configured or discovered pool, what Cognito says of it, and how many of its devices are idle for "
            "longer than $threshold. Choose a name to open the pool.",
            24,
            11,
        ),
        [promql.described_pools(), promql.devices(), promql.stale_share()],
        Columns(titles, "user_pool_id", (multiplied("Value #B", "Value #C", "Stale"),), "Stale share"),
        Values(
            look.TEXT,
            overrides=[
                override("Pool", links=_TO_POOL_OF_ROW, custom__minWidth=180),
                override("user_pool_id", displayName="Id", custom__width=210),
                override("Account", custom__width=130),
                override("Region", custom__width=120),
                override("State", mappings=[words(look.STATE_COLORS)], custom__cellOptions={"type": "color-text"}),
                override("Tracking", mappings=[words(look.TRACKING_COLORS)], custom__width=100),
                override("MFA", custom__width=100),
                override("May skip MFA", custom__width=130),
                override("Devices", unit=look.COUNT, custom__width=110),
                override("Stale", unit=look.COUNT, decimals=0, mappings=[look.BLANK_IF_NONE], custom__width=110),
                override(
                    "Stale share",
                    unit=look.SHARE,
                    decimals=1,
                    min=0,
                    max=1,
                    thresholds=look.STALE_SHARE,
                    custom__cellOptions={"type": "gauge", "mode": "basic", "valueDisplayMode": "text"},
                    custom__minWidth=200,
                ),
            ],
        ),
    )
