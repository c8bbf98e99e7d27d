"""Rendered objects for every values file of the chart: valid, restricted, the same with Helm 3 and 4."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.errors import ConfigError
from tests.acceptance.deploy.helm import CHART, CI_VALUES, HELMS, NAME, ci, helm, render, render_by
from tests.acceptance.deploy.manifests import (
    MINORS,
    Object,
    Objects,
    operator_faults,
    pods,
    restricted_faults,
    schema_faults,
)
from tests.deploy.configurations import KEY, check_config


@pytest.fixture(params=CI_VALUES, ids=lambda path: path.name.removesuffix("-values.yaml"))
def values(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def everything() -> list[Object]:
    return [found for values in CI_VALUES for found in render(values).all]


@pytest.mark.parametrize("program", HELMS)
def test_helm_lint_reports_nothing(program: str) -> None:
    done = helm("lint", "--strict", CHART, program=program)
    assert done.returncode == 0, done.stdout + done.stderr
    for values in CI_VALUES:
        done = helm("lint", "--strict", CHART, f"--values={values}", program=program)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "WARNING" not in done.stdout


def test_helm_3_and_4_render_the_same(values: Path) -> None:
    assert render_by("helm3", values) == render_by("helm4", values)


@pytest.mark.parametrize("minor", MINORS)
def test_objects_match_oldest_and_newest_kubernetes_schema(minor: str, tmp_path: Path) -> None:
    assert schema_faults(everything(), minor, tmp_path) == ""


def test_oldest_tested_kubernetes_is_the_oldest_allowed() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert chart["kubeVersion"] == f">={MINORS[0]}.0-0"
    for version, admitted in (("1.28.9", False), ("1.29.3-eks-a5df82a", True)):
        arguments = ("template", "devices", CHART, f"--values={ci('minimal')}", f"--kube-version={version}")
        assert (helm(*arguments).returncode == 0) is admitted, version


def test_ci_values_cover_every_kind() -> None:
    assert {found["kind"] for found in everything()} == {
        "ConfigMap",
        "Deployment",
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "Pod",
        "PodDisruptionBudget",
        "PodMonitor",
        "PrometheusRule",
        "Secret",
        "Service",
        "ServiceAccount",
        "ServiceMonitor",
        "StatefulSet",
    }  # fmt: skip - a line each says no more


def test_operator_objects_match_their_schema() -> None:
    seen = [found for found in everything() if found["kind"] in {"ServiceMonitor", "PodMonitor", "PrometheusRule"}]
    assert len(seen) > 5
    assert {found["kind"]: fault for found in seen for fault in operator_faults(found)} == {}


@pytest.mark.parametrize(
    ("path", "value"),
    [("endpoints", [{"port": "http-metrics", "intervall": "30s"}]), ("endpoints", [{"interval": "often"}])],
)
def test_invalid_operator_object_is_detected(path: str, value: Any) -> None:
    monitor = render(serviceMonitor__enabled=True).one("ServiceMonitor")
    assert operator_faults({**monitor, "spec": {**monitor["spec"], path: value}}) != []


def test_containers_meet_the_restricted_standard(values: Path) -> None:
    found = [fault for pod in pods(render(values).all) for fault in restricted_faults(pod)]
    if "platform-ids" not in values.name:
        assert all(pod["securityContext"]["runAsUser"] == 65532 for pod in pods(render(values).all))
    assert found == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"securityContext__readOnlyRootFilesystem": False}, "readOnlyRootFilesystem"),
        ({"securityContext__capabilities": {"add": ["NET_RAW"]}}, "capabilities"),
        ({"podSecurityContext__seccompProfile": None}, "seccompProfile"),
        ({"podSecurityContext__runAsUser": 0}, "runAsUser"),
        ({"podSecurityContext__runAsNonRoot": None}, "runAsNonRoot"),
    ],
)
def test_unrestricted_container_is_detected(change: dict[str, Any], fault: str) -> None:
    assert f"exporter: {fault}" in restricted_faults(render(**change).pod["spec"])


def test_pod_has_no_service_links_and_no_api_token(values: Path) -> None:
    for pod in pods(render(values).all):
        assert pod["enableServiceLinks"] is False
        assert pod["automountServiceAccountToken"] is False
    for account in render(values).of("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_objects_have_namespace_and_labels(values: Path) -> None:
    for found in render(values).all:
        assert found["metadata"]["namespace"] == "monitoring"
        assert found["metadata"]["labels"]["app.kubernetes.io/instance"] == "devices"
        assert found["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "Helm"


def test_selectors_match_pods_by_stable_labels(values: Path) -> None:
    objects = render(values)
    labels = objects.pod["metadata"]["labels"]
    selectors = [objects.workload["spec"]["selector"]["matchLabels"]]
    selectors += [service["spec"]["selector"] for service in objects.of("Service")]
    selectors += [budget["spec"]["selector"]["matchLabels"] for budget in objects.of("PodDisruptionBudget")]
    selectors += [policy["spec"]["podSelector"]["matchLabels"] for policy in objects.of("NetworkPolicy")]
    selectors += [monitor["spec"]["selector"]["matchLabels"] for monitor in objects.of("PodMonitor")]
    for selector in selectors:
        assert selector.items() <= labels.items()
        assert selector.keys() == {"app.kubernetes.io/name", "app.kubernetes.io/instance"}
    for pod in objects.of("Pod"):
        assert not selectors[0].items() <= pod["metadata"]["labels"].items(), "no scrape may go to a pod of a test"


@pytest.mark.parametrize("value", ["commonLabels", "podLabels"])
def test_operator_labels_do_not_break_selectors(value: str) -> None:
    taken = {"app.kubernetes.io/name": "mine", "app.kubernetes.io/instance": "mine", "app.kubernetes.io/version": "9"}
    objects = render(**{value: taken})
    labels = objects.pod["metadata"]["labels"]
    assert objects.workload["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert labels["app.kubernetes.io/version"] == "9"


def test_new_chart_version_does_not_replace_pods() -> None:
    assert "helm.sh/chart" in render().workload["metadata"]["labels"]
    assert "helm.sh/chart" not in render().pod["metadata"]["labels"]


def test_monitor_selects_one_service(values: Path) -> None:
    objects = render(values)
    for monitor in objects.of("ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (service,) = (found for found in objects.of("Service") if wanted <= found["metadata"]["labels"].items())
        assert service["metadata"]["name"] == NAME
        assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
        assert monitor["spec"]["namespaceSelector"]["matchNames"] == [service["metadata"]["namespace"]]


def config_of(objects: Objects) -> str:
    text: str = objects.one("ConfigMap", NAME)["data"]["config.yaml"]
    return text


def test_exporter_accepts_the_configuration(values: Path, tmp_path: Path) -> None:
    objects = render(values)
    if "existing" in values.name:
        assert not objects.of("ConfigMap")
        return
    shards = objects.workload["spec"]["replicas"]
    settings = check_config(config_of(objects), tmp_path, shards)
    assert settings.pools
    assert settings.state_path == tmp_path / "state.sqlite"


def test_exporter_rejects_invalid_configuration_here_too(tmp_path: Path) -> None:
    text = config_of(render(config__defaults={"detail": "everything"}))
    with pytest.raises(ConfigError, match="detail"):
        check_config(text, tmp_path)


def test_numbers_and_shares_keep_their_type() -> None:
    limits = yaml.safe_load(config_of(render(ci("full"))))["limits"]
    assert limits == {"rate": {"UserResourceRead": "20%", "UserList": 2.5}, "series": 1_000_000}
    assert isinstance(limits["series"], int)


def test_key_path_is_set_unless_configured() -> None:
    assert yaml.safe_load(config_of(render(ci("full"))))["defaults"]["identity_key_file"] == KEY
    other = render(identityKey__existingSecret="identity", config__defaults={"identity_key_file": "/elsewhere/key"})
    assert yaml.safe_load(config_of(other))["defaults"]["identity_key_file"] == "/elsewhere/key"
    assert "defaults" not in yaml.safe_load(config_of(render()))
