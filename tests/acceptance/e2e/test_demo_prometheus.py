"""Prometheus started by the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
import yaml

from exporter.commands.demo.prometheus import run_prometheus
from tests.tools import required_tool
from tests.unit.commands.demo.test_prometheus import OPTIONS


def asked(url: str, path: str) -> Any:
    session = requests.Session()
    session.trust_env = False
    answer = session.get(f"{url}api/v1/{path}", timeout=10)
    answer.raise_for_status()
    return answer.json()["data"]


def test_demo_prometheus_has_the_rules_and_ends_with_the_demo(tmp_path: Path) -> None:
    program = required_tool("prometheus")
    with run_prometheus(OPTIONS, tmp_path, lambda: program) as url:
        assert url is not None
        assert url.startswith("http://127.0.0.1:")
        (job,) = yaml.safe_load(asked(url, "status/config")["yaml"])["scrape_configs"]
        assert (job["static_configs"], job["metrics_path"]) == ([{"targets": ["127.0.0.1:10617"]}], "/m")
        names = {rule["name"] for group in asked(url, "rules")["groups"] for rule in group["rules"]}
        assert {"cognito_user_pool:devices:sum", "CognitoDeviceExporterAbsent"} <= names
        assert (tmp_path / "prometheus").is_dir()
    with pytest.raises(requests.ConnectionError):
        asked(url, "targets")
