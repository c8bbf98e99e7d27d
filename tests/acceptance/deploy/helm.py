"""The chart, rendered by Helm 3 and 4."""

from __future__ import annotations

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from tests.acceptance.deploy.manifests import Objects, parse
from tests.tools import required_tool

CHART = Path(__file__).parents[3] / "deploy" / "helm" / "cognito-device-exporter"
CI_VALUES = sorted((CHART / "ci").glob("*-values.yaml"))
HELMS = ("helm3", "helm4")
POOL = "eu-west-1_AbCdEfGhI"
NAME = "devices-cognito-device-exporter"
"""Name of the objects in the release `devices`."""


def ci(name: str) -> Path:
    """Return the path of `ci/NAME-values.yaml`."""
    return CHART / "ci" / f"{name}-values.yaml"


def helm(*arguments: str | Path, program: str = HELMS[-1]) -> subprocess.CompletedProcess[str]:
    command = [required_tool(program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def template(
    values: Path | None = None, /, *, program: str = HELMS[-1], **changes: Any
) -> subprocess.CompletedProcess[str]:
    """Run `helm template` with a values file, by default the minimal one; `a__b=1` sets `a.b`."""
    return helm("template", *_chart_with(values), *_sets(changes), program=program)


def render(values: Path | None = None, /, **changes: Any) -> Objects:
    """Return the rendered objects; `a__b=1` sets `a.b`, and None removes a default."""
    return parse(_rendered(HELMS[-1], values, *_sets(changes)))


def render_by(program: str, values: Path) -> Objects:
    """Return the objects rendered by one of the two Helm versions."""
    return parse(_rendered(program, values))


def refusal(values: Path | None = None, /, **changes: Any) -> str:
    """Return the error of a failed rendering."""
    done = template(values, **changes)
    assert done.returncode != 0, done.stdout
    return done.stderr


def notes(values: Path | None = None, /, **changes: Any) -> str:
    """Return the notes after an installation; Helm 3 prints them only with a cluster."""
    done = helm("install", *_chart_with(values), *_sets(changes), "--dry-run=client")
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:")[2]


@cache
def _rendered(program: str, values: Path | None, *sets: str) -> str:
    done = helm("template", *_chart_with(values), *sets, program=program)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _chart_with(values: Path | None) -> tuple[str | Path, ...]:
    return "devices", CHART, "--namespace=monitoring", f"--values={values or ci('minimal')}"


def _sets(changes: dict[str, Any]) -> tuple[str, ...]:
    return tuple(f"--set-json={key.replace('__', '.')}={json.dumps(value)}" for key, value in changes.items())
