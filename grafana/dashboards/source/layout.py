"""Layout of a dashboard. The sizes of the panels determine their positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.models import dashboard as model

from grafana.dashboards.source.links import Uid, dashboard_links

COLUMNS = 24

TAG = "cognito-devices"


@dataclass(frozen=True, slots=True)
class Section:
    """Panels with a heading."""

    id: int
    title: str
    panels: Sequence[model.Panel]


@dataclass(frozen=True, slots=True)
class DashboardInfo:
    """Identity, texts and default time range of a dashboard."""

    uid: Uid
    title: str
    description: str
    since: str
    """Start of the time range."""
    refresh: str = "1m"


def dashboard(
    info: DashboardInfo,
    variables: Sequence[model.VariableModel],
    top: Sequence[model.Panel],
    sections: Sequence[Section],
) -> model.Dashboard:
    """Return a dashboard with the `top` panels, which have no heading, and the sections below."""
    return model.Dashboard(
        uid=info.uid.value,
        title=info.title,
        description=info.description,
        tags=[TAG],
        editable=True,
        graph_tooltip=model.DashboardCursorSync.CROSSHAIR,
        time=model.DashboardDashboardTime(info.since, "now"),
        timepicker=model.TimePickerConfig(),
        refresh=info.refresh,
        links=dashboard_links(info.uid),
        templating=model.DashboardDashboardTemplating(list_val=list(variables)),
        annotations=model.AnnotationContainer(list_val=[]),
        panels=_placed(top, sections),
    )


def _placed(top: Sequence[model.Panel], sections: Sequence[Section]) -> list[model.Panel | model.RowPanel]:
    placed: list[model.Panel | model.RowPanel] = []
    y = _flow(top, 0)
    placed.extend(top)
    for section in sections:
        placed.append(
            model.RowPanel(
                id_val=section.id, title=section.title, panels=[], grid_pos=model.GridPos(h=1, w=COLUMNS, x=0, y=y)
            )
        )
        y = _flow(section.panels, y + 1)
        placed.extend(section.panels)
    return placed


def _flow(panels: Sequence[model.Panel], y: int) -> int:
    """Place each panel as high and then as far left as possible, from line `y` down. Return the line below."""
    floors = [y] * COLUMNS
    for panel in panels:
        position = panel.grid_pos
        if position is None:
            raise ValueError(f"panel {panel.title!r} has no size")
        places = ((max(floors[x : x + position.w]), x) for x in range(COLUMNS - position.w + 1))
        position.y, position.x = min(places)
        floors[position.x : position.x + position.w] = [position.y + position.h] * position.w
    return max(floors)
