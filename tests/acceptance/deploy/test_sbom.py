"""Bill of materials written by `make sbom`: exactly the production lock."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation import make_schemabased_validator

from tests.tools import required_tool

ROOT = Path(__file__).parents[3]


def written(path: Path) -> str:
    """Return the output of `make sbom` for the existing environment."""
    variables = [f"SBOM={path}", f"BIN={Path(sys.executable).parent}", "SETUP="]
    subprocess.run([required_tool("make"), "--silent", "sbom", *variables], cwd=ROOT, check=True, capture_output=True)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(tmp_path_factory.mktemp("sbom") / "below" / "sbom.json")


@pytest.fixture(scope="module")
def bill(text: str) -> dict[str, Any]:
    return dict(json.loads(text))


def locked() -> dict[str, tuple[str, set[str]]]:
    """Return version and hashes of each package of the production lock."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    entries = re.split(r"\n(?=[a-z0-9])", lock)
    pinned = [(re.match(r"(\S+)==(\S+)", entry), set(re.findall(r"sha256:([0-9a-f]+)", entry))) for entry in entries]
    return {match[1]: (match[2], hashes) for match, hashes in pinned if match}


def hashes(component: dict[str, Any]) -> set[str]:
    sources = [source for source in component["externalReferences"] if source["type"] == "distribution"]
    found = [entry for source in sources for entry in source["hashes"]]
    return {entry["content"] for entry in found if entry["alg"] == "SHA-256"}


def test_sbom_is_valid_cyclonedx(text: str) -> None:
    validator = make_schemabased_validator(OutputFormat.JSON, SchemaVersion.V1_6)
    assert validator.validate_str(text) is None
    assert validator.validate_str(text.replace('"components"', '"parts"')) is not None


def test_sbom_has_locked_packages_with_hashes(bill: dict[str, Any]) -> None:
    components = {part["name"]: (part["version"], hashes(part)) for part in bill["components"]}
    assert components == locked()
    assert all(part["purl"] == f"pkg:pypi/{part['name']}@{part['version']}" for part in bill["components"])


def test_sbom_describes_this_version(bill: dict[str, Any]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    root = bill["metadata"]["component"]
    assert (root["name"], root["version"], root["type"]) == (project["name"], project["version"], "application")


def test_sbom_is_reproducible(text: str, tmp_path: Path) -> None:
    assert written(tmp_path / "again.json") == text
