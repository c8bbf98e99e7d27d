"""*Stale devices*: the list to work through."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from grafana.dashboards.source import look, promql, variables
from grafana.dashboards.source.layout import Section, Words, dashboard
from grafana.dashboards.source.links import OF_ROW, Uid, to_pool
from grafana.dashboards.source.look import hidden, mapping, override, words
from grafana.dashboards.source.panels import Columns, Frame, Query, Values, number, rows
from grafana.dashboards.source.promql import CUTOFF, OVER_THRESHOLD, named, select, total

_DEVICE = "user_pool_id, user, device_key"
_STATUS = 'remembered_status=~"$status"'
_TO_POOL_OF_ROW = to_pool(OF_ROW, "datasource", "threshold", "interval")
_POOL_COLUMNS = (
    override("Pool", links=_TO_POOL_OF_ROW[:1]),
    hidden("user_pool_id"),
)
_USER_COLUMNS = {"user_pool_name": "Pool", "user_pool_id": "user_pool_id", "user": "User"}
_USER_OVERRIDES = (
    *_POOL_COLUMNS,
    override("User", custom__width=290),
    override("Idle", unit=look.DAYS, decimals=0, custom__width=100),
    override("Last used", unit=look.SECONDS, decimals=1, custom__width=120),
    override("Devices", unit=look.COUNT, custom__width=90),
)

_SEEN = f"max by ({_DEVICE}) ({select('cognito_device_last_authentication_timestamp_seconds')})"
_INFO = f"max by ({_DEVICE}, remembered_status, status) ({select('cognito_device_info', _STATUS)})"
_LISTED_DEVICES = f"""topk($rows,
  (time() - ({_SEEN} < {CUTOFF})) / 86400
  * on ({_DEVICE}) group_left (remembered_status, status) {_INFO}
)"""

_NEWEST = f"max by (user_pool_id, user) ({select('cognito_user_newest_device_authentication_timestamp_seconds')})"
_HELD = f"max by (user_pool_id, user) ({select('cognito_user_devices')})"

_NO_DEVICES = "Nothing to list: no device is idle for that long, or no chosen pool has detail: device (see above)"
_NO_IDLE_USERS = "Nothing to list: no user is idle for that long, or no chosen pool has detail: user or device"
_NO_USERS = "Nothing to list: no chosen pool has detail: user or device (see above)"


def build() -> model.Dashboard:
    """The dashboard."""
    return dashboard(
        Words(
            Uid.STALE,
            "Cognito devices / Stale devices",
            "Users and devices idle for longer than a chosen age, to be sorted and worked through. Lists need detail "
            "user or device; the rest works with detail pool.",
            since="now-24h",
        ),
        [
            variables.datasource(),
            variables.pools(),
            variables.threshold(free=True),
            variables.carried(variables.interval("1d")),
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
                "Devices idle for longer than $threshold, by the count that every pool has whatever its detail. Empty "
                "for a threshold that stale_after does not name.",
                4,
                4,
            ),
            Query(total("cognito_user_pool_stale_devices", OVER_THRESHOLD)),
            Values(none="–"),
        ),
        number(
            Frame(
                2,
                "Stale and listed",
                "Devices idle for longer than $threshold of which the exporter shows a series of their own. Fewer than "
                "in all: some pools have detail pool or user, or limits.series leaves users out.",
                4,
                4,
            ),
            Query(f"count({_SEEN} < {CUTOFF}) or 0 * count({_SEEN})"),
            Values(none="–"),
        ),
        number(
            Frame(
                3,
                "Left out by limits.series",
                "User and device series that do not fit into limits.series: whole users are missing from the lists.",
                4,
                4,
            ),
            Query(total("cognito_exporter_series_dropped")),
            Values(thresholds=look.NONE_IS_BEST),
        ),
    ]


def _numbers_of_idle() -> list[model.Panel]:
    return [
        number(
            Frame(
                5,
                "Stale, skips MFA",
                "Remembered devices idle for longer than $threshold in pools where a remembered device may skip the "
                "second factor: the ones to forget first.",
                4,
                4,
            ),
            Query(promql.skipping_mfa("cognito_user_pool_stale_devices", OVER_THRESHOLD)),
            Values(thresholds=look.NONE_IS_BEST, none="–"),
        ),
        number(
            Frame(
                6,
                "Idle users",
                "Users with devices of which none was used for $threshold, in pools with detail user or device.",
                4,
                4,
            ),
            Query(f"count({_NEWEST} < {CUTOFF}) or 0 * count({_NEWEST})"),
            Values(none="–"),
        ),
        number(
            Frame(
                7,
                "Longest idle",
                "How long the device idle for longest has been idle, in any of the chosen pools.",
                4,
                4,
            ),
            Query(
                f"(time() - min({select('cognito_user_pool_oldest_device_authentication_timestamp_seconds')})) / 86400"
            ),
            Values(look.DAYS, decimals=0),
        ),
    ]


def _detail() -> model.Panel:
    level = (
        f"2 * group by (user_pool_id) ({select('cognito_device_info')})\n"
        f"or group by (user_pool_id) ({select('cognito_user_devices')})\n"
        f"or 0 * group by (user_pool_id) ({select('cognito_user_pool_up')})"
    )
    listed = f"count by (user_pool_id) ({_SEEN} < {CUTOFF})"
    return rows(
        Frame(
            4,
            "What can be listed",
            "The finest series that each pool exports. detail: pool keeps users and devices to itself: set detail: "
            "user or device for a pool to have its rows below.",
            12,
            8,
        ),
        [named(level), promql.stale_devices(), listed],
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
        Values(
            look.TEXT,
            overrides=[
                override("Pool", links=_TO_POOL_OF_ROW[:1]),
                override("user_pool_id", displayName="Id", custom__width=200),
                override(
                    "Detail",
                    mappings=[
                        mapping(
                            {
                                "0": ("pool: nothing to list", look.OFF),
                                "1": ("user", "blue"),
                                "2": ("device", look.CALM),
                            }
                        )
                    ],
                    custom__cellOptions={"type": "color-text"},
                    custom__align="left",
                    custom__width=170,
                ),
                override("Stale in all", unit=look.COUNT, custom__width=110),
                override("Listed", unit=look.COUNT, custom__width=90),
            ],
        ),
    )


def _devices() -> model.Panel:
    return rows(
        Frame(
            11,
            "Devices",
            "The $rows devices idle for longest. Idle counts from the last authentication, or from the creation where "
            "Cognito gives none. AdminForgetDevice takes the user's name and the device key.",
            24,
            13,
        ),
        [
            named(_LISTED_DEVICES),
            _of_listed("cognito_device_last_authentication_timestamp_seconds"),
            _of_listed("cognito_device_created_timestamp_seconds"),
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
        Values(
            look.TEXT,
            none=_NO_DEVICES,
            overrides=[
                *_POOL_COLUMNS,
                override("User", custom__width=290),
                override("Device key", custom__width=390),
                override(
                    "Remembered",
                    mappings=[words(look.STATUS_COLORS)],
                    custom__cellOptions={"type": "color-text"},
                    custom__width=130,
                ),
                override("Status", custom__width=80),
                override("Idle", unit=look.DAYS, decimals=0, custom__width=100),
                override("Last authentication", unit=look.MOMENT, custom__width=170),
                override("Created", unit=look.MOMENT, custom__width=170),
            ],
        ),
    )


def _of_listed(metric: str) -> str:
    """Milliseconds since the epoch for each listed device."""
    return f"1000 * max by (device_key) ({select(metric)} and on ({_DEVICE})\n{_LISTED_DEVICES})"


def _idle_users() -> model.Panel:
    listed = f"topk($rows, (time() - ({_NEWEST} < {CUTOFF})) / 86400)"
    return rows(
        Frame(
            21,
            "Users none of whose devices was used for $threshold",
            "The $rows users whose latest device is idle for longest: candidates for review as a whole. Users without "
            "a device are not here.",
            12,
            10,
        ),
        [_keyed(named(listed)), _column(f"{_HELD} and on (user_pool_id, user) {listed}")],
        Columns(_USER_COLUMNS | {"Value #A": "Idle", "Value #B": "Devices"}, "key", sort_by="Idle"),
        Values(look.TEXT, none=_NO_IDLE_USERS, overrides=_USER_OVERRIDES),
    )


def _most_devices() -> model.Panel:
    listed = f"topk($rows, {_HELD} > 0)"
    return rows(
        Frame(
            22,
            "Users with the most devices",
            "The $rows users with the most devices, idle or not, and how long ago any of them was used. Far more than "
            "others: a client that registers a device with every sign-in, or a shared account.",
            12,
            10,
        ),
        [_keyed(named(listed)), _column(f"time() - ({_NEWEST} and on (user_pool_id, user) {listed})")],
        Columns(_USER_COLUMNS | {"Value #A": "Devices", "Value #B": "Last used"}, "key", sort_by="Devices"),
        Values(look.TEXT, none=_NO_USERS, overrides=_USER_OVERRIDES),
    )


def _keyed(expr: str) -> str:
    """With a label that tells users apart over all pools: raw user names may be the same in two of them."""
    return f'label_join({expr}, "key", "/", "user_pool_id", "user")'


def _column(expr: str) -> str:
    """Values by that label alone, to be joined to another query's."""
    return f"max by (key) ({_keyed(expr)})"
