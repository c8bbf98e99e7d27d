"""*Exporter*: whether the shown values can be trusted, and what it takes to read them."""

from __future__ import annotations

from grafana_foundation_sdk.models import dashboard as model

from grafana.dashboards.source import exporter_calls as calls
from grafana.dashboards.source import exporter_process as process
from grafana.dashboards.source import look, promql, variables
from grafana.dashboards.source.layout import Section, Words, dashboard
from grafana.dashboards.source.links import OF_ROW, OF_SERIES, Uid, to_pool
from grafana.dashboards.source.look import colored, hidden, override, words
from grafana.dashboards.source.panels import Columns, Drawing, Frame, Query, Values, lines, number, rows
from grafana.dashboards.source.promql import AT_END, highest, named, per_pool, select

_TO_POOL = to_pool(OF_SERIES, "datasource", "threshold", "interval")
_TO_POOL_OF_ROW = to_pool(OF_ROW, "datasource", "threshold", "interval")


def build() -> model.Dashboard:
    """The dashboard."""
    return dashboard(
        Words(
            Uid.EXPORTER,
            "Cognito devices / Exporter",
            "Whether the shown values can be trusted: sweeps and their freshness, calls against the budget, failures, "
            "and what the exporter itself takes.",
            since="now-6h",
        ),
        [
            variables.datasource(),
            variables.pools(),
            variables.carried(variables.threshold()),
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
                    process.answers(),
                    process.samples(),
                    process.memory(),
                    process.cpu(),
                    process.faults(),
                    process.versions(),
                ],
            ),
        ],
    )


def _increase(metric: str, *matchers: str) -> str:
    return f"sum(increase({promql.own(metric, *matchers)}[$interval]))"


def _numbers() -> list[model.Panel]:
    return [
        number(
            Frame(
                1,
                "Pools in trouble",
                "Pools that are missing, denied or failing: what is shown of them is old or absent.",
                3,
                4,
            ),
            Query(promql.pools_in_trouble()),
            Values(thresholds=look.NONE_IS_A_MUST),
        ),
        number(
            Frame(
                2,
                "Oldest data",
                "The age of the oldest observation of any pool, in multiples of that pool's refresh interval. Up to 1 "
                "while idle and somewhat above during a sweep is normal.",
                3,
                4,
            ),
            Query(f"max({promql.data_age_in_intervals()})"),
            Values(look.TIMES, decimals=1, thresholds=look.INTERVALS_BEHIND),
        ),
        number(
            Frame(
                3,
                "Failures",
                "Sweeps that failed as a whole, plus users that could not be read, within $interval.",
                3,
                4,
            ),
            Query(
                f"{_increase('cognito_exporter_sweep_failures_total')}"
                f" + {_increase('cognito_exporter_user_read_failures_total')}"
            ),
            Values(decimals=0, thresholds=look.NONE_IS_BEST),
            sparkline=False,
        ),
        number(
            Frame(4, "Throttled calls", "Calls within $interval that AWS throttled.", 3, 4),
            Query(_increase("cognito_exporter_aws_request_failures_total", 'reason="throttled"')),
            Values(decimals=0, thresholds=look.NONE_IS_BEST),
            sparkline=False,
        ),
        number(
            Frame(
                5,
                "Overruns",
                "Sweeps within $interval that took longer than their refresh interval: the budget is too small for the "
                "number of users.",
                3,
                4,
            ),
            Query(_increase("cognito_exporter_sweep_overruns_total")),
            Values(decimals=0, thresholds=look.NONE_IS_BEST),
            sparkline=False,
        ),
        number(
            Frame(6, "Series dropped", "User and device series left out because limits.series is reached.", 3, 4),
            Query(f"sum({promql.own('cognito_exporter_series_dropped')})"),
            Values(thresholds=look.NONE_IS_BEST),
        ),
        number(
            Frame(
                7,
                "Exporters up",
                "Exporters that Prometheus could scrape, of those that it is told to.",
                3,
                4,
            ),
            Query(f"sum(up{{{promql.TARGETS}}}) / count(up{{{promql.TARGETS}}})"),
            Values(look.SHARE, decimals=0, thresholds=look.steps(look.ALARM, (1, look.CALM))),
        ),
        number(
            Frame(
                8,
                "Configuration",
                "Whether the last reload succeeded on every exporter; after a failed one, the configuration before is "
                "in force.",
                3,
                4,
            ),
            Query(f"min({promql.own('cognito_exporter_config_last_reload_successful')})"),
            Values(
                look.NONE,
                mappings=[look.mapping({"0": ("rejected", look.ALARM), "1": ("in force", look.CALM)})],
            ),
            sparkline=False,
        ),
    ]


def _sweeps() -> model.Panel:
    named_states = f"{promql.pool_state()}\n* on (user_pool_id) group_left (user_pool_name) {promql.POOL_NAMES}"
    return rows(
        Frame(
            11,
            "Sweeps under way",
            "The state of each pool, how far the sweep under way is, and how much longer it should take; both are "
            "empty while no sweep is under way.",
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
        Values(
            look.TEXT,
            overrides=[
                override("Pool", links=_TO_POOL_OF_ROW, custom__minWidth=140),
                hidden("user_pool_id"),
                override(
                    "State",
                    mappings=[words(look.STATE_COLORS)],
                    custom__cellOptions={"type": "color-text"},
                    custom__width=120,
                ),
                override(
                    "Progress",
                    unit=look.SHARE,
                    decimals=0,
                    min=0,
                    max=1,
                    color={"mode": "fixed", "fixedColor": "blue"},
                    custom__cellOptions={"type": "gauge", "mode": "basic", "valueDisplayMode": "text"},
                ),
                override("Remaining", unit=look.SECONDS, decimals=0, custom__width=120),
            ],
        ),
    )


def _freshness() -> model.Panel:
    return lines(
        Frame(
            12,
            "Age of the data in refresh intervals",
            f"The oldest observation of each pool as a multiple of its refresh interval, of the {promql.LIMIT} pools "
            "furthest behind. From 2 on, values are older than they should be.",
            12,
            9,
        ),
        [
            Query(
                named(highest(promql.data_age_in_intervals(), promql.data_age_in_intervals(AT_END))),
                "{{user_pool_name}}",
            )
        ],
        Values(look.TIMES, decimals=1, thresholds=look.INTERVALS_BEHIND, links=_TO_POOL),
        Drawing(line_at_threshold=True, legend_right=True),
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
            "How much of its refresh interval the last finished sweep took. At 100 % sweeps run back to back: "
            f"raise the rate or the interval. The {promql.LIMIT} slowest pools.",
            12,
            8,
        ),
        [Query(named(highest(share(), share(AT_END))), "{{user_pool_name}}")],
        Values(look.SHARE, decimals=0, thresholds=look.BUDGET_USED, links=_TO_POOL),
        Drawing(line_at_threshold=True, legend_right=True),
    )


def _states() -> model.Panel:
    return lines(
        Frame(
            14,
            "Pools by state",
            "Tracking off is no trouble: such a pool has no devices to read. Unread: no sweep has completed yet.",
            6,
            8,
        ),
        [Query(f"sum by (state) (max by (user_pool_id, state) ({select('cognito_user_pool_state')}))", "{{state}}")],
        Values(overrides=colored(look.STATE_COLORS)),
        Drawing(stacked=True),
    )


def _outcomes() -> model.Panel:
    sweeps = promql.own("cognito_exporter_sweeps_total")
    failed = promql.own("cognito_exporter_sweep_failures_total")
    overrun = promql.own("cognito_exporter_sweep_overruns_total")
    return lines(
        Frame(15, "Sweeps per $interval", "Sweeps finished, failed as a whole, and overrun.", 6, 8),
        [
            Query(f"sum(increase({sweeps}[$interval]))", "finished"),
            Query(f"sum(increase({failed}[$interval]))", "failed"),
            Query(f"sum(increase({overrun}[$interval]))", "overrun"),
        ],
        Values(decimals=0, overrides=colored({"finished": "green", "failed": "red", "overrun": "orange"})),
    )


def _read_failures() -> model.Panel:
    sweeps = promql.own("cognito_exporter_sweep_failures_total")
    users = promql.own("cognito_exporter_user_read_failures_total")
    return lines(
        Frame(
            21,
            "Failures by reason per $interval",
            "Sweeps that failed as a whole, and users that could not be read and keep their last values. Only reasons "
            "that occurred are shown.",
            12,
            7,
        ),
        [
            Query(f"sum by (reason) (increase({sweeps}[$interval])) > 0", "sweep: {{reason}}"),
            Query(f"sum by (reason) (increase({users}[$interval])) > 0", "user: {{reason}}"),
        ],
        Values(
            decimals=0,
            overrides=colored(
                {
                    f"{what}: {reason}": color
                    for what in ("sweep", "user")
                    for reason, color in look.REASON_COLORS.items()
                }
            ),
            none="No failures",
        ),
        Drawing(stacked=True),
    )
