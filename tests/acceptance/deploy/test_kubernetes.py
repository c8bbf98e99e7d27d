"""Plain manifests: a Deployment, and a sidecar in an application's pod."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path

import pytest
import yaml

from tests.acceptance.deploy.helm import CHART, render
from tests.acceptance.deploy.manifests import (
    MINORS,
    Object,
    Objects,
    kustomize,
    parse,
    pods,
    restricted_faults,
    schema_faults,
)
from tests.deploy.configurations import check_config

KUBERNETES = Path(__file__).parents[3] / "deploy" / "kubernetes"
DOCUMENTATION = KUBERNETES.parents[1] / "docs" / "kubernetes.md"
DIRECTORIES = ("base", "overlays/sidecar")
EXPORTER = "cognito-device-exporter"


@cache
def built(directory: str) -> Objects:
    return parse(kustomize(KUBERNETES / directory))


@pytest.fixture(params=DIRECTORIES)
def objects(request: pytest.FixtureRequest) -> Objects:
    return built(request.param)


@pytest.mark.parametrize("minor", MINORS)
def test_objects_match_oldest_and_newest_kubernetes_schema(minor: str, tmp_path: Path) -> None:
    everything = [found for directory in DIRECTORIES for found in built(directory).all]
    assert {found["kind"] for found in everything} == {"ConfigMap", "Deployment", "Service", "ServiceAccount"}
    assert schema_faults(everything, minor, tmp_path) == ""


def test_misspelled_field_is_detected(tmp_path: Path) -> None:
    deployment = yaml.safe_load(yaml.safe_dump(built("base").workload))
    deployment["spec"]["template"]["spec"]["enableServiceLink"] = False
    assert "enableServiceLink" in schema_faults([deployment], MINORS[-1], tmp_path)


def test_containers_meet_the_restricted_standard(objects: Objects) -> None:
    assert [fault for pod in pods(objects.all) for fault in restricted_faults(pod)] == []


def test_pod_has_no_service_links_and_no_api_token(objects: Objects) -> None:
    assert objects.pod["spec"]["enableServiceLinks"] is False
    assert objects.pod["spec"]["automountServiceAccountToken"] is False


def test_exporter_accepts_the_configuration(objects: Objects, tmp_path: Path) -> None:
    (config_map,) = objects.of("ConfigMap")
    check_config(config_map["data"]["config.yaml"], tmp_path)


def test_changed_configuration_causes_a_rollout(objects: Objects) -> None:
    (config_map,) = objects.of("ConfigMap")
    volume = volumes(objects)[f"{EXPORTER}-config"]
    assert volume["configMap"]["name"] == config_map["metadata"]["name"]
    assert config_map["metadata"]["name"].startswith(f"{EXPORTER}-"), (
        "kustomize puts a hash of the contents behind the name"
    )


def test_state_path_is_in_the_state_volume(objects: Objects) -> None:
    (config_map,) = objects.of("ConfigMap")
    state = Path(yaml.safe_load(config_map["data"]["config.yaml"])["state"]["path"])
    mounts = {mount["mountPath"] for mount in objects.exporter["volumeMounts"]}
    assert str(state.parent) in mounts


def test_service_selects_the_exporter() -> None:
    base = built("base")
    service = base.one("Service")
    assert service["spec"]["selector"].items() <= base.pod["metadata"]["labels"].items()
    (port,) = service["spec"]["ports"]
    (listening,) = base.exporter["ports"]
    assert port["targetPort"] == listening["name"]
    assert (port["port"], listening["containerPort"]) == (10617, 10617)


def test_two_exporters_never_run_at_once() -> None:
    spec = built("base").workload["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_exporter_has_liveness_and_readiness_probes() -> None:
    exporter = built("base").exporter
    assert exporter["livenessProbe"]["httpGet"] == {"path": "/-/healthy", "port": "http-metrics"}
    assert exporter["readinessProbe"]["httpGet"] == {"path": "/-/ready", "port": "http-metrics"}


def test_sidecar_does_not_block_the_application() -> None:
    sidecar = built("overlays/sidecar")
    assert "readinessProbe" not in sidecar.exporter
    assert "startupProbe" not in sidecar.exporter
    assert "initContainers" not in sidecar.pod["spec"]
    assert sidecar.exporter["livenessProbe"] == built("base").exporter["livenessProbe"]


def test_sidecar_differs_only_in_readiness() -> None:
    own, base = dict(built("overlays/sidecar").exporter), dict(built("base").exporter)
    base.pop("readinessProbe")
    shared = built("base").pod["spec"]["securityContext"]
    base["securityContext"] = base["securityContext"] | {
        key: shared[key] for key in ("runAsNonRoot", "runAsUser", "runAsGroup", "seccompProfile")
    }
    assert own == base
    assert built("overlays/sidecar").pod["spec"]["securityContext"]["fsGroup"] == own["securityContext"]["runAsGroup"]
    assert {name: volume for name, volume in volumes(built("base")).items() if name.startswith(EXPORTER)} == {
        name: volume for name, volume in volumes(built("overlays/sidecar")).items() if name.startswith(EXPORTER)
    }


def test_sidecar_shares_only_what_it_needs() -> None:
    sidecar = built("overlays/sidecar")
    spec = sidecar.pod["spec"]
    application = container(sidecar, "application")
    own = {mount["name"] for mount in sidecar.exporter["volumeMounts"]}
    assert own.isdisjoint(mount["name"] for mount in application.get("volumeMounts", []))
    assert own == volumes(sidecar).keys()
    assert spec["shareProcessNamespace"] is False
    assert application["securityContext"].get("runAsUser", spec["securityContext"]["runAsUser"]) != 65532


def test_application_is_unchanged_by_the_sidecar() -> None:
    written = yaml.safe_load((KUBERNETES / "overlays/sidecar/application.yaml").read_text(encoding="utf-8"))
    sidecar = built("overlays/sidecar")
    assert container(sidecar, "application") == written["spec"]["template"]["spec"]["containers"][0]
    assert sidecar.workload["spec"]["replicas"] == written["spec"]["replicas"] == 1
    for key, value in written["spec"]["template"]["spec"]["securityContext"].items():
        assert sidecar.pod["spec"]["securityContext"][key] == value
    default = sidecar.pod["metadata"]["annotations"]["kubectl.kubernetes.io/default-container"]
    assert default == "application"


def test_manifests_chart_and_image_agree() -> None:
    chart = render()
    for objects in map(built, DIRECTORIES):
        assert objects.exporter["image"] == chart.exporter["image"]
        assert objects.exporter["resources"] == chart.exporter["resources"]
    assert built("base").pod["spec"]["securityContext"] == chart.pod["spec"]["securityContext"]
    version = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))["appVersion"]
    assert chart.exporter["image"].endswith(f":{version}")
    user = chart.pod["spec"]["securityContext"]["runAsUser"]
    assert f"USER {user}:{user}\n" in (KUBERNETES.parents[1] / "Dockerfile").read_text(encoding="utf-8")


def blocks(document: Path) -> list[str]:
    return re.findall(r"^```yaml\n(.*?)^```", document.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def test_documented_kustomization_renders(tmp_path: Path) -> None:
    (block,) = (block for block in blocks(DOCUMENTATION) if "kind: Kustomization" in block)
    # kustomize accepts only a relative path to a base.
    base = os.path.relpath(KUBERNETES / "base", tmp_path)
    (tmp_path / "kustomization.yaml").write_text(block.replace("../base", base), encoding="utf-8")
    (tmp_path / "config.yaml").write_text("pools: [{id: eu-west-1_JkLmNoPqR}]", encoding="utf-8")
    objects = parse(kustomize(tmp_path))
    assert objects.exporter["image"].startswith("registry.example.com/cognito-device-exporter:")
    assert objects.one("ConfigMap")["data"] == {"config.yaml": "pools: [{id: eu-west-1_JkLmNoPqR}]"}
    assert "eks.amazonaws.com/role-arn" in objects.one("ServiceAccount")["metadata"]["annotations"]
    assert {found["metadata"]["namespace"] for found in objects.all} == {"monitoring"}
    assert volumes(objects)[f"{EXPORTER}-config"]["configMap"]["name"] == objects.one("ConfigMap")["metadata"]["name"]


@pytest.mark.parametrize("document", [DOCUMENTATION, CHART / "README.md"], ids=lambda path: path.name)
def test_documented_values_render(document: Path, tmp_path: Path) -> None:
    shown = [block for block in blocks(document) if "kind:" not in block]
    assert shown
    for number, block in enumerate(shown):
        values = yaml.safe_load(block)
        values.setdefault("config", {}).setdefault("pools", [{"id": "eu-west-1_AbCdEfGhI"}])
        path = tmp_path / f"{number}.yaml"
        path.write_text(yaml.safe_dump(values), encoding="utf-8")
        assert render(path).workload


def volumes(objects: Objects) -> dict[str, Object]:
    return {volume["name"]: volume for volume in objects.pod["spec"]["volumes"]}


def container(objects: Objects, name: str) -> Object:
    (found,) = (each for each in objects.pod["spec"]["containers"] if each["name"] == name)
    wanted: Object = found
    return wanted
