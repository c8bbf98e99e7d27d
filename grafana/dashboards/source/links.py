"""Where the dashboards are, and the links between them: variables and time range go along."""

from __future__ import annotations

from enum import StrEnum

from grafana_foundation_sdk.models import dashboard as model


class Uid(StrEnum):
    """The identity of each dashboard in links, bookmarks and alerts: never changed."""

    OVERVIEW = "cognito-devices-overview"
    POOL = "cognito-devices-pool"
    STALE = "cognito-devices-stale"
    EXPORTER = "cognito-devices-exporter"


_TITLES = {
    Uid.OVERVIEW: "Overview",
    Uid.POOL: "Pool",
    Uid.STALE: "Stale devices",
    Uid.EXPORTER: "Exporter",
}
_TOOLTIPS = {
    Uid.OVERVIEW: "All pools at a glance",
    Uid.POOL: "One pool in depth",
    Uid.STALE: "Users and devices idle beyond the threshold",
    Uid.EXPORTER: "Whether the shown values can be trusted",
}


class Link(model.DashboardLink):
    """A link where it can be seen: the library puts every link into a menu, where few would find it."""

    def to_json(self) -> dict[str, object]:
        """What Grafana reads."""
        return {key: value for key, value in super().to_json().items() if key != "placement"}


def to_others(here: Uid) -> list[model.DashboardLink]:
    """Links to the other dashboards, in one order everywhere."""
    return [
        Link(
            title=title,
            type_val=model.DashboardLinkType.LINK,
            icon="dashboard",
            tooltip=_TOOLTIPS[uid],
            url=f"/d/{uid}",
            include_vars=True,
            keep_time=True,
        )
        for uid, title in _TITLES.items()
        if uid is not here
    ]


def to_pool(pool_id: str, *carried: str) -> list[Link]:
    """Links to a pool's dashboards, with the values of the variables named; `pool_id` is an expression of Grafana's."""
    parameters = "&".join(
        (f"var-pool={pool_id}", *(f"${{{name}:queryparam}}" for name in carried), "${__url_time_range}")
    )
    return [
        Link(title="Open the pool", url=f"/d/{Uid.POOL}?{parameters}"),
        Link(title="List its stale devices", url=f"/d/{Uid.STALE}?{parameters}"),
    ]


OF_SERIES = "${__field.labels.user_pool_id}"
OF_ROW = "${__data.fields.user_pool_id}"
