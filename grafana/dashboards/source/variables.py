"""Dashboard variables. They have the same names on every dashboard, so that links can carry them."""

from __future__ import annotations

from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import dashboard as model

from grafana.dashboards.source.promql import POOL, POOL_INFO

DATASOURCE = common.DataSourceRef(type_val="prometheus", uid="${datasource}")

_ALL = model.VariableOption(selected=True, text=["All"], value=["$__all"])
_WINDOWS = ("15m", "1h", "6h", "1d", "7d", "30d")
_ROWS = ("50", "100", "500", "1000")


def datasource() -> model.VariableModel:
    """Return the variable of the Prometheus data source."""
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
    """Return the variable of any number of pools, shown by name. The value is the id."""
    return _pool(multi=True)


def pool() -> model.VariableModel:
    """Return the variable of a single pool, shown by name. The value is the id."""
    return _pool(multi=False)


def _pool(*, multi: bool) -> model.VariableModel:
    return model.VariableModel(
        type_val=model.VariableType.QUERY,
        name="pool",
        label="Pool",
        description="User pools by name, or by id if the name is not known yet.",
        datasource=DATASOURCE,
        query=f"query_result({POOL_INFO})",
        definition=f"query_result({POOL_INFO})",
        # Prometheus writes labels in alphabetical order, so the id precedes the name.
        regex='/user_pool_id="(?<value>[^"]+)".*user_pool_name="(?<text>[^"]+)"/',
        refresh=model.VariableRefresh.ON_TIME_RANGE_CHANGED,
        sort=model.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC,
        multi=multi,
        include_all=multi,
        all_value=".+" if multi else None,
        current=_ALL if multi else None,
        allow_custom_value=False,
    )


def hidden(variable: model.VariableModel) -> model.VariableModel:
    """Hide a variable that this dashboard only carries to the dashboards that it links to."""
    variable.hide = model.VariableHide.HIDE_VARIABLE
    return variable


def threshold(*, free: bool = False) -> model.VariableModel:
    """Return the variable of the age from which a device is stale: a value of `stale_after`, or any if `free`."""
    text = "Devices idle for longer than this are stale. The options are the values of stale_after in the configuration"
    return model.VariableModel(
        type_val=model.VariableType.QUERY,
        name="threshold",
        label="Stale after",
        description=f"{text}. You can also type any other duration, such as 45d." if free else f"{text}.",
        datasource=DATASOURCE,
        query="label_values(cognito_user_pool_stale_devices, threshold)",
        definition="label_values(cognito_user_pool_stale_devices, threshold)",
        refresh=model.VariableRefresh.ON_TIME_RANGE_CHANGED,
        sort=model.VariableSort.NUMERICAL_ASC,
        current=_choice("90d"),
        allow_custom_value=free,
    )


def interval(default: str) -> model.VariableModel:
    """Return the variable of the window for growth and event counts."""
    return model.VariableModel(
        type_val=model.VariableType.INTERVAL,
        name="interval",
        label="Interval",
        description="Window for growth and event counts.",
        query=",".join(_WINDOWS),
        options=[_choice(window, selected=window == default) for window in _WINDOWS],
        current=_choice(default),
        refresh=model.VariableRefresh.ON_TIME_RANGE_CHANGED,
    )


def status() -> model.VariableModel:
    """Return the variable of the remembered status."""
    return model.VariableModel(
        type_val=model.VariableType.QUERY,
        name="status",
        label="Remembered",
        description="Remembered status of the listed devices. Only remembered devices can skip the second factor.",
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
    """Return the variable of the maximum number of table rows."""
    return model.VariableModel(
        type_val=model.VariableType.CUSTOM,
        name="rows",
        label="Rows",
        description="Maximum number of rows per table: those idle for longest, or with the most devices.",
        query=",".join(_ROWS),
        options=[_choice(count, selected=count == "100") for count in _ROWS],
        current=_choice("100"),
    )


def job() -> model.VariableModel:
    """Return the variable of the scrape jobs."""
    return _from_build_info("job", "Job", "Scrape jobs of exporters.", "")


def instance() -> model.VariableModel:
    """Return the variable of the exporter instances, one per shard."""
    return _from_build_info("instance", "Instance", "Exporter instances, one per shard.", '{job=~"$job"}')


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
