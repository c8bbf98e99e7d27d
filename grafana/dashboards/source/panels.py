"""Panel types with the options that all dashboards share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from grafana_foundation_sdk.models import bargauge, common, heatmap, prometheus, stat, table, timeseries
from grafana_foundation_sdk.models import dashboard as model

from grafana.dashboards.source.theme import COUNT, NO_THRESHOLDS
from grafana.dashboards.source.variables import DATASOURCE

Override = model.DashboardFieldConfigSourceOverrides
Transformation = model.DataTransformerConfig


@dataclass(frozen=True, slots=True)
class Query:
    """Query of a panel, with the legend of its series."""

    expr: str
    legend: str = "__auto"
    format: prometheus.PromQueryFormat = prometheus.PromQueryFormat.TIME_SERIES
    instant: bool = False

    def target(self, ref_id: str) -> prometheus.Dataquery:
        """Return the query in Grafana's model."""
        return prometheus.Dataquery(
            datasource=DATASOURCE,
            editor_mode=prometheus.QueryEditorMode.CODE,
            expr=self.expr,
            format_val=self.format,
            instant=self.instant,
            range_val=not self.instant,
            legend_format=self.legend,
            ref_id=ref_id,
        )


@dataclass(frozen=True, slots=True)
class Frame:
    """Id (which never changes), texts and size of a panel, in a grid of 24 columns."""

    id: int
    title: str
    description: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class ValueOptions:
    """Format and colors of values."""

    unit: str = COUNT
    decimals: int | None = None
    minimum: float | None = None
    maximum: float | None = None
    thresholds: model.ThresholdsConfig = NO_THRESHOLDS
    color: model.FieldColor | None = None
    mappings: Sequence[model.ValueMapping] = ()
    overrides: Sequence[Override] = ()
    links: Sequence[model.DashboardLink] = ()
    name: str | None = None
    """Display name of the values."""
    none: str | None = None
    """Text that replaces a value or the whole panel if there is no data."""

    def config(self, color: model.FieldColorModeId, custom: object = None) -> model.FieldConfigSource:
        """Return the options in Grafana's model. `color` is the default color mode."""
        defaults = model.FieldConfig(
            display_name=self.name,
            unit=self.unit,
            decimals=self.decimals,
            min_val=self.minimum,
            max_val=self.maximum,
            thresholds=self.thresholds,
            color=self.color or model.FieldColor(mode=color),
            mappings=list(self.mappings),
            links=list(self.links),
            no_value=self.none,
            custom=custom,
        )
        return model.FieldConfigSource(defaults=defaults, overrides=list(self.overrides))


def _panel(
    kind: str,
    frame: Frame,
    queries: Sequence[Query],
    options: object,
    field_config: model.FieldConfigSource,
    transformations: Sequence[Transformation] = (),
) -> model.Panel:
    return model.Panel(
        type_val=kind,
        id_val=frame.id,
        title=frame.title,
        description=frame.description,
        datasource=DATASOURCE,
        grid_pos=model.GridPos(w=frame.width, h=frame.height),
        targets=[query.target(chr(ord("A") + index)) for index, query in enumerate(queries)],
        transformations=list(transformations) or None,
        options=options,
        field_config=field_config,
    )


def number(frame: Frame, query: Query, values: ValueOptions | None = None, *, sparkline: bool = True) -> model.Panel:
    """Return a panel with one number, colored by its threshold, above a sparkline."""
    options = stat.Options(
        graph_mode=common.BigValueGraphMode.AREA if sparkline else common.BigValueGraphMode.NONE,
        color_mode=common.BigValueColorMode.VALUE,
        text_mode=common.BigValueTextMode.VALUE,
        reduce_options=_last(),
    )
    shown = values or ValueOptions()
    return _panel("stat", frame, (query,), options, shown.config(model.FieldColorModeId.THRESHOLDS))


@dataclass(frozen=True, slots=True)
class LineOptions:
    """Options of a line graph."""

    fill: int = 0
    stacked: bool = False
    line_at_threshold: bool = False
    legend_right: bool = False
    calcs: tuple[str, ...] = ("lastNotNull",)


def lines(
    frame: Frame, queries: Sequence[Query], values: ValueOptions | None = None, drawing: LineOptions | None = None
) -> model.Panel:
    """Return a line graph whose legend has the last values."""
    how = drawing or LineOptions()
    custom = timeseries.FieldConfig(
        # An outline of an empty layer would hide the one below it.
        line_width=0 if how.stacked else 2,
        fill_opacity=70 if how.stacked else how.fill,
        show_points=common.VisibilityMode.NEVER,
        axis_soft_min=0,
        stacking=common.StackingConfig(
            mode=common.StackingMode.NORMAL if how.stacked else common.StackingMode.NONE, group="A"
        ),
        thresholds_style=common.GraphThresholdsStyleConfig(
            mode=common.GraphThresholdsStyleMode.DASHED
            if how.line_at_threshold
            else common.GraphThresholdsStyleMode.OFF
        ),
    )
    legend = common.VizLegendOptions(
        display_mode=common.LegendDisplayMode.TABLE if how.legend_right else common.LegendDisplayMode.LIST,
        placement=common.LegendPlacement.RIGHT if how.legend_right else common.LegendPlacement.BOTTOM,
        show_legend=True,
        calcs=list(how.calcs),
        sort_by="Last *" if how.legend_right else None,
        sort_desc=True if how.legend_right else None,
    )
    options = timeseries.Options(
        legend=legend,
        tooltip=common.VizTooltipOptions(mode=common.TooltipDisplayMode.MULTI, sort=common.SortOrder.DESCENDING),
    )
    shown = values or ValueOptions()
    config = shown.config(model.FieldColorModeId.PALETTE_CLASSIC, custom)
    return _panel("timeseries", frame, queries, options, config)


def by_bucket(frame: Frame, buckets: str, names: Sequence[Transformation]) -> model.Panel:
    """Return a heatmap of a histogram over time. `buckets` is a query with one value per `le`."""
    options = heatmap.Options(
        calculate=False,
        color=heatmap.HeatmapColorOptions(
            mode=heatmap.HeatmapColorMode.SCHEME,
            scale=heatmap.HeatmapColorScale.EXPONENTIAL,
            exponent=0.5,
            fill="dark-orange",
            scheme="Oranges",
            steps=64,
            reverse=False,
        ),
        rows_frame=heatmap.RowsHeatmapOptions(layout=common.HeatmapCellLayout.LE),
        y_axis=heatmap.YAxisConfig(axis_placement=common.AxisPlacement.LEFT),
        cell_values=heatmap.CellValues(unit=COUNT, decimals=0),
        cell_gap=1,
        tooltip=heatmap.HeatmapTooltip(mode=common.TooltipDisplayMode.SINGLE, y_histogram=True, show_color_scale=True),
    )
    query = Query(buckets, "{{le}}", prometheus.PromQueryFormat.HEATMAP)
    config = ValueOptions().config(model.FieldColorModeId.PALETTE_CLASSIC)
    return _panel("heatmap", frame, (query,), options, config, names)


def bars(
    frame: Frame, query: Query, values: ValueOptions, transformations: Sequence[Transformation] = ()
) -> model.Panel:
    """Return one bar per series, in the order of the query result."""
    options = bargauge.Options(
        display_mode=common.BarGaugeDisplayMode.BASIC,
        value_mode=common.BarGaugeValueMode.TEXT,
        name_placement=common.BarGaugeNamePlacement.LEFT,
        orientation=common.VizOrientation.HORIZONTAL,
        sizing=common.BarGaugeSizing.AUTO,
        min_viz_height=8,
        max_viz_height=36,
        text=common.VizTextDisplayOptions(value_size=14),
        legend=common.VizLegendOptions(show_legend=False),
        reduce_options=_last(),
    )
    config = values.config(model.FieldColorModeId.THRESHOLDS)
    return _panel("bargauge", frame, (replace(query, instant=True),), options, config, transformations)


def bucket_bars(frame: Frame, buckets: str, names: Sequence[Transformation], values: ValueOptions) -> model.Panel:
    """Return the current histogram, one bar per bucket."""
    return bars(frame, Query(buckets, "{{le}}", prometheus.PromQueryFormat.HEATMAP), values, names)


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of a table, from left to right."""

    titles: dict[str, str]
    """Headings by field. Other fields are omitted."""
    key: str | None = None
    """Field by which several queries are joined."""
    calculations: tuple[Transformation, ...] = ()
    sort_by: str = ""
    """Heading of the column to sort by, highest first."""

    def transformations(self) -> list[Transformation]:
        """Return transformations that join, calculate, select, order and name the columns."""
        join = [Transformation("joinByField", options={"byField": self.key, "mode": "outer"})] if self.key else []
        return [
            *join,
            *self.calculations,
            Transformation("filterFieldsByName", options={"include": {"names": list(self.titles)}}),
            Transformation(
                "organize",
                options={
                    "excludeByName": {},
                    "indexByName": {field: index for index, field in enumerate(self.titles)},
                    # Links in cells refer to the pool by the original field name, which must remain.
                    "renameByName": {field: title for field, title in self.titles.items() if field != title},
                },
            ),
        ]


def rows(frame: Frame, exprs: Sequence[str], columns: Columns, values: ValueOptions) -> model.Panel:
    """Return a sortable table with one row per series."""
    options = table.Options(
        cell_height=common.TableCellHeight.SM,
        show_header=True,
        sort_by=[common.TableSortByFieldState(display_name=columns.sort_by, desc=True)] if columns.sort_by else [],
    )
    custom = common.TableFieldOptions(
        align=common.FieldTextAlignment.AUTO, cell_options=common.TableAutoCellOptions(), inspect=False
    )
    queries = [Query(expr, "", prometheus.PromQueryFormat.TABLE, instant=True) for expr in exprs]
    config = values.config(model.FieldColorModeId.THRESHOLDS, custom)
    return _panel("table", frame, queries, options, config, columns.transformations())


def multiplied(left: str, right: str, alias: str) -> Transformation:
    """Return a calculated column, the product of two others."""
    binary = {"left": left, "operator": "*", "right": right}
    return Transformation("calculateField", options={"mode": "binary", "alias": alias, "binary": binary})


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions(calcs=["lastNotNull"], fields="", values=False)
