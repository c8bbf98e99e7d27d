"""Dashboard *Exporter*: health of the exporter and freshness of its data."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from grafana.dashboards.source import exporter_calls as calls
from grafana.dashboards.source import exporter_process as process
from grafana.dashboards.source import promql, theme, variables
from grafana.dashboards.source.layout import DashboardInfo, Section, dashboard
from grafana.dashboards.source.links import POOL_OF_ROW, POOL_OF_SERIES, Uid, pool_links
from grafana.dashboards.source.panels import Columns, Frame, LineOptions, Query, ValueOptions, lines, number, rows
from grafana.dashboards.source.promql import AT_END, highest, per_pool, select, with_pool_name
from grafana.dashboards.source.theme import colored, hidden, label_mapping, override

_TO_POOL = pool_links(POOL_OF_SERIES, "datasource", "threshold", "interval")
_TO_POOL_OF_ROW = pool_links(POOL_OF_ROW, "datasource", "threshold", "interval")


def build() -> model.Dashboard:
    """Build the dashboard."""
    return dashboard(
        DashboardInfo(
            Uid.EXPORTER,
            "Cognito devices / Exporter",
            "Health of the exporter and freshness of its data: sweeps, calls compared with the rate limit, failures "
            "and resource usage.",
            since="now-6h",
        ),
        [
            variables.datasource(),
            variables.pools(),
            variables.hidden(variables.threshold()),
            variables.interval("1h"),
            variables.job(),
            variables.instance(),
        ],
        _numbers(),
        [
            Section(10, "Sweeps", [_sweeps(), _freshness(), _durations(), _states(), _outcomes()]),
            Section(20, "Failures", [_read_failures(), calls.failed_calls()]),
            Section(
                30,
                "Calls to AWS",
                [calls.device_calls(), calls.list_calls(), calls.latency(), calls.waiting(), calls.operations()],
            ),
            Section(
                40,
                "The exporter itself",
                [
                    process.scrapes(),
                    process.http_statuses(),
                    process.samples(),
                    process.memory(),
                    process.cpu(),
                    process.errors(),
                    process.versions(),
                ],
            ),
        ],
    )


def _increase(metric: str, *matchers: str) -> str:
    return f"sum(increase({promql.exporter_series(metric, *matchers)}[$interval]))"


def _numbers() -> list[model.Panel]:
    return [
        number(
            Frame(
                1,
                "Unhealthy pools",
                "Pools that are missing, denied or failing. Their data is out of date or absent.",
                3,
                4,
            ),
            Query(promql.unhealthy_pools()),
            ValueOptions(thresholds=theme.CRITICAL_IF_ANY),
        ),
        number(
            Frame(
                2,
                "Oldest data",
                "Age of the oldest observation of any pool, as a multiple of its refresh interval. Normal values "
                "are up to 1 between sweeps and slightly more during a sweep.",
                3,
                4,
            ),
            Query(f"max({promql.data_age_in_intervals()})"),
            ValueOptions(theme.MULTIPLE, decimals=1, thresholds=theme.INTERVALS_BEHIND),
        ),
        number(
            Frame(
                3,
                "Failures",
                "Failed sweeps plus users that could not be read, within $interval.",
                3,
                4,
            ),
            Query(
                f"{_increase('cognito_exporter_sweep_failures_total')}"
                f" + {_increase('cognito_exporter_user_read_failures_total')}"
            ),
            ValueOptions(decimals=0, thresholds=theme.WARN_IF_ANY),
            sparkline=False,
        ),
        number(
            Frame(4, "Throttled calls", "Calls within $interval that AWS throttled.", 3, 4),
            Query(_increase("cognito_exporter_aws_request_failures_total", 'reason="throttled"')),
            ValueOptions(decimals=0, thresholds=theme.WARN_IF_ANY),
            sparkline=False,
        ),
        number(
            Frame(
                5,
                "Overruns",
                "Sweeps within $interval that took longer than their refresh interval: the rate is too low for the "
                "number of users.",
                3,
                4,
            ),
            Query(_increase("cognito_exporter_sweep_overruns_total")),
            ValueOptions(decimals=0, thresholds=theme.WARN_IF_ANY),
            sparkline=False,
        ),
        number(
            Frame(6, "Series dropped", "User and device series dropped because limits.series is reached.", 3, 4),
            Query(f"sum({promql.exporter_series('cognito_exporter_series_dropped')})"),
            ValueOptions(thresholds=theme.WARN_IF_ANY),
        ),
        number(
            Frame(
                7,
                "Exporters up",
                "Share of the exporter targets that Prometheus could scrape.",
                3,
                4,
            ),
            Query(f"sum(up{{{promql.TARGETS}}}) / count(up{{{promql.TARGETS}}})"),
            ValueOptions(theme.SHARE, decimals=0, thresholds=theme.steps(theme.CRITICAL, (1, theme.GOOD))),
        ),
        number(
            Frame(
                8,
                "Configuration",
                "Result of the last reload on all exporters. After a failed reload, the previous configuration stays "
                "active.",
                3,
                4,
            ),
            Query(f"min({promql.exporter_series('cognito_exporter_config_last_reload_successful')})"),
            ValueOptions(
                theme.NONE,
                mappings=[theme.value_mapping({"0": ("rejected", theme.CRITICAL), "1": ("active", theme.GOOD)})],
            ),
            sparkline=False,
        ),
    ]


def _sweeps() -> model.Panel:
    named_states = f"{promql.pool_state()}\n* on (user_pool_id) group_left (user_pool_name) {promql.POOL_INFO}"
    return rows(
        Frame(
            11,
            "Sweeps in progress",
            "State of each pool, progress of its sweep and estimated remaining time. The latter two are empty between "
            "sweeps.",
            12,
            9,
        ),
        [
            named_states,
            per_pool("cognito_exporter_sweep_progress_ratio", over_shards="min"),
            per_pool("cognito_exporter_sweep_remaining_seconds", over_shards="max"),
        ],
        Columns(
            {
                "user_pool_name": "Pool",
                "user_pool_id": "user_pool_id",
                "state": "State",
                "Value #B": "Progress",
                "Value #C": "Remaining",
            },
            "user_pool_id",
            sort_by="Remaining",
        ),
        ValueOptions(
            theme.TEXT,
            overrides=[
                override("Pool", links=_TO_POOL_OF_ROW, custom__minWidth=140),
                hidden("user_pool_id"),
                override(
                    "State",
                    mappings=[label_mapping(theme.STATE_COLORS)],
                    custom__cellOptions={"type": "color-text"},
                    custom__width=120,
                ),
                override(
                    "Progress",
                    unit=theme.SHARE,
                    decimals=0,
                    min=0,
                    max=1,
                    color={"mode": "fixed", "fixedColor": "blue"},
                    custom__cellOptions={"type": "gauge", "mode": "basic", "valueDisplayMode": "text"},
                ),
                override("Remaining", unit=theme.SECONDS, decimals=0, custom__width=120),
            ],
        ),
    )


def _freshness() -> model.Panel:
    return lines(
        Frame(
            12,
            "Age of the data in refresh intervals",
            f"Age of the oldest observation as a multiple of the refresh interval, for the {promql.LIMIT} pools with "
            "the oldest data. From 2 on, data is older than expected.",
            12,
            9,
        ),
        [
            Query(
                with_pool_name(highest(promql.data_age_in_intervals(), promql.data_age_in_intervals(AT_END))),
                "{{user_pool_name}}",
            )
        ],
        ValueOptions(theme.MULTIPLE, decimals=1, thresholds=theme.INTERVALS_BEHIND, links=_TO_POOL),
        LineOptions(line_at_threshold=True, legend_right=True),
    )


def _durations() -> model.Panel:
    def share(at: str = "") -> str:
        duration = per_pool("cognito_exporter_last_sweep_duration_seconds", at=at, over_shards="max")
        interval = per_pool("cognito_exporter_refresh_interval_seconds", at=at, over_shards="max")
        return f"{duration} / {interval}"

    return lines(
        Frame(
            13,
            "Duration of sweeps in refresh intervals",
            "Duration of the last completed sweep as a share of the refresh interval. At 100 %, sweeps run back to "
            f"back: raise the rate or the interval. The {promql.LIMIT} slowest pools.",
            12,
            8,
        ),
        [Query(with_pool_name(highest(share(), share(AT_END))), "{{user_pool_name}}")],
        ValueOptions(theme.SHARE, decimals=0, thresholds=theme.INTERVAL_USED, links=_TO_POOL),
        LineOptions(line_at_threshold=True, legend_right=True),
    )


def _states() -> model.Panel:
    return lines(
        Frame(
            14,
            "Pools by state",
            "Pools in each state. tracking_off is not an error: the pool has no devices to read. unread: no sweep has "
            "completed yet.",
            6,
            8,
        ),
        [Query(f"sum by (state) (max by (user_pool_id, state) ({select('cognito_user_pool_state')}))", "{{state}}")],
        ValueOptions(overrides=colored(theme.STATE_COLORS)),
        LineOptions(stacked=True),
    )


def _outcomes() -> model.Panel:
    sweeps = promql.exporter_series("cognito_exporter_sweeps_total")
    failed = promql.exporter_series("cognito_exporter_sweep_failures_total")
    overrun = promql.exporter_series("cognito_exporter_sweep_overruns_total")
    return lines(
        Frame(15, "Sweeps per $interval", "Sweeps that finished, failed, or overran their interval.", 6, 8),
        [
            Query(f"sum(increase({sweeps}[$interval]))", "finished"),
            Query(f"sum(increase({failed}[$interval]))", "failed"),
            Query(f"sum(increase({overrun}[$interval]))", "overrun"),
        ],
        ValueOptions(decimals=0, overrides=colored({"finished": "green", "failed": "red", "overrun": "orange"})),
    )


def _read_failures() -> model.Panel:
    sweeps = promql.exporter_series("cognito_exporter_sweep_failures_total")
    users = promql.exporter_series("cognito_exporter_user_read_failures_total")
    return lines(
        Frame(
            21,
            "Failures by reason per $interval",
            "Failed sweeps, and users that could not be read and keep their last values. Only reasons that occurred "
            "are shown.",
            12,
            7,
        ),
        [
            Query(f"sum by (reason) (increase({sweeps}[$interval])) > 0", "sweep: {{reason}}"),
            Query(f"sum by (reason) (increase({users}[$interval])) > 0", "user: {{reason}}"),
        ],
        ValueOptions(
            decimals=0,
            overrides=colored(
                {
                    f"{what}: {reason}": color
                    for what in ("sweep", "user")
                    for reason, color in theme.REASON_COLORS.items()
                }
            ),
            none="No failures",
        ),
        LineOptions(stacked=True),
    )
