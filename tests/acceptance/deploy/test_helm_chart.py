"""The chart as a package: schema, README, copies of rules and dashboards, errors and notes."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.config.schema import Root, fields_of
from tests.acceptance.deploy.helm import CHART, CI_VALUES, ci, helm, notes, refusal, render
from tools.helm_chart import DASHBOARDS, ROOT, RULES, VALUES, documents, insert_values_tables, leaves, sections

SCHEMA = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
MEBIBYTE = 1 << 20


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


# Copies


def test_generated_files_are_current() -> None:
    stale = [str(path) for path, content in documents().items() if path.read_bytes() != content]
    assert stale == [], "run `make docs`"


def test_chart_has_no_unexpected_file() -> None:
    files = {path for path in (CHART / "files").rglob("*") if path.is_file()}
    assert files == {path for path in documents() if path.is_relative_to(CHART / "files")}
    assert len(files) == 5


def test_chart_rules_match_the_repository() -> None:
    rendered = render(ci("full")).one("PrometheusRule")["spec"]
    assert rendered == yaml.safe_load(RULES.read_bytes())
    assert "{{ $labels." in json.dumps(rendered)
    done = helm("template", "devices", CHART, f"--values={ci('full')}", "--show-only=templates/prometheusrule.yaml")
    indented = [f"  {line}".rstrip() for line in text_of(RULES).splitlines()]
    assert "\n".join(indented) in done.stdout


def test_chart_dashboards_match_the_repository() -> None:
    maps = [found for found in render(ci("full")).of("ConfigMap") if "grafana_dashboard" in found["metadata"]["labels"]]
    rendered = {name: text for found in maps for name, text in found["data"].items()}
    assert rendered == {f"cognito-device-exporter-{path.name}": text_of(path) for path in DASHBOARDS.glob("*.json")}
    for found in maps:
        assert len(json.dumps(found)) < MEBIBYTE / 2, "what an object may have"
        assert found["metadata"]["annotations"] == {"grafana_folder": "Cognito"}


def test_release_fits_into_its_secret() -> None:
    """Helm stores the chart and the rendered text in one Secret, compressed and base64-encoded."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(CHART, arcname="chart")
    rendered = helm("template", "devices", CHART, f"--values={ci('full')}").stdout
    assert len(gzip.compress(archive.getvalue() + rendered.encode())) * 4 / 3 < MEBIBYTE / 2


def test_chart_versions_match_the_project() -> None:
    chart = yaml.safe_load(text_of(CHART / "Chart.yaml"))
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]
    assert chart["appVersion"] == project["version"]
    assert chart["description"].rstrip(".") in project["description"]
    assert f"### To {chart['version'].partition('.')[0]}.0.0\n" in text_of(CHART / "README.md")


# Values


def test_values_have_a_description_and_a_default() -> None:
    described = {value.key for section in sections(text_of(VALUES)) for value in section.values}
    for leaf in leaves(yaml.safe_load(text_of(VALUES))):
        parts = leaf.split(".")
        assert any(".".join(parts[:depth]) in described for depth in range(1, len(parts) + 1)), leaf


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("# @section A\n# -- One\n# line.\na: 1\n", [("a", 1, "One line.")]),
        ("# @section A\na:\n  # -- B.\n  b: []\nc: 2\n", [("a.b", [], "B.")]),
        (
            "# @section A\n# @other\na:\n  b:\n    # -- C.\n    c: x\n  # -- D.\n  d: {}\n",
            [("a.b.c", "x", "C."), ("a.d", {}, "D.")],
        ),
    ],
)  # fmt: skip - a table
def test_readme_tables_come_from_comments(text: str, found: list[tuple[str, Any, str]]) -> None:
    (section,) = sections(text)
    assert [(value.key, value.default, value.description) for value in section.values] == found


def test_description_without_a_value_is_rejected() -> None:
    with pytest.raises(ValueError, match="description without a key: Lost"):
        sections("# @section A\n# -- Lost.\n\na: 1\n")
    with pytest.raises(ValueError, match="markers"):
        insert_values_tables("# no markers\n")


def test_schema_has_exactly_the_values() -> None:
    compare(yaml.safe_load(text_of(VALUES)), SCHEMA, "")


def compare(values: dict[str, Any], schema: dict[str, Any], path: str) -> None:
    """Assert that mappings with properties in the schema have exactly those of the values."""
    if "properties" not in schema:
        return
    assert schema["additionalProperties"] is False, path
    named = schema["properties"].keys() - {"global"}
    assert values.keys() <= named, path
    free = {"serviceMonitor.basicAuth", "podMonitor.basicAuth"}
    optional = {"claims", "initialDelaySeconds", "successThreshold"}
    if path not in free:
        assert named - optional <= values.keys(), path
    for key, part in values.items():
        if isinstance(part, dict):
            compare(part, schema["properties"][key], f"{path}.{key}".lstrip("."))


def test_schema_has_the_configuration_keys() -> None:
    assert SCHEMA["properties"]["config"]["properties"].keys() == fields_of(Root).keys()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"shard": 3}, "'shard' not allowed"),
        ({"shards": 0}, "/shards"),
        ({"shards": "3"}, "/shards"),
        ({"image__tagg": "1"}, "'tagg' not allowed"),
        ({"config__pool": []}, "'pool' not allowed"),
        ({"config__pools": ["eu-west-1_AbCdEfGhI"]}, "/config/pools/0"),
        ({"log__level": "loud"}, "/log/level"),
        ({"telemetryPath": "metrics"}, "/telemetryPath"),
        ({"autoReloadInterval": "soon"}, "/autoReloadInterval"),
        ({"probeListener__port": 10617}, "/probeListener/port"),
        ({"serviceMonitor__intervall": "1m"}, "'intervall' not allowed"),
        ({"persistence__accessModes": []}, "/persistence/accessModes"),
        ({"image__digest": "latest"}, "/image/digest"),
        ({"config__pools": []}, "config.pools: expected at least one user pool"),
        (
            {"existingConfig__configMap": "a", "existingConfig__secret": "b"},
            "existingConfig: expected configMap or secret",
        ),
        (
            {"webConfig__existingSecret": "a", "webConfig__config": {"basic_auth_users": {}}},
            "webConfig: expected config or",
        ),
        ({"webConfig__tls": True}, "webConfig.existingSecret, which is not set"),
        ({"shards": 2, "persistence__existingClaim": "a"}, "persistence.existingClaim: expected none"),
        ({"serviceMonitor__enabled": True, "podMonitor__enabled": True}, "every device is counted twice"),
        ({"shards": 3, "extraArgs": ["--shard=1/3"]}, "extraArgs: expected no --shard with shards: 3"),
        ({"shards": 2, "extraArgs": ["--log.level=debug", "--shard", "0/2"]}, "no --shard with shards: 2"),
        ({"shards": 2, "extraArgs": ["--shard 0/2"]}, "extraArgs: expected no --shard with shards: 2"),
        (
            {"podDisruptionBudget__enabled": True, "podDisruptionBudget__maxUnavailable": None},
            "podDisruptionBudget: expected minAvailable or maxUnavailable, found neither",
        ),
        (
            {"podDisruptionBudget": {"enabled": True, "minAvailable": None, "maxUnavailable": ""}},
            "podDisruptionBudget: expected minAvailable or maxUnavailable, found neither",
        ),
    ],
)  # fmt: skip - a table
def test_invalid_value_is_rejected_with_its_path(change: dict[str, Any], said: str) -> None:
    assert said in refusal(**change)


def test_values_without_pools_are_rejected() -> None:
    done = helm("template", "devices", CHART)
    assert done.returncode != 0
    assert "config.pools: expected at least one user pool, such as `- id: eu-west-1_AbCdEfGhI`" in done.stderr


# Notes, packages


@pytest.mark.parametrize("values", CI_VALUES, ids=lambda path: path.name)
def test_notes_name_what_is_missing(values: Path) -> None:
    said = notes(values)
    assert "port-forward service/devices-cognito-device-exporter" in said
    given = yaml.safe_load(text_of(values))
    assert ("create-pod-identity-association" in said) is (values != ci("irsa"))
    monitored = any(given.get(kind, {}).get("enabled") for kind in ("serviceMonitor", "podMonitor"))
    assert ("Prometheus does not scrape" in said) is not monitored
    kept = given.get("persistence", {}).get("enabled", False)
    assert ("emptyDir" in said) is not kept


@pytest.mark.parametrize(
    ("shards", "budget", "warned"),
    [
        (1, {}, False),
        (1, {"minAvailable": 1}, True),
        (1, {"minAvailable": "1%"}, True),
        (1, {"minAvailable": 0}, False),
        (1, {"maxUnavailable": 0}, True),
        (1, {"maxUnavailable": "0%"}, True),
        (1, {"maxUnavailable": "1%"}, False),
        (1, {"minAvailable": None, "maxUnavailable": 0}, True),
        (3, {"minAvailable": 2}, False),
        (3, {"minAvailable": 3}, True),
        (3, {"minAvailable": "66%"}, False),
        (3, {"minAvailable": "67%"}, True),
        (3, {"minAvailable": 2, "maxUnavailable": 0}, False),
        (11, {"minAvailable": 9}, False),
    ],
)
def test_notes_warn_about_a_blocking_disruption_budget(shards: int, budget: dict[str, Any], warned: bool) -> None:
    given = {"enabled": True, **budget}
    said = notes(shards=shards, podDisruptionBudget=given)
    assert ("WARNING: the PodDisruptionBudget allows no eviction" in said) is warned
    assert "WARNING" not in notes(shards=shards, podDisruptionBudget={**given, "enabled": False})


def test_chart_package_has_exactly_the_needed_files(tmp_path: Path) -> None:
    done = helm("package", CHART, f"--destination={tmp_path}")
    assert done.returncode == 0, done.stderr
    (package,) = tmp_path.glob("cognito-device-exporter-*.tgz")
    with tarfile.open(package) as tar:
        names = {Path(name).relative_to("cognito-device-exporter").parts[0] for name in tar.getnames()}
    expected = {"Chart.yaml", "README.md", "files", "templates", "values.schema.json", "values.yaml", ".helmignore"}
    assert names == expected
