"""Checks of Kubernetes objects, from the chart or from manifests."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

from tests.tools import required_tool

CRDS = Path(__file__).parents[2] / "data" / "crds"
MINORS = ("1.29", "1.37")
"""Oldest minor version that the chart allows, and the newest with a schema."""
MONITORING = "monitoring.coreos.com/v1"

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Objects:
    """Objects by kind and name."""

    all: tuple[Object, ...]

    def of(self, kind: str) -> list[Object]:
        return [found for found in self.all if found["kind"] == kind]

    def one(self, kind: str, name: str | None = None) -> Object:
        (found,) = (each for each in self.of(kind) if name is None or each["metadata"]["name"] == name)
        return found

    @property
    def workload(self) -> Object:
        """Deployment or StatefulSet."""
        (found,) = (each for each in self.all if each["kind"] in {"Deployment", "StatefulSet"})
        return found

    @property
    def pod(self) -> Object:
        """Pod of the workload."""
        pod: Object = self.workload["spec"]["template"]
        return pod

    @property
    def exporter(self) -> Object:
        """Container of the exporter."""
        (found,) = (each for each in self.pod["spec"]["containers"] if "exporter" in each["name"])
        container: Object = found
        return container

    @property
    def kinds(self) -> set[str]:
        return {found["kind"] for found in self.all}


def parse(text: str) -> Objects:
    return Objects(tuple(found for found in yaml.safe_load_all(text) if found))


def kustomize(directory: Path) -> str:
    command = [required_tool("kubectl"), "kustomize", str(directory)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def pods(objects: Iterable[Object]) -> Iterator[Object]:
    """Specs of all pods, including hooks."""
    for found in objects:
        if found["kind"] == "Pod":
            yield found["spec"]
        elif found["kind"] in {"Deployment", "StatefulSet"}:
            yield found["spec"]["template"]["spec"]


# Schemas


def schema_faults(objects: Iterable[Object], minor: str, directory: Path) -> str:
    """Return the errors of `kubernetes-validate --strict`, without the operator's kinds; empty if there are none."""
    texts = {json.dumps(found, sort_keys=True) for found in objects if found["apiVersion"] != MONITORING}
    path = directory / f"objects-{minor}.yaml"
    path.write_text("\n---\n".join(sorted(texts)), encoding="utf-8")
    program = Path(sys.executable).with_name("kubernetes-validate")
    command = [str(program), "--kubernetes-version", minor, "--strict", "--quiet", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    return done.stdout + done.stderr + (f"exit code {done.returncode}" if done.returncode else "")


def operator_faults(found: Object) -> list[str]:
    """Return the violations of the operator's custom resource definitions, including unknown fields."""
    return [f"{error.json_path}: {error.message}" for error in _operator_schema(found["kind"]).iter_errors(found)]


@cache
def _operator_schema(kind: str) -> Draft202012Validator:
    schema = yaml.safe_load((CRDS / f"{kind.lower()}.yaml").read_text(encoding="utf-8"))
    strict = _strict(schema)
    # The definitions do not repeat all fields of metadata.
    strict["properties"]["metadata"] = {"type": "object"}
    Draft202012Validator.check_schema(strict)
    return Draft202012Validator(strict)


def _strict(schema: Any) -> Any:
    """Reject fields that an API server would prune."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    strict = {key: _strict(part) for key, part in schema.items()}
    if isinstance(strict.get("pattern"), str):
        # Python requires flags at the start of a pattern.
        strict["pattern"] = strict["pattern"].replace("^(?i)", "(?i)^")
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        strict.setdefault("additionalProperties", False)
    return strict


# Pod Security


def restricted_faults(pod: Object) -> list[str]:
    """Return violations of the Pod Security Standard `restricted`, of a read-only root and of resource limits.

    Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    shared: Mapping[str, Any] = pod.get("securityContext", {})
    faults = [f"{name} is shared" for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name)]
    faults += [f"volume {v['name']} is of the host" for v in pod.get("volumes", []) if "hostPath" in v]
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        context = {**shared, **container.get("securityContext", {})}
        wanted = {
            "runAsNonRoot": context.get("runAsNonRoot") is True,
            "runAsUser": context.get("runAsUser", 1) != 0,
            "allowPrivilegeEscalation": context.get("allowPrivilegeEscalation") is False,
            "privileged": not context.get("privileged"),
            "capabilities": context.get("capabilities") == {"drop": ["ALL"]},
            "seccompProfile": context.get("seccompProfile") == {"type": "RuntimeDefault"},
            "readOnlyRootFilesystem": context.get("readOnlyRootFilesystem") is True,
            "limits": "memory" in container.get("resources", {}).get("limits", {}),
            "hostPort": not any("hostPort" in port for port in container.get("ports", [])),
        }
        faults += [f"{container['name']}: {name}" for name, well in wanted.items() if not well]
    return faults
