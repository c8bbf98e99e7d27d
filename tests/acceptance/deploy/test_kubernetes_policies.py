"""Checkov on manifests and chart: no findings, except the explained ones."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

from tests.acceptance.deploy.helm import ci, render
from tests.acceptance.deploy.manifests import MONITORING, kustomize, parse
from tests.tools import required_tool

KUBERNETES = Path(__file__).parents[3] / "deploy" / "kubernetes"

EXPLAINED = {
    "CKV_K8S_8": (r"Pod\..*-test$", "the pod of `helm test` makes one request and ends"),
    "CKV_K8S_9": (
        r"Pod\..*-test$|Deployment\.default\.application$",
        "as CKV_K8S_8; and a sidecar must not affect the readiness of its application",
    ),
    "CKV_K8S_11": (r".", "a CPU limit delays scrapes even on an idle node"),
    "CKV_K8S_15": (r".", "version tags are immutable, and a node with the image should not depend on the registry"),
    "CKV_K8S_21": (r"\.default\.", "the user of kustomize sets the namespace"),
    "CKV_K8S_43": (r".", "the digest is known only after publishing an image; set image.digest"),
    "CKV2_K8S_6": (
        r"\.default\.|-test$",
        "network policies depend on the cluster; the chart has networkPolicy.enabled",
    ),
}
"""Failing checks, the objects on which they may fail, and the reason."""


def findings(directory: Path) -> dict[str, Any]:
    rendered = {name: render(ci(name)) for name in ("full", "client-certificates", "sharded", "existing")}
    built = {Path(name).name: parse(kustomize(KUBERNETES / name)) for name in ("base", "overlays/sidecar")}
    for name, objects in {**rendered, **built}.items():
        items = [found for found in objects.all if found["apiVersion"] != MONITORING]
        listed = {"apiVersion": "v1", "kind": "List", "items": items}
        (directory / f"{name}.json").write_text(json.dumps(listed), encoding="utf-8")
    command = [required_tool("checkov"), "--skip-download", "--quiet", "--compact", "--framework=kubernetes"]
    done = subprocess.run(
        [*command, "--output=json", f"--directory={directory}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_checkov_findings_have_an_explanation(tmp_path: Path) -> None:
    found = findings(tmp_path)
    assert found["summary"]["passed"] > 300
    assert found["summary"]["parsing_errors"] == 0
    failed = {(check["check_id"], check["resource"]) for check in found["results"]["failed_checks"]}
    unanswered = [
        f"{check} {resource}"
        for check, resource in sorted(failed)
        if check not in EXPLAINED or not re.search(EXPLAINED[check][0], resource)
    ]
    assert unanswered == []
    assert EXPLAINED.keys() == {check for check, _ in failed}, "an answer to nothing"
