"""The variables, under the same names on every dashboard, so that links carry them over."""

from __future__ import annotations

from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model

from grafana.dashboards.source.promql import POOL, POOL_NAMES

DATASOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")

_ALL = model.VariableOption(selected=True, text=["All"], value=["$__all"])
_WINDOWS = ("15m", "1h", "6h", "1d", "7d", "30d")
_ROWS = ("50", "100", "500", "1000")


def datasource() -> model.VariableModel:
    """The Prometheus to ask."""
    return model.VariableModel(
        type_val=model.VariableType.DATASOURCE,
        name="datasource",
        label="Data source",
        description="The Prometheus that scrapes the exporter.",
        query="prometheus",
        refresh=model.VariableRefresh.ON_DASHBOARD_LOAD,
        allow_custom_value=False,
    )


def pools() -> model.VariableModel:
    """Any number of pools, by name; the value is the id."""
    return _pool(multi=True)


def pool() -> model.VariableModel:
    """One pool, by name; the value is the id."""
    return _pool(multi=False)


def _pool(*, multi: bool) -> model.VariableModel:
    return model.VariableModel(
        type_val=model.VariableType.QUERY,
        name="pool",
        label="Pool",
        description="User pools by name; a pool that could not be described yet goes by its id.",
        datasource=DATASOURCE,
        query=f"query_result({POOL_NAMES})",
        definition=f"query_result({POOL_NAMES})",
        # Prometheus writes labels in alphabetical order: the id stands before the name.
        regex='/user_pool_id="(?<value>[^"]+)".*user_pool_name="(?<text>[^"]+)"/',
        refresh=model.VariableRefresh.ON_TIME_RANGE_CHANGED,
        sort=model.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC,
        multi=multi,
        include_all=multi,
        all_value=".+" if multi else None,
        current=_ALL if multi else None,
        allow_custom_value=False,
    )


def carried(variable: model.VariableModel) -> model.VariableModel:
    """Not shown on this dashboard, and kept for those that its links lead to."""
    variable.hide = model.VariableHide.HIDE_VARIABLE
    return variable


def threshold(*, free: bool = False) -> model.VariableModel:
    """From which age on a device is stale: those that `stale_after` configures, or any duration when `free`."""
    said = "Devices idle for longer than this are stale. The choice is what stale_after in the configuration names"
    return model.VariableModel(
        type_val=model.VariableType.QUERY,
        name="threshold",
        label="Stale after",
        description=f"{said}; any other duration can be typed, such as 45d." if free else f"{said}.",
        datasource=DATASOURCE,
        query="label_values(cognito_user_pool_stale_devices, threshold)",
        definition="label_values(cognito_user_pool_stale_devices, threshold)",
        refresh=model.VariableRefresh.ON_TIME_RANGE_CHANGED,
        sort=model.VariableSort.NUMERICAL_ASC,
        current=_choice("90d"),
        allow_custom_value=free,
    )


def interval(default: str) -> model.VariableModel:
    """The window that growth and counts of events are taken over."""
    return model.VariableModel(
        type_val=model.VariableType.INTERVAL,
        name="interval",
        label="Interval",
        description="Growth and counts of events are taken over this long.",
        query=",".join(_WINDOWS),
        options=[_choice(window, selected=window == default) for window in _WINDOWS],
        current=_choice(default),
        refresh=model.VariableRefresh.ON_TIME_RANGE_CHANGED,
    )


def status() -> model.VariableModel:
    """Whether devices are remembered."""
    return model.VariableModel(
        type_val=model.VariableType.QUERY,
        name="status",
        label="Remembered",
        description="Which devices to list; only remembered ones can skip the second factor.",
        datasource=DATASOURCE,
        query=f"label_values(cognito_device_info{{{POOL}}}, remembered_status)",
        definition=f"label_values(cognito_device_info{{{POOL}}}, remembered_status)",
        refresh=model.VariableRefresh.ON_TIME_RANGE_CHANGED,
        sort=model.VariableSort.ALPHABETICAL_ASC,
        multi=True,
        include_all=True,
        all_value=".+",
        current=_ALL,
    )


def rows() -> model.VariableModel:
    """How long tables get."""
    return model.VariableModel(
        type_val=model.VariableType.CUSTOM,
        name="rows",
        label="Rows",
        description="How many rows a table shows at most: those idle for longest, or with the most devices.",
        query=",".join(_ROWS),
        options=[_choice(count, selected=count == "100") for count in _ROWS],
        current=_choice("100"),
    )


def job() -> model.VariableModel:
    """The scrape job of the exporter."""
    return _from_build_info("job", "Job", "The scrape jobs that find an exporter.", "")


def instance() -> model.VariableModel:
    """Exporters: one, or a shard each."""
    return _from_build_info("instance", "Instance", "The exporters; with shards, one for each shard.", '{job=~"$job"}')


def _from_build_info(label: str, shown: str, description: str, matchers: str) -> model.VariableModel:
    query = f"label_values(cognito_exporter_build_info{matchers}, {label})"
    return model.VariableModel(
        type_val=model.VariableType.QUERY,
        name=label,
        label=shown,
        description=description,
        datasource=DATASOURCE,
        query=query,
        definition=query,
        refresh=model.VariableRefresh.ON_TIME_RANGE_CHANGED,
        sort=model.VariableSort.ALPHABETICAL_ASC,
        multi=True,
        include_all=True,
        current=_ALL,
    )


def _choice(value: str, *, selected: bool = True) -> model.VariableOption:
    return model.VariableOption(selected=selected, text=value, value=value)
