"""docker-compose.yaml matches Grafana's provisioning files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.grafana.dashboards import NAMES

ROOT = Path(__file__).resolve().parents[2]
PROVISIONING = ROOT / "grafana" / "provisioning"
EXPRESSIONS = "__expr__"
"""Grafana's built-in data source for expressions over other queries."""


def test_every_mounted_file_exists() -> None:
    mounted = [local for service in compose()["services"] for local, _ in mounts(service) if local.startswith("./")]

    assert mounted
    assert [local for local in mounted if not (ROOT / local).exists()] == []


def test_every_provisioning_folder_is_mounted() -> None:
    mounted = {Path(local).name for local, _ in mounts("grafana") if "provisioning" in local}

    assert mounted == {path.name for path in PROVISIONING.iterdir() if path.is_dir()}


def test_dashboards_are_in_the_provisioned_folder() -> None:
    (provider,) = _read(PROVISIONING / "dashboards" / "cognito-device-exporter.yaml")["providers"]
    folders = {target: ROOT / local for local, target in mounts("grafana")}

    assert {path.name for path in folders[provider["options"]["path"]].glob("*.json")} == set(NAMES)


def test_home_dashboard_exists() -> None:
    home = Path(compose()["services"]["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])

    assert home.name in NAMES
    assert str(home.parent) in {target for _, target in mounts("grafana")}


def test_provisioned_alerts_use_the_datasource() -> None:
    (source,) = _datasources()
    groups = [group for path in (PROVISIONING / "alerting").glob("*.yaml") for group in _read(path).get("groups", [])]
    used = {query["datasourceUid"] for group in groups for rule in group["rules"] for query in rule["data"]}

    assert used - {EXPRESSIONS} == {source["uid"]}


def test_datasource_is_the_scraping_prometheus() -> None:
    (source,) = _datasources()
    scraping = prometheus_configuration()
    (job,) = scraping["scrape_configs"]

    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == scraping["global"]["scrape_interval"]
    assert job["static_configs"][0]["targets"] == ["exporter:10617"]


def test_compose_listens_on_loopback_only() -> None:
    ports = [port for service in compose()["services"].values() for port in service["ports"]]

    assert all(port.startswith("127.0.0.1:") for port in ports)


def compose() -> dict[str, Any]:
    return _read(ROOT / "docker-compose.yaml")


def prometheus_configuration() -> dict[str, Any]:
    configuration: dict[str, Any] = yaml.safe_load(compose()["configs"]["prometheus"]["content"])
    return configuration


def _datasources() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = _read(PROVISIONING / "datasources" / "prometheus.yaml")["datasources"]
    return found


def mounts(service: str) -> list[tuple[str, str]]:
    """Return the mounts of a service as pairs of local path and path in the container."""
    volumes = compose()["services"][service].get("volumes", [])
    return [(volume.split(":")[0], volume.split(":")[1]) for volume in volumes]


def _read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content
