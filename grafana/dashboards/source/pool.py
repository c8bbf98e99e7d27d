"""*Pool*: one pool in depth."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from grafana.dashboards.source import buckets, common, look, promql, variables
from grafana.dashboards.source.layout import Section, Words, dashboard
from grafana.dashboards.source.links import Uid
from grafana.dashboards.source.look import colored, fixed, override, words
from grafana.dashboards.source.panels import (
    Columns,
    Drawing,
    Frame,
    Query,
    Values,
    bucket_bars,
    by_bucket,
    lines,
    number,
    rows,
)
from grafana.dashboards.source.promql import OVER_THRESHOLD, ratio, select, total

_AGES = f"sum by (le) ({select('cognito_user_pool_device_last_authentication_age_seconds_bucket')})"
_PER_USER = f"sum by (le) ({select('cognito_user_pool_devices_per_user_bucket')})"
_ALL_DEVICES = total("cognito_user_pool_devices")
_STALE = total("cognito_user_pool_stale_devices", OVER_THRESHOLD)
_OLDEST = f"(time() - min({select('cognito_user_pool_oldest_device_authentication_timestamp_seconds')})) / 86400"
_NEWEST = f"time() - max({select('cognito_user_pool_newest_device_authentication_timestamp_seconds')})"


def build() -> model.Dashboard:
    """The dashboard."""
    return dashboard(
        Words(
            Uid.POOL,
            "Cognito devices / Pool",
            "One user pool in depth: how old its devices are, how many its users have, and how it is set up.",
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
            "What Cognito says of the pool, and whether it can be read. Tracking always: every device is remembered; "
            "opt in: users decide; off: users are not asked and there is no device data. May skip MFA: whether a "
            "remembered device may skip the second factor.",
            24,
            3,
        ),
        [promql.described_pools()],
        Columns(titles),
        Values(
            look.TEXT,
            overrides=[
                override("State", mappings=[words(look.STATE_COLORS)], custom__cellOptions={"type": "color-text"}),
                override(
                    "Device tracking",
                    mappings=[words(look.TRACKING_COLORS)],
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
            Values(look.SHARE, decimals=1, thresholds=look.STALE_SHARE),
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
            Query(promql.skipping_mfa("cognito_user_pool_stale_devices", OVER_THRESHOLD)),
            Values(thresholds=look.NONE_IS_BEST),
        ),
        number(
            Frame(13, "Stale devices", "Devices idle for longer than $threshold, remembered or not.", 3, 5),
            Query(_STALE),
        ),
        number(
            Frame(14, "Devices", "Devices on record for the observed users.", 3, 5),
            Query(_ALL_DEVICES),
            Values(color=fixed("blue")),
        ),
        number(
            Frame(15, "Users", "Users observed, those without a device included.", 3, 5),
            Query(total("cognito_user_pool_users")),
            Values(color=fixed("blue")),
        ),
        number(
            Frame(16, "Devices per user", "The mean over all observed users, those without a device included.", 3, 5),
            Query(ratio(total(f"{per_user}_gsum"), total(f"{per_user}_gcount"))),
            Values(look.NONE, decimals=2, color=fixed("blue")),
        ),
        number(
            Frame(
                17,
                "Observed users",
                "Users observed as a share of the number that Cognito estimates. Well below 100 %: a selection of "
                "users is configured, or users are federated and skipped.",
                3,
                5,
            ),
            Query(ratio(total("cognito_user_pool_users"), estimated)),
            Values(look.SHARE, decimals=1),
        ),
        number(
            Frame(
                18,
                "Age of this data",
                "How long ago the user read longest ago was read. The Exporter dashboard compares it with the refresh "
                "interval.",
                3,
                5,
            ),
            Query(f"max({promql.data_age()})"),
            Values(look.SECONDS, decimals=0),
        ),
    ]


def _age_over_time() -> model.Panel:
    return by_bucket(
        Frame(
            21,
            "Age over time",
            "How many devices last authenticated how long ago, at each moment. A band that climbs from the bottom is a "
            "cohort that does not come back. Buckets end at 1 h, 1, 7, 14, 30, 60, 90, 180 and 365 days.",
            16,
            10,
        ),
        _AGES,
        buckets.ages_by_bound(),
    )


def _age_now() -> model.Panel:
    return bucket_bars(
        Frame(22, "Age now", "How many devices last authenticated how long ago, now.", 8, 10),
        _AGES,
        buckets.ages_by_span(),
        Values(minimum=0, overrides=buckets.age_colors(), none="No devices on record"),
    )


def _quantiles() -> model.Panel:
    return lines(
        Frame(
            23,
            "Median and oldest tenth",
            "Half of the devices are idle for longer than the median, a tenth for longer than the 90th percentile; "
            "both are estimated within their bucket, and the 90th percentile goes no higher than 365 days.",
            12,
            8,
        ),
        [
            Query(f"histogram_quantile(0.5, {_AGES}) / 86400", "median"),
            Query(f"histogram_quantile(0.9, {_AGES}) / 86400", "90th percentile"),
        ],
        Values(look.DAYS, decimals=0, overrides=colored({"median": "green", "90th percentile": "orange"})),
    )


def _growth() -> model.Panel:
    return lines(
        Frame(
            32,
            "Growth over $interval",
            "Devices gained or lost against $interval before. A jump is an import, an attack, or a client that "
            "registers a device with every sign-in.",
            12,
            8,
        ),
        [
            Query(promql.growth("cognito_user_pool_devices"), "devices"),
            Query(promql.growth("cognito_user_pool_users"), "users"),
        ],
        Values(
            overrides=colored({"devices": "blue", "users": "green"}),
            none="No history as long as the interval yet: choose a shorter one",
        ),
    )


def _date_sources() -> model.Panel:
    return lines(
        Frame(
            33,
            "Where ages come from",
            "authenticated: the last authentication. created: the creation, where Cognito gives no last "
            "authentication. none: neither date, so the device is in no age and in no count of stale devices.",
            12,
            8,
        ),
        [Query(f"sum by (date_source) ({select('cognito_user_pool_devices_by_date_source')})", "{{date_source}}")],
        Values(overrides=colored({"authenticated": "green", "created": "yellow", "none": "red"})),
        Drawing(stacked=True),
    )


def _extremes() -> model.Panel:
    return lines(
        Frame(
            34,
            "Extremes",
            "How long the device idle for longest has been idle, and how long ago any device last authenticated. When "
            "the latter grows while people sign in, the sweep is not keeping up.",
            12,
            8,
        ),
        [Query(_OLDEST, "idle for longest"), Query(_NEWEST, "latest sign-in")],
        Values(
            look.DAYS,
            decimals=0,
            overrides=[
                override("idle for longest", color=fixed("red")),
                override(
                    "latest sign-in",
                    unit=look.SECONDS,
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
            "Cognito's own estimate, which is hours old, and the users that the sweep observed.",
            12,
            8,
        ),
        [
            Query(f"max({select('cognito_user_pool_estimated_users')})", "estimated"),
            Query(total("cognito_user_pool_users"), "observed"),
        ],
        Values(overrides=colored({"estimated": look.OFF, "observed": "green"})),
    )


def _per_user_now() -> model.Panel:
    return bucket_bars(
        Frame(42, "Users by number of devices", "How many users have how many devices, now.", 6, 8),
        _PER_USER,
        buckets.devices_per_user(),
        Values(minimum=0, color=fixed("blue"), none="No users observed"),
    )


def _most_devices() -> model.Panel:
    most = f"topk(10, max by (user) ({select('cognito_user_devices')}))"
    return rows(
        Frame(
            43,
            "Users with the most devices",
            "Needs detail user or device for this pool. The label is what identify prints for a user's name.",
            6,
            8,
        ),
        [most],
        Columns({"user": "User", "Value": "Devices"}, sort_by="Devices"),
        Values(
            look.TEXT,
            overrides=[override("Devices", unit=look.COUNT, custom__width=90)],
            none="Set detail: user or device for this pool to see its users",
        ),
    )
