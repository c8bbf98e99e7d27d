"""Links between the dashboards. They carry variables and the time range."""

from __future__ import annotations

from enum import StrEnum

from grafana_foundation_sdk.models import dashboard as model


class Uid(StrEnum):
    """UID of each dashboard. Links, bookmarks and alerts use it, so it never changes."""

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
    Uid.POOL: "One pool in detail",
    Uid.STALE: "Users and devices idle for longer than the threshold",
    Uid.EXPORTER: "Health of the exporter and freshness of its data",
}


class Link(model.DashboardLink):
    """Link that is always visible. The library's default is to put links into a menu."""

    def to_json(self) -> dict[str, object]:
        """Return the link without `placement`."""
        return {key: value for key, value in super().to_json().items() if key != "placement"}


def dashboard_links(here: Uid) -> list[model.DashboardLink]:
    """Return links to the other dashboards, in the same order on every dashboard."""
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


def pool_links(pool_id: str, *carried: str) -> list[Link]:
    """Return links to a pool's dashboards that carry the given variables. `pool_id` is a Grafana expression."""
    parameters = "&".join(
        (f"var-pool={pool_id}", *(f"${{{name}:queryparam}}" for name in carried), "${__url_time_range}")
    )
    return [
        Link(title="Open the pool", url=f"/d/{Uid.POOL}?{parameters}"),
        Link(title="List stale devices", url=f"/d/{Uid.STALE}?{parameters}"),
    ]


POOL_OF_SERIES = "${__field.labels.user_pool_id}"
POOL_OF_ROW = "${__data.fields.user_pool_id}"
