"""The dashboard files are current, valid and complete, and match the metrics catalog."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from grafana.dashboards.source.__main__ import main
from grafana.dashboards.source.buckets import spellings
from tests.grafana.dashboards import FOLDER, NAMES, PanelQuery, load, panels, queries, variables
from tests.grafana.promql import catalog_vocabulary, unknown_names

UIDS = {
    "overview.json": "cognito-devices-overview",
    "pool.json": "cognito-devices-pool",
    "stale-devices.json": "cognito-devices-stale",
    "exporter.json": "cognito-devices-exporter",
}
"""UIDs that bookmarks, links and alerts use."""

SCHEMAS = Path(__file__).parents[1] / "data" / "grafana"
"""Grafana's own JSON schemas."""

BUILT_IN = frozenset({"__rate_interval", "__url_time_range", "__field", "__data", "__all"})
"""Variables that Grafana defines."""

_VARIABLE = re.compile(r"\$(?:\{(?P<braced>\w+)[^}]*\}|(?P<plain>[A-Za-z_]\w*))")
_LINK = re.compile(r"^/d/(?P<uid>[\w-]+)(?:\?(?P<parameters>.*))?$")

each_dashboard = pytest.mark.parametrize("name", NAMES)


def test_dashboard_files_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"]) == 0, capsys.readouterr().err


def test_check_reports_outdated_dashboard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], tmp_path) == 0
    (tmp_path / "pool.json").write_text("{}", encoding="utf-8")

    assert main(["--check"], tmp_path) == 1
    assert capsys.readouterr().err.startswith("pool.json: out of date")


def test_folder_has_no_other_dashboards() -> None:
    assert {path.name for path in FOLDER.glob("*.json")} == set(NAMES)


def test_documentation_shows_every_dashboard() -> None:
    page = FOLDER.parents[1] / "docs" / "dashboards.md"
    text = page.read_text(encoding="utf-8")
    pictures = re.findall(r"!\[[^]]+\]\(([^)]+)\)", text)

    assert [uid for uid in UIDS.values() if f"`{uid}`" not in text] == []
    assert len(pictures) == len(NAMES)
    assert [picture for picture in pictures if not (page.parent / picture).exists()] == []


@each_dashboard
def test_dashboard_matches_grafana_schema(name: str) -> None:
    dashboard = load(name)
    found = _violations("dashboard", "Dashboard", dashboard)
    for panel in dashboard["panels"]:
        found += _violations("dashboard", "RowPanel" if panel["type"] == "row" else "Panel", panel)
    for panel in panels(dashboard):
        found += _violations(panel["type"], "Options", panel["options"])
        custom = panel["fieldConfig"]["defaults"].get("custom")
        if custom is not None:
            found += _violations(panel["type"], "FieldConfig", custom)
        for target in panel["targets"]:
            found += _violations("prometheus", "Dataquery", target)

    assert found == []


@each_dashboard
def test_dashboard_uid_is_stable(name: str) -> None:
    assert load(name)["uid"] == UIDS[name]


@each_dashboard
def test_panel_ids_are_unique(name: str) -> None:
    ids = Counter(panel["id"] for panel in load(name)["panels"])

    assert 0 not in ids
    assert [number for number, times in ids.items() if times > 1] == []


@each_dashboard
def test_every_panel_has_a_description(name: str) -> None:
    assert [panel["title"] for panel in panels(load(name)) if len(panel.get("description", "")) < 30] == []


@each_dashboard
def test_every_panel_has_a_unit(name: str) -> None:
    assert [panel["title"] for panel in panels(load(name)) if not panel["fieldConfig"]["defaults"].get("unit")] == []


@each_dashboard
def test_no_panel_has_more_than_three_queries(name: str) -> None:
    for panel in panels(load(name)):
        refs = [target["refId"] for target in panel["targets"]]
        assert refs == ["A", "B", "C"][: len(refs)], panel["title"]
        assert refs, panel["title"]


@each_dashboard
def test_every_query_uses_the_datasource_variable(name: str) -> None:
    dashboard = load(name)
    asking = [*panels(dashboard), *(target for panel in panels(dashboard) for target in panel["targets"])]
    asking += [variable for variable in variables(dashboard) if variable["type"] == "query"]

    assert {one["datasource"]["uid"] for one in asking} == {"${datasource}"}


@each_dashboard
def test_every_used_variable_is_defined(name: str) -> None:
    dashboard = load(name)

    assert _used(dashboard) - BUILT_IN <= {variable["name"] for variable in variables(dashboard)}


@each_dashboard
def test_every_visible_variable_is_used(name: str) -> None:
    dashboard = load(name)
    in_queries = {found for panel in panels(dashboard) for found in _used(panel)}
    in_variables = {found for variable in variables(dashboard) for found in _used(variable)}
    shown = {variable["name"] for variable in variables(dashboard) if not variable.get("hide")}

    assert shown <= in_queries | in_variables


@each_dashboard
@pytest.mark.parametrize("common", ["datasource", "pool", "threshold", "interval"])
def test_dashboards_share_variables(name: str, common: str) -> None:
    assert common in {variable["name"] for variable in variables(load(name))}


@each_dashboard
def test_every_variable_has_a_description(name: str) -> None:
    assert [variable["name"] for variable in variables(load(name)) if not variable.get("description")] == []


@each_dashboard
def test_dashboard_links_keep_variables_and_time(name: str) -> None:
    links = load(name)["links"]

    assert {link["url"] for link in links} == {f"/d/{uid}" for uid in UIDS.values() if uid != UIDS[name]}
    assert all(link["includeVars"] and link["keepTime"] for link in links)
    assert not any("placement" in link for link in links), "above the panels, not in a menu"


@each_dashboard
def test_panel_links_carry_variables_of_their_target(name: str) -> None:
    by_uid = {uid: {variable["name"] for variable in variables(load(file))} for file, uid in UIDS.items()}

    for url in _urls(panels(load(name))):
        match = _LINK.match(url)
        assert match, url
        assert match["uid"] in by_uid, url
        parameters = (match["parameters"] or "").split("&")
        carried = {name.removeprefix("var-").partition("=")[0] for name in parameters if name.startswith("var-")}
        carried |= {found["braced"] for found in _VARIABLE.finditer(url) if ":queryparam}" in found[0]}
        assert carried <= by_uid[match["uid"]], url


@each_dashboard
def test_panels_fit_the_grid_without_overlap(name: str) -> None:
    taken: Counter[tuple[int, int]] = Counter()
    for panel in load(name)["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        taken.update((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"]))

    assert [cell for cell, times in taken.items() if times > 1] == []


@pytest.mark.parametrize("query", queries(), ids=str)
def test_query_uses_known_names_only(query: PanelQuery) -> None:
    assert unknown_names(query.promql, catalog_vocabulary()) == []


@pytest.mark.parametrize("query", queries(), ids=str)
def test_query_does_not_match_bucket_bounds(query: PanelQuery) -> None:
    assert not re.search(r"\ble\s*(=|!)", query.expr)


@pytest.mark.parametrize(
    ("bound", "spelling"),
    [
        (0, "0"),
        (0, "0.0"),
        (10, "10"),
        (10, "1e+01"),
        (2592000, "2592000"),
        (2592000, "2592000.0"),
        (2592000, "2.592e+06"),
        (2592000, "2.592e6"),
    ],
)
def test_bound_pattern_matches_every_spelling(bound: int, spelling: str) -> None:
    assert re.fullmatch(spellings(bound), spelling)


def test_bound_pattern_does_not_match_other_bounds() -> None:
    assert not re.fullmatch(spellings(2), "20.0")
    assert not re.fullmatch(spellings(2592000), "2x592e+06")


def _violations(plugin: str, definition: str, value: object) -> list[str]:
    """Return the violations of Grafana's schema."""
    path = SCHEMAS / f"{plugin}.jsonschema.json"
    definitions = _fix_schema(json.loads(path.read_text(encoding="utf-8"))["definitions"])
    validator = Draft7Validator({"$ref": f"#/definitions/{definition}", "definitions": definitions})
    return [f"{definition} {error.json_path}: {error.message[:200]}" for error in validator.iter_errors(value)]


def _fix_schema(schema: Any) -> Any:
    """Return the schema without the errors of its translation from CUE.

    "Any value" became "an object with any values", although the value of an override is often a number. Alternatives
    that overlap became mutually exclusive.
    """
    if isinstance(schema, list):
        return [_fix_schema(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("type") == "object" and schema.get("additionalProperties") == {} and "properties" not in schema:
        return {}
    return {"anyOf" if key == "oneOf" else key: _fix_schema(part) for key, part in schema.items()}


def _used(part: Any) -> set[str]:
    """Return the variables that a part of a dashboard uses."""
    return {match["braced"] or match["plain"] for match in _VARIABLE.finditer(json.dumps(part))}


def _urls(part: Any) -> list[str]:
    """Return the URLs of all links in a part of a dashboard."""
    if isinstance(part, dict):
        own = [part["url"]] if isinstance(part.get("url"), str) else []
        return own + [url for value in part.values() for url in _urls(value)]
    if isinstance(part, list):
        return [url for value in part for url in _urls(value)]
    return []
