"""A dashboard out of rows of panels: positions follow from the panels' sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.models import dashboard as model

from grafana.dashboards.source.links import Uid, to_others

COLUMNS = 24

TAG = "cognito-devices"


@dataclass(frozen=True, slots=True)
class Section:
    """Panels under a heading."""

    id: int
    title: str
    panels: Sequence[model.Panel]


@dataclass(frozen=True, slots=True)
class Words:
    """What a dashboard is, and how it begins."""

    uid: Uid
    title: str
    description: str
    since: str
    """The start of the time range."""
    refresh: str = "1m"


def dashboard(
    words: Words, variables: Sequence[model.VariableModel], top: Sequence[model.Panel], sections: Sequence[Section]
) -> model.Dashboard:
    """Everything in its place: `top` without a heading, then the sections."""
    return model.Dashboard(
        uid=words.uid.value,
        title=words.title,
        description=words.description,
        tags=[TAG],
        editable=True,
        graph_tooltip=model.DashboardCursorSync.CROSSHAIR,
        time=model.DashboardDashboardTime(words.since, "now"),
        timepicker=model.TimePickerConfig(),
        refresh=words.refresh,
        links=to_others(words.uid),
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
    """Put each panel as high as it fits, then as far left, from the line `y` down; the answer is the line below."""
    floors = [y] * COLUMNS
    for panel in panels:
        position = panel.grid_pos
        if position is None:
            raise ValueError(f"panel {panel.title!r} has no size")
        places = ((max(floors[x : x + position.w]), x) for x in range(COLUMNS - position.w + 1))
        position.y, position.x = min(places)
        floors[position.x : position.x + position.w] = [position.y + position.h] * position.w
    return max(floors)
