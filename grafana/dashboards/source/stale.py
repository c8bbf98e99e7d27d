"""Dashboard *Stale devices*: lists of idle users and devices."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from grafana.dashboards.source import promql, theme, variables
from grafana.dashboards.source.layout import DashboardInfo, Section, dashboard
from grafana.dashboards.source.links import POOL_OF_ROW, Uid, pool_links
from grafana.dashboards.source.panels import Columns, Frame, Query, ValueOptions, number, rows
from grafana.dashboards.source.promql import CUTOFF, OVER_THRESHOLD, select, total, with_pool_name
from grafana.dashboards.source.theme import hidden, label_mapping, override, value_mapping

_DEVICE = "user_pool_id, user, device_key"
_STATUS = 'remembered_status=~"$status"'
_TO_POOL_OF_ROW = pool_links(POOL_OF_ROW, "datasource", "threshold", "interval")
_POOL_COLUMNS = (
    override("Pool", links=_TO_POOL_OF_ROW[:1]),
    hidden("user_pool_id"),
)
_USER_COLUMNS = {"user_pool_name": "Pool", "user_pool_id": "user_pool_id", "user": "User"}
_USER_OVERRIDES = (
    *_POOL_COLUMNS,
    override("User", custom__width=290),
    override("Idle", unit=theme.DAYS, decimals=0, custom__width=100),
    override("Last used", unit=theme.SECONDS, decimals=1, custom__width=120),
    override("Devices", unit=theme.COUNT, custom__width=90),
)

_LAST_AUTHENTICATION = f"max by ({_DEVICE}) ({select('cognito_device_last_authentication_timestamp_seconds')})"
_INFO = f"max by ({_DEVICE}, remembered_status, status) ({select('cognito_device_info', _STATUS)})"
_LISTED_DEVICES = f"""topk($rows,
  (time() - ({_LAST_AUTHENTICATION} < {CUTOFF})) / 86400
  * on ({_DEVICE}) group_left (remembered_status, status) {_INFO}
)"""

_NEWEST = f"max by (user_pool_id, user) ({select('cognito_user_newest_device_authentication_timestamp_seconds')})"
_DEVICE_COUNT = f"max by (user_pool_id, user) ({select('cognito_user_devices')})"

_NO_DEVICES = "No rows: no device is idle for that long, or no selected pool has detail: device (see above)"
_NO_IDLE_USERS = "No rows: no user is idle for that long, or no selected pool has detail: user or device"
_NO_USERS = "No rows: no selected pool has detail: user or device (see above)"


def build() -> model.Dashboard:
    """Build the dashboard."""
    return dashboard(
        DashboardInfo(
            Uid.STALE,
            "Cognito devices / Stale devices",
            "Sortable lists of users and devices that are idle for longer than a selected age. The lists require "
            "detail: user or device. All other panels work with detail: pool.",
            since="now-24h",
        ),
        [
            variables.datasource(),
            variables.pools(),
            variables.threshold(free=True),
            variables.hidden(variables.interval("1d")),
            variables.status(),
            variables.rows(),
        ],
        [*_numbers(), _detail(), *_numbers_of_idle()],
        [
            Section(10, "Devices idle for longer than $threshold", [_devices()]),
            Section(20, "Users", [_idle_users(), _most_devices()]),
        ],
    )


def _numbers() -> list[model.Panel]:
    return [
        number(
            Frame(
                1,
                "Stale in all",
                "Devices idle for longer than $threshold in all selected pools, with any detail. Empty for a threshold "
                "that stale_after does not contain.",
                4,
                4,
            ),
            Query(total("cognito_user_pool_stale_devices", OVER_THRESHOLD)),
            ValueOptions(none="–"),
        ),
        number(
            Frame(
                2,
                "Stale and listed",
                "Devices idle for longer than $threshold that have their own series. If fewer than Stale in all, "
                "some pools have detail: pool or user, or limits.series drops users.",
                4,
                4,
            ),
            Query(f"count({_LAST_AUTHENTICATION} < {CUTOFF}) or 0 * count({_LAST_AUTHENTICATION})"),
            ValueOptions(none="–"),
        ),
        number(
            Frame(
                3,
                "Dropped by limits.series",
                "User and device series that exceed limits.series. Whole users are missing from the lists.",
                4,
                4,
            ),
            Query(total("cognito_exporter_series_dropped")),
            ValueOptions(thresholds=theme.WARN_IF_ANY),
        ),
    ]


def _numbers_of_idle() -> list[model.Panel]:
    return [
        number(
            Frame(
                5,
                "Stale, skips MFA",
                "Remembered devices idle for longer than $threshold in pools where a remembered device may skip the "
                "second factor. Remove these first.",
                4,
                4,
            ),
            Query(promql.mfa_bypass_devices("cognito_user_pool_stale_devices", OVER_THRESHOLD)),
            ValueOptions(thresholds=theme.WARN_IF_ANY, none="–"),
        ),
        number(
            Frame(
                6,
                "Idle users",
                "Users whose devices have all been idle for longer than $threshold, in pools with detail: user or "
                "device.",
                4,
                4,
            ),
            Query(f"count({_NEWEST} < {CUTOFF}) or 0 * count({_NEWEST})"),
            ValueOptions(none="–"),
        ),
        number(
            Frame(
                7,
                "Longest idle",
                "Idle time of the longest idle device in any selected pool.",
                4,
                4,
            ),
            Query(
                f"(time() - min({select('cognito_user_pool_oldest_device_authentication_timestamp_seconds')})) / 86400"
            ),
            ValueOptions(theme.DAYS, decimals=0),
        ),
    ]


def _detail() -> model.Panel:
    level = (
        f"2 * group by (user_pool_id) ({select('cognito_device_info')})\n"
        f"or group by (user_pool_id) ({select('cognito_user_devices')})\n"
        f"or 0 * group by (user_pool_id) ({select('cognito_user_pool_up')})"
    )
    listed = f"count by (user_pool_id) ({_LAST_AUTHENTICATION} < {CUTOFF})"
    return rows(
        Frame(
            4,
            "What can be listed",
            "Detail that each pool exports. To list the users and devices of a pool below, set detail: user or device "
            "for it.",
            12,
            8,
        ),
        [with_pool_name(level), promql.stale_devices(), listed],
        Columns(
            {
                "user_pool_name": "Pool",
                "user_pool_id": "user_pool_id",
                "Value #A": "Detail",
                "Value #B": "Stale in all",
                "Value #C": "Listed",
            },
            "user_pool_id",
            sort_by="Stale in all",
        ),
        ValueOptions(
            theme.TEXT,
            overrides=[
                override("Pool", links=_TO_POOL_OF_ROW[:1]),
                override("user_pool_id", displayName="Id", custom__width=200),
                override(
                    "Detail",
                    mappings=[
                        value_mapping(
                            {
                                "0": ("pool: not listed", theme.OFF),
                                "1": ("user", "blue"),
                                "2": ("device", theme.GOOD),
                            }
                        )
                    ],
                    custom__cellOptions={"type": "color-text"},
                    custom__align="left",
                    custom__width=170,
                ),
                override("Stale in all", unit=theme.COUNT, custom__width=110),
                override("Listed", unit=theme.COUNT, custom__width=90),
            ],
        ),
    )


def _devices() -> model.Panel:
    return rows(
        Frame(
            11,
            "Devices",
            "The $rows longest idle devices. The idle time starts at the last authentication, or at the creation if "
            "Cognito reports no last authentication. AdminForgetDevice requires the user name and the device key.",
            24,
            13,
        ),
        [
            with_pool_name(_LISTED_DEVICES),
            _for_listed_devices("cognito_device_last_authentication_timestamp_seconds"),
            _for_listed_devices("cognito_device_created_timestamp_seconds"),
        ],
        Columns(
            {
                "user_pool_name": "Pool",
                "user_pool_id": "user_pool_id",
                "user": "User",
                "device_key": "Device key",
                "remembered_status": "Remembered",
                "status": "Status",
                "Value #A": "Idle",
                "Value #B": "Last authentication",
                "Value #C": "Created",
            },
            "device_key",
            sort_by="Idle",
        ),
        ValueOptions(
            theme.TEXT,
            none=_NO_DEVICES,
            overrides=[
                *_POOL_COLUMNS,
                override("User", custom__width=290),
                override("Device key", custom__width=390),
                override(
                    "Remembered",
                    mappings=[label_mapping(theme.STATUS_COLORS)],
                    custom__cellOptions={"type": "color-text"},
                    custom__width=130,
                ),
                override("Status", custom__width=80),
                override("Idle", unit=theme.DAYS, decimals=0, custom__width=100),
                override("Last authentication", unit=theme.TIMESTAMP, custom__width=170),
                override("Created", unit=theme.TIMESTAMP, custom__width=170),
            ],
        ),
    )


def _for_listed_devices(metric: str) -> str:
    """Return milliseconds since the epoch for each listed device."""
    return f"1000 * max by (device_key) ({select(metric)} and on ({_DEVICE})\n{_LISTED_DEVICES})"


def _idle_users() -> model.Panel:
    listed = f"topk($rows, (time() - ({_NEWEST} < {CUTOFF})) / 86400)"
    return rows(
        Frame(
            21,
            "Users with all devices idle for longer than $threshold",
            "The $rows users whose most recently used device is idle for longest. Users without devices are not "
            "listed.",
            12,
            10,
        ),
        [_with_key(with_pool_name(listed)), _column(f"{_DEVICE_COUNT} and on (user_pool_id, user) {listed}")],
        Columns(_USER_COLUMNS | {"Value #A": "Idle", "Value #B": "Devices"}, "key", sort_by="Idle"),
        ValueOptions(theme.TEXT, none=_NO_IDLE_USERS, overrides=_USER_OVERRIDES),
    )


def _most_devices() -> model.Panel:
    listed = f"topk($rows, {_DEVICE_COUNT} > 0)"
    return rows(
        Frame(
            22,
            "Users with the most devices",
            "The $rows users with the most devices, and the time since any of them was used. A much higher number than "
            "for others means a client that registers a device at every sign-in, or a shared account.",
            12,
            10,
        ),
        [_with_key(with_pool_name(listed)), _column(f"time() - ({_NEWEST} and on (user_pool_id, user) {listed})")],
        Columns(_USER_COLUMNS | {"Value #A": "Devices", "Value #B": "Last used"}, "key", sort_by="Devices"),
        ValueOptions(theme.TEXT, none=_NO_USERS, overrides=_USER_OVERRIDES),
    )


def _with_key(expr: str) -> str:
    """Add a label that identifies users across pools, because two pools may have the same raw user name."""
    return f'label_join({expr}, "key", "/", "user_pool_id", "user")'


def _column(expr: str) -> str:
    """Return values with that label only, to join them with another query."""
    return f"max by (key) ({_with_key(expr)})"
